"""From a stage that left other values than it should to one value of it, its tile, and the instruction that wrote it.

The instruction is found by running the machine again and watching the element of Vector SRAM that holds the value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.backend.asm_printer import module_instructions
from plena_mlir.dialects.plena import stage_of
from plena_mlir.dialects.plena_tensor import AttentionOp, shape_of
from plena_mlir.emulator.engine import load_machine
from plena_mlir.emulator.execution import Execution
from plena_mlir.errors import ExecutionError, Trap
from plena_mlir.program import CompiledProgram
from plena_mlir.report import Json
from plena_mlir.verify.attention_parts import Tiling
from plena_mlir.verify.machine_stages import machine_stages, operations_by_pc
from plena_mlir.verify.stages import F32, Occurrence, PartRows, StageTable, stage_title, writes_vram


@dataclass(frozen=True)
class Instruction:
    """An instruction of a program: its place in it, how many ran before it, its assembly text, its operation in plena_isa.

    Attributes:
        wrote: whether it gave the value that was looked for; if no instruction of its stage did, it is the last one of the stage
            that writes Vector SRAM, to another place or what was there before.
    """

    pc: int
    executed: int
    text: str
    op: str
    wrote: bool = True


@dataclass(frozen=True)
class Divergence:
    """Where two runs part.

    Attributes:
        pass_name: the first pass whose result computes something else; None if no pass is at fault (an image, a memory).
        reason: what the execution of that pass's result showed.
        stage: `module path/op`, of the first stage that left other values; None if all of them agree.
        op: the operation of the IR that computes the stage.
        place: (row, feature) of its first other value, of scores and probabilities (head, query, key); and `tile` the
            (block of rows, block of features or keys) that it lies in.
        expected: the value that should be there, `actual` the one that is.
        instruction: the last one that wrote the value, or should have.
    """

    pass_name: str | None
    reason: str
    stage: str | None = None
    op: str | None = None
    place: tuple[int, ...] | None = None
    tile: tuple[int, int] | None = None
    expected: float | None = None
    actual: float | None = None
    instruction: Instruction | None = None

    @property
    def module_path(self) -> str | None:
        """The Hugging Face module that the stage belongs to."""
        return None if self.stage is None else self.stage.partition("/")[0]

    def to_json(self) -> dict[str, Json]:
        fields: dict[str, Json] = {"module_path": self.module_path}
        for name, value in asdict(self).items():
            fields[name] = list(value) if isinstance(value, tuple) else value
        return fields


@dataclass(frozen=True)
class Captured:
    """What the machine left: stages, and the rows of their parts."""

    stages: Mapping[Occurrence, F32]
    parts: Mapping[Occurrence, PartRows]


@dataclass(frozen=True)
class WrongStage:
    """A stage, or a part of one, that left other values than it should; both of one shape.

    Attributes:
        exact: every bit should agree, so that the first difference counts and not the first clear one.
    """

    occurrence: Occurrence
    expected: F32
    actual: F32
    exact: bool


def execution_of(program: CompiledProgram, fill: float = math.nan) -> Execution:
    """A program about to start on its sample inputs. The machine is not strict: a fault shall show in values."""
    machine = load_machine(
        program.target,
        hbm=program.hbm,
        fpsram=program.fpsram,
        intsram=program.intsram_for(program.inputs),
        fill=fill,
    )
    return Execution(machine, program.machine_code, program.locations, timing="none")


def run_machine(program: CompiledProgram) -> Captured:
    """Run a program and capture its stages."""
    parts: dict[Occurrence, PartRows] = {}
    stages = machine_stages(program.stage("isa"), execution_of(program), StageTable(program.stage("tile")), parts=parts)
    return Captured(stages, parts)


def locate(program: CompiledProgram, name: str | None, reason: str, wrong: WrongStage, captured: Captured) -> Divergence:
    """The first value of a stage that is another, and the instruction that wrote it."""
    place = first_other(wrong.expected, wrong.actual, exact=wrong.exact)
    if wrong.occurrence in captured.parts:
        tile, element, at = _place_of_part(program, wrong.occurrence, place, captured.parts[wrong.occurrence])
    else:
        tile, element, at = _place_of_stage(program, wrong.occurrence, place)
    return Divergence(
        name,
        reason,
        stage_title(wrong.occurrence),
        _tensor_op(program.stage("named"), wrong.occurrence),
        place,
        tile,
        float(wrong.expected[place]),
        float(wrong.actual[place]),
        _last_writer(program, element, at),
    )


def locate_in_machine(program: CompiledProgram, title: str, place: tuple[int, ...]) -> Instruction | None:
    """The instruction that writes a value of the stage of that title last, if the machine has the stage and it has such a place."""
    table = StageTable(program.stage("tile"))
    for occurrence in run_machine(program).stages:
        stage = table.stages[occurrence[0]]
        rows, features = stage.place.rows, stage.place.groups * stage.place.size
        if stage_title(occurrence) == title and len(place) == 2 and place[0] < rows and place[1] < features:
            _, element, at = _place_of_stage(program, occurrence, place)
            return _last_writer(program, element, at)
    return None


def stopped(program: CompiledProgram, name: str | None, error: ExecutionError | Trap) -> Divergence:
    """Where a machine stopped that should have run to its end."""
    if not isinstance(error, Trap):
        return Divergence(name, str(error))
    ran = 0

    def count(pc: int, current: Occurrence | None) -> None:
        nonlocal ran
        ran += 1

    module = program.stage("isa")
    with suppress(Trap):
        machine_stages(module, execution_of(program), StageTable(program.stage("tile")), watch=count)
    op = operations_by_pc(module)[error.pc]
    return Divergence(
        name, str(error), stage_of(op), op.name, instruction=Instruction(error.pc, ran, error.text, op.name, wrote=False)
    )


def first_other(expected: NDArray[np.floating], actual: NDArray[np.floating], *, exact: bool) -> tuple[int, ...]:
    """The place of the first value that is another; without `exact`, of the first that is off by half the largest difference."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(actual.astype(np.float64) - expected)
    other = ~(actual == expected) & ~(np.isnan(actual) & np.isnan(expected))
    if not exact and np.isfinite(difference).any():
        other &= ~(difference <= 0.5 * float(np.max(difference[np.isfinite(difference)])))
    return tuple(int(index) for index in np.argwhere(other)[0])


