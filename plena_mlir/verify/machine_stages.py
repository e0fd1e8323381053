"""The values of stages as the machine leaves them, read from its memory while a program runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation

from plena_mlir.dialects import plena_isa
from plena_mlir.dialects.plena import part_of, stage_of
from plena_mlir.dialects.plena_isa.registers import physical_index
from plena_mlir.emulator.execution import Execution
from plena_mlir.passes.tile.lowering.stages import SCORES_PART
from plena_mlir.verify.stages import F32, Occurrence, PartRows, StageRecorder, StageTable, is_loop, writes_vram


def machine_stages(
    module: ModuleOp,
    execution: Execution,
    table: StageTable,
    watch: Callable[[int, Occurrence | None], None] | None = None,
    parts: dict[Occurrence, PartRows] | None = None,
) -> Mapping[Occurrence, F32]:
    """Run a finished plena_isa module to its end, and record its stages from the Vector SRAM of the machine.

    Args:
        module: the program that `execution` holds the words of.
        table: the stages of its plena_tile form, with addresses.
        watch: called after every instruction, with its pc and the stage that wrote last.
        parts: collects the rows of parts of stages.
    """
    machine, lanes = execution.machine, execution.machine.target.vlen
    vram, registers = machine.state.vram.rows, machine.state.registers.gp
    recorder = StageRecorder(
        table, lambda stage: machine.vram_rows(stage.place.address // lanes, stage.place.blocks * stage.place.physical_rows)
    )
    ops = operations_by_pc(module)
    stages = [stage_of(op) for op in ops]
    writers = [stage if stage is not None and writes_vram(op) else None for stage, op in zip(stages, ops, strict=True)]
    ends = loop_ends(module)
    # Whatever lies between two instructions that matter runs in one go, as far as no branch leads elsewhere.
    branches = (plena_isa.LoopOp, plena_isa.CLoopStartOp, plena_isa.CLoopEndOp)
    matters = [writer is not None or isinstance(op, branches) for writer, op in zip(writers, ops, strict=True)]
    straight = [1] * (len(ops) + 1)
    for pc in range(len(ops) - 2, -1, -1):
        if not matters[pc] and not matters[pc + 1]:
            straight[pc] = straight[pc + 1] + 1
    completed = {} if parts is None else {pc: part for pc, op in enumerate(ops) if writers[pc] and (part := part_of(op))}
    targets = {pc: index for pc in completed if (index := physical_index(ops[pc].operands[0])) is not None}
    while not execution.finished:
        pc = execution.pc
        writer = writers[pc]
        if writer is not None:
            recorder.writes(writer)
        part, place = completed.get(pc), int(registers[targets[pc]]) if pc in targets else 0
        if part == SCORES_PART:
            recorder.completes(part, vram[place // lanes], place, execution.executed)
        execution.advance(execution.executed + (straight[pc] if watch is None else 1))
        if part is not None and part != SCORES_PART:
            recorder.completes(part, vram[place // lanes], place, execution.executed)
        if watch is not None:
            watch(pc, recorder.current)
        if pc in ends:
            recorder.iterates(ends[pc])
    recorder.ends()
    if parts is not None:
        parts.update(recorder.parts)
    return recorder.values


def operations_by_pc(module: ModuleOp) -> list[Operation]:
    """The operation of each instruction of a finished plena_isa module, in the order of the machine code."""
    ops: list[Operation] = []

    def visit(block: Block) -> None:
        for op in block.ops:
            if isinstance(op, plena_isa.PlenaIsaInstruction):
                ops.append(op)
            elif isinstance(op, plena_isa.LoopOp):
                ops.extend([op] * (1 if op.extra is None else 3))
                visit(op.body.block)
                ops.append(op)

    visit(module.body.block)
    return ops


def loop_ends(module: ModuleOp) -> dict[int, str]:
    """The name of the tensor-level loop that ends at each pc."""
    last: dict[Operation, int] = {}
    for pc, op in enumerate(operations_by_pc(module)):
        if isinstance(op, plena_isa.LoopOp):
            last[op] = pc
    return {pc: stage for op, pc in last.items() if (stage := stage_of(op)) is not None and is_loop(stage)}
