"""First divergence: the first pass after which a program computes something else, and the stage, the value and the instruction.

The pass is found by executing the IR that each pass left (`pass_checks`), the stage by comparing what every stage left in the
memory of the machine with what it should have left, the instruction by running the machine again and watching that value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.backend.asm_printer import module_instructions
from plena_mlir.bundle import parse_module
from plena_mlir.emulator.engine import load_machine
from plena_mlir.emulator.execution import Execution
from plena_mlir.errors import ExecutionError, LoweringError, MiscompileError, Trap
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.program import CompiledProgram
from plena_mlir.report import Json
from plena_mlir.verify.execution import F32, Executor
from plena_mlir.verify.pass_checks import PassChecker
from plena_mlir.verify.stage_checks import check_program
from plena_mlir.verify.stages import Occurrence, StageTable, TileStages, machine_stages, operations_by_pc, stage_title, writes_vram


@dataclass(frozen=True)
class Instruction:
    """An instruction of a program: its place in it, how many ran before it, its assembly text."""

    pc: int
    executed: int
    text: str


@dataclass(frozen=True)
class Divergence:
    """Where two runs part.

    Attributes:
        pass_name: the first pass whose result computes something else; None if no pass is at fault (an image, a memory).
        reason: what the execution of that pass's result showed.
        stage: `module path/op`, of the first stage that left other values; None if all of them agree.
        place: (row, feature) of its first other value, and `tile` the (block of rows, block of features) that it lies in.
        expected: the value that should be there, `actual` the one that is.
        instruction: the last one that wrote the value.
    """

    pass_name: str | None
    reason: str
    stage: str | None = None
    place: tuple[int, int] | None = None
    tile: tuple[int, int] | None = None
    expected: float | None = None
    actual: float | None = None
    instruction: Instruction | None = None

    def to_json(self) -> dict[str, Json]:
        fields = asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def passes_of(program: CompiledProgram) -> list[tuple[str, ModuleOp]]:
    """(pass name, the IR it left) of a program that was compiled with its IR kept."""
    if not program.passes:
        raise LoweringError("the IR after every pass was not kept", hint="compile with keep_ir, or name a bundle")
    return [(name, parse_module(text, name)) for name, text in program.passes]


def passes_of_bundle(folder: Path) -> list[tuple[str, ModuleOp]]:
    """(pass name, the IR it left) of a bundle, from its files `ir/NN-pass.mlir`."""
    files = sorted(path for path in (folder / "ir").glob("*.mlir") if path.name[:2].isdigit())
    return [(path.stem.partition("-")[2], parse_module(path.read_text(), str(path))) for path in files]


def bisect_levels(program: CompiledProgram, passes: Sequence[tuple[str, ModuleOp]]) -> Divergence | None:
    """Look for the first pass of a compilation that changed what is computed; None if every level agrees.

    Args:
        program: compiled to the end.
        passes: (pass name, the IR it left) in order, the first the imported module.
    """
    found: tuple[str, str] | None = None
    checker = PassChecker(Executor(program.inputs, program.source_model.store))
    (_, start), *rest = passes
    checker.start(start)
    for name, module in rest:
        try:
            checker.after(name, module)
        except (MiscompileError, ExecutionError, Trap) as error:
            found = (name, error.what)
            break
    try:
        wrong = first_wrong_stage(program)
    except (ExecutionError, Trap) as error:
        return Divergence(found[0] if found else None, str(error))
    if found is None and wrong is None:
        return None
    name, reason = found or (None, "every pass agrees, but a stage does not: its weights or the golden are at fault")
    return Divergence(name, reason) if wrong is None else _locate(program, name, reason, *wrong)


def bisect_programs(
    good: CompiledProgram,
    other: CompiledProgram,
    good_passes: Sequence[tuple[str, ModuleOp]],
    other_passes: Sequence[tuple[str, ModuleOp]],
) -> Divergence | None:
    """The first pass after which two compilations of one model compute other values; None if no pass does.

    Raises:
        LoweringError: the two have other passes.
    """
    names, other_names = [name for name, _ in good_passes], [name for name, _ in other_passes]
    if names != other_names:
        raise LoweringError("the two programs were compiled by other passes", hint="compare programs of one version and pipeline")
    left, right = (Executor(program.inputs, program.source_model.store) for program in (good, other))
    found: str | None = None
    for (name, one), (_, two) in zip(good_passes, other_passes, strict=True):
        if left.can_run(one) and not np.array_equal(left.run(one).output, right.run(two).output, equal_nan=True):
            found = name
            break
    wrong = _first_difference(_machine(good), _machine(other), exact=True)
    if found is None and wrong is None:
        return None
    reason = "the results of the two differ bit by bit" if found else "every pass agrees, but the images of the two differ"
    return Divergence(found, reason) if wrong is None else _locate(other, found, reason, *wrong)


def first_wrong_stage(program: CompiledProgram) -> tuple[Occurrence, F32, F32] | None:
    """The first stage that left other values than it should: (stage and iteration, what it should have left, what it left).

    First by the tile interpreter, whose bits the machine must give; then by the golden, within the bound of a stage alone.
    """
    watcher = TileStages(StageTable(program.stage("tile")))
    key = "ids" if program.interface is not None and program.interface.staged is None else "input"
    run_tile(program.stage("tile"), program.weights, {key: program.inputs}, watcher=watcher)
    machine = _machine(program)
    wrong = _first_difference(watcher.values, machine, exact=True)
    if wrong is not None:
        return wrong
    expected: dict[Occurrence, F32] = {}
    failed = [check for check in check_program(program, expected) if not check.passed]
    if not failed or failed[0].occurrence not in machine:
        return None
    occurrence = failed[0].occurrence
    return occurrence, expected[occurrence], machine[occurrence]


def _first_difference(
    expected: Mapping[Occurrence, F32], actual: Mapping[Occurrence, F32], *, exact: bool
) -> tuple[Occurrence, F32, F32] | None:
    for occurrence, values in expected.items():
        if occurrence in actual and not np.array_equal(values, actual[occurrence], equal_nan=exact):
            return occurrence, values, actual[occurrence]
    return None


def _execution(program: CompiledProgram) -> Execution:
    machine = load_machine(
        program.target,
        hbm=program.hbm,
        fpsram=program.fpsram,
        intsram=program.intsram_for(program.inputs),
        fill=math.nan,
    )
    return Execution(machine, program.machine_code, program.locations, timing="none")


def _machine(program: CompiledProgram) -> Mapping[Occurrence, F32]:
    return machine_stages(program.stage("isa"), _execution(program), StageTable(program.stage("tile")))


def _locate(
    program: CompiledProgram, name: str | None, reason: str, occurrence: Occurrence, expected: F32, actual: F32
) -> Divergence:
    """The first value of a stage that is clearly another, and the instruction that wrote it."""
    difference = np.abs(actual.astype(np.float64) - expected)
    clear = ~(difference <= 0.5 * np.nanmax(difference)) if np.isfinite(difference).any() else np.isnan(difference)
    row, column = (int(index) for index in np.argwhere(clear)[0])
    stage = StageTable(program.stage("tile")).stages[occurrence[0]]
    edge, place = program.target.mlen, stage.place
    lane = column // place.size * place.padded + column % place.size
    element = place.address + (lane // edge * place.physical_rows + row) * edge + lane % edge
    return Divergence(
        name,
        reason,
        stage_title(occurrence),
        (row, column),
        (row // edge, lane // edge),
        float(expected[row, column]),
        float(actual[row, column]),
        _last_writer(program, occurrence, element),
    )


def _last_writer(program: CompiledProgram, occurrence: Occurrence, element: int) -> Instruction | None:
    """The instruction of a stage that wrote an element of Vector SRAM last."""
    execution = _execution(program)
    rows, lanes = execution.machine.state.vram.rows, program.target.vlen
    ops = operations_by_pc(program.stage("isa"))
    instructions = module_instructions(program.stage("isa"))
    found: list[Instruction] = []
    before = math.nan

    def watch(pc: int, current: Occurrence | None) -> None:
        nonlocal before
        value = float(rows[element // lanes, element % lanes])
        if current == occurrence and writes_vram(ops[pc]) and not (value == before or (math.isnan(value) and math.isnan(before))):
            found.append(Instruction(pc, execution.executed - 1, instructions[pc].text()))
        before = value

    machine_stages(program.stage("isa"), execution, StageTable(program.stage("tile")), watch=watch)
    return found[-1] if found else None