def attention_of(module: ModuleOp, part: Occurrence) -> AttentionOp:
    """The attention at the tensor level that a part belongs to."""
    stage = part[0].rpartition("/")[0]
    return next(op for op in module.walk() if isinstance(op, AttentionOp) and stage_of(op) == stage)


def tiling_of(program: CompiledProgram, part: Occurrence, rows: PartRows) -> Tiling:
    """How the captured rows of a part make up its matrices."""
    op = attention_of(program.stage("named"), part)
    keys, queries = shape_of(op.k)[0], shape_of(op.q)[0]
    return Tiling.of(op, keys, queries, rows.physical_rows, program.target.mlen, len(rows.rows))


def _tensor_op(module: ModuleOp, occurrence: Occurrence) -> str | None:
    names = (occurrence[0], occurrence[0].rpartition("/")[0])
    return next((op.name for op in module.walk() if stage_of(op) in names and op.name.startswith("plena_tensor.")), None)


_When = Callable[[int, Occurrence | None], bool]
"""Whether an instruction, by the number of those before it and the stage that wrote last, may have written a value."""


def _place_of_stage(program: CompiledProgram, occurrence: Occurrence, place: tuple[int, ...]) -> tuple[tuple[int, int], int, _When]:
    """The tile, the element of Vector SRAM and the time of a value of a stage."""
    row, column = place
    layout, edge = StageTable(program.stage("tile")).stages[occurrence[0]].place, program.target.mlen
    lane = column // layout.size * layout.padded + column % layout.size
    element = layout.address + (lane // edge * layout.physical_rows + row) * edge + lane % edge
    return (row // edge, lane // edge), element, lambda executed, current: current == occurrence


def _place_of_part(
    program: CompiledProgram, occurrence: Occurrence, place: tuple[int, ...], rows: PartRows
) -> tuple[tuple[int, int], int, _When]:
    """The same of a value of a part, whose buffer holds the next block soon after."""
    head, query, key = place
    edge = program.target.mlen
    number = tiling_of(program, occurrence, rows).row_at(head, query, key, edge)
    moment = rows.moments[number]
    return (query // edge, key // edge), rows.places[number] + key % edge, lambda executed, current: executed < moment


def _last_writer(program: CompiledProgram, element: int, at: _When) -> Instruction | None:
    """The last instruction at a time that gave an element of Vector SRAM another value; if none did, the last that wrote any."""
    execution = execution_of(program)
    rows, lanes = execution.machine.state.vram.rows, program.target.vlen
    module = program.stage("isa")
    ops, instructions = operations_by_pc(module), module_instructions(module)
    found: dict[bool, Instruction] = {}
    before = math.nan

    def watch(pc: int, current: Occurrence | None) -> None:
        nonlocal before
        value = float(rows[element // lanes, element % lanes])
        wrote = not (value == before or (math.isnan(value) and math.isnan(before)))
        if writes_vram(ops[pc]) and at(execution.executed - 1, current):
            found[wrote] = Instruction(pc, execution.executed - 1, instructions[pc].text(), ops[pc].name, wrote)
        before = value

    machine_stages(module, execution, StageTable(program.stage("tile")), watch=watch)
    return found.get(True) or found.get(False)
