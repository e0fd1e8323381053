"""First divergence: the first pass after which a program computes something else, and the stage, the value and the instruction.

The pass is found by executing the IR that each pass left (`pass_checks`). A pass at the tensor level is followed to the first op
of its IR that computes something else (`tensor_divergence`); of one below, the stage is found by comparing what every stage left in
the memory of the machine with what it should have left, and the instruction by running the machine again (`locate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.backend.staging import arrange_inputs
from plena_mlir.bundle import parse_module
from plena_mlir.errors import ExecutionError, LoweringError, MiscompileError, TargetError, Trap
from plena_mlir.golden_precision import parse_golden_precision
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.program import CompiledProgram
from plena_mlir.target.layout import GlobalData
from plena_mlir.verify.execution import F32, Executor, Level, level_of
from plena_mlir.verify.locate import (
    Captured,
    Divergence,
    WrongStage,
    first_other,
    locate,
    locate_in_machine,
    run_machine,
    stopped,
    tiling_of,
)
from plena_mlir.verify.pass_checks import CHANGES, PassChecker, has_formats
from plena_mlir.verify.stage_checks import StageValues, check_stages
from plena_mlir.verify.stages import StageTable, TileStages, stage_title
from plena_mlir.verify.tensor_divergence import WrongOp, agree, first_other_op, first_wrong_op, trace

Passes = Sequence[tuple[str, ModuleOp]]
"""(pass name, the IR it left) in order, the first the imported module."""

MACHINE_LEVELS = ("tile", "emulator")
"""What runs a program on memories; any other level is a precision of the golden."""


def passes_of(program: CompiledProgram) -> list[tuple[str, ModuleOp]]:
    """(pass name, the IR it left) of a program that was compiled with its IR kept."""
    if not program.passes:
        raise LoweringError("the IR after every pass was not kept", hint="compile with keep_ir, or name a bundle")
    return [(name, parse_module(text, name)) for name, text in program.passes]


def passes_of_bundle(folder: Path) -> list[tuple[str, ModuleOp]]:
    """(pass name, the IR it left) of a bundle, from its files `ir/NN-pass.mlir`."""
    files = sorted(path for path in (folder / "ir").glob("*.mlir") if path.name[:2].isdigit())
    passes = [(path.stem.partition("-")[2], path) for path in files]
    if not passes or passes[0][0] != "import":
        raise LoweringError(
            "the bundle does not hold the IR after every pass", where=str(folder), hint="write it with `plena compile`"
        )
    # What runs is a file of its own: one that was changed after compiling is a step like a pass.
    final = folder / "ir" / "isa.mlir"
    if final.exists() and final.read_text() != passes[-1][1].read_text():
        passes.append((f"isa.mlir (changed after {passes[-1][0]})", final))
    return [(name, parse_module(path.read_text(), str(path))) for name, path in passes]


# --- one compilation ------------------------------------------------------------------------------------------------------------


def bisect_levels(program: CompiledProgram, passes: Passes) -> Divergence | None:
    """Look for the first pass of a compilation that changed what is computed; None if every level agrees.

    Args:
        program: compiled to the end.
    """
    found: tuple[str, str] | None = None
    executor = Executor(program.inputs, program.source_model.store)
    checker = PassChecker(executor)
    (_, before), *rest = passes
    checker.start(before)
    for name, module in rest:
        try:
            checker.after(name, module)
        except (MiscompileError, ExecutionError, Trap) as error:
            found = (name, error.what)
            if level_of(module) is Level.TENSOR and isinstance(error, MiscompileError):
                return in_tensors(program, *found, _wrong_op(program, name, before, module))
            break
        before = module
    try:
        captured = run_machine(program)
        wrong = _wrong_stage(program, captured)
    except (ExecutionError, Trap) as error:
        return stopped(program, found[0] if found else None, error)
    if found is None and wrong is None:
        return None
    name, reason = found or (None, _of_no_pass(program))
    return Divergence(name, reason) if wrong is None else locate(program, name, reason, wrong, captured)


def _wrong_op(program: CompiledProgram, name: str, before: ModuleOp, after: ModuleOp) -> WrongOp | None:
    """The first op that a pass at the tensor level left wrong, in float32 or, if that agrees, with the formats of the machine."""
    inputs, store = program.inputs, program.source_model.store
    rewritten = name in CHANGES
    precisions = ("fp32", "hardware") if has_formats(before) and has_formats(after) else ("fp32",)
    for precision in precisions:
        values = [trace(module, inputs, store, precision=precision) for module in (before, after)]
        if not agree(_last_rows(values[0][-1].value, values[1][-1].value), values[1][-1].value):
            # Where every value should stay what it was, like is compared with like.
            found = None if rewritten else first_other_op(*values)
            return found or first_wrong_op(*values)
    return None


def _last_rows(before: F32, after: F32) -> F32:
    return before.reshape(-1)[-after.size :].reshape(after.shape) if before.size >= after.size else np.full_like(after, np.nan)


def in_tensors(program: CompiledProgram, name: str, reason: str, wrong: WrongOp | None) -> Divergence:
    """What a pass at the tensor level did to one op, and where its value ends up in the machine."""
    if wrong is None:
        return Divergence(name, reason)
    found = wrong.found
    if wrong.expected is None:
        return Divergence(name, reason, found.title, found.op.name)
    place = first_other(wrong.expected, found.value, exact=False)
    expected, actual = float(wrong.expected[place]), float(found.value[place])
    edge = program.target.mlen
    tile = (place[-2] // edge, place[-1] // edge) if len(place) >= 2 else None
    flat = place[-2:]
    instruction = locate_in_machine(program, found.title, flat) if "isa" in program.stages and not any(place[:-2]) else None
    return Divergence(name, reason, found.title, found.op.name, place, tile, expected, actual, instruction)


def _of_no_pass(program: CompiledProgram) -> str:
    """What is at fault where every pass agrees and a stage does not."""
    from plena_mlir.backend.image import encode_globals

    other = first_other_tensor(encode_globals(program.stage("tile"), program.source_model.store), program.weights)
    if other is not None:
        return f"every pass agrees, but the image does not hold what the weights of the model encode to: {other}"
    return "every pass agrees, but a stage does not: the machine or the golden is at fault"


def first_other_tensor(expected: Mapping[str, GlobalData], actual: Mapping[str, GlobalData]) -> str | None:
    """The first tensor in HBM with other bytes, and the first of them."""
    for name, data in expected.items():
        if name not in actual or actual[name].elements.size != data.elements.size:
            return f"tensor {name} is missing or has another size"
        for kind in ("elements", "scales"):
            one, two = getattr(data, kind), getattr(actual[name], kind)
            places = np.flatnonzero(one != two)
            if places.size:
                at = int(places[0])
                return (
                    f"tensor {name}, {kind[:-1]} {at}: 0x{int(one[at]):02x} and 0x{int(two[at]):02x}, {places.size} in all differ"
                )
    return None


def _wrong_stage(program: CompiledProgram, captured: Captured) -> WrongStage | None:
    """The first stage that left other values than it should.

    First by the tile interpreter, whose bits the machine must give; then by the golden, within the bound of a stage alone.
    """
    wrong = first_difference(program, run_tiles(program), captured)
    if wrong is not None:
        return wrong
    return _wrong_by_golden(program, captured, "hardware")


def _wrong_by_golden(program: CompiledProgram, captured: Captured, precision: str) -> WrongStage | None:
    values, store = StageValues(), program.source_model.store
    checks = check_stages(
        program.stage("named"), program.inputs, store, captured.stages, values, captured.parts, precision=precision
    )
    for check in checks:
        if not check.passed and check.occurrence in values.machine:
            occurrence = check.occurrence
            return WrongStage(occurrence, values.golden[occurrence], values.machine[occurrence], exact=False)
    return None


def run_tiles(program: CompiledProgram) -> Captured:
    """Run a program on the tile interpreter and capture its stages."""
    watcher = TileStages(StageTable(program.stage("tile")))
    arranged = arrange_inputs(program.stage("tile"), program.inputs)
    run_tile(program.stage("tile"), program.weights, arranged, watcher=watcher)
    return Captured(watcher.values, watcher.parts)


def first_difference(program: CompiledProgram, expected: Captured, actual: Captured) -> WrongStage | None:
    """The first stage, or part of it, that differs in a bit; stages of both are matched by their titles."""
    titled = {stage_title(occurrence): values for occurrence, values in expected.stages.items()}
    parts = {stage_title(occurrence): rows for occurrence, rows in expected.parts.items()}
    for occurrence, values in actual.stages.items():
        known = titled.get(stage_title(occurrence))
        if known is None or known.shape != values.shape or np.array_equal(known, values, equal_nan=True):
            continue
        for part, rows in actual.parts.items():
            other = parts.get(stage_title(part))
            if part[0].rpartition("/")[0] != occurrence[0] or part[1] != occurrence[1] or other is None:
                continue
            if len(other.rows) == len(rows.rows) and not np.array_equal(other.rows, rows.rows):
                tiling = tiling_of(program, part, rows)
                whole = [tiling.assemble(each.values()).astype(np.float32) for each in (other, rows)]
                if not np.array_equal(*whole, equal_nan=True):
                    return WrongStage(part, *whole, exact=True)
        return WrongStage(occurrence, known, values, exact=True)
    return None


# --- two levels of one compilation ------------------------------------------------------------------------------------------------


def bisect_two_levels(program: CompiledProgram, one: str, other: str) -> Divergence | None:
    """The first stage that two levels compute differently; None if there is none.

    Args:
        one: "tile" for the tile interpreter, "emulator", or a precision of the golden; and so is `other`.

    Two forms of the golden, or the tile interpreter and the emulator, differ where a bit does. Of a golden and a machine every
    stage is compared alone, fed with what the machine had in its memory, within the bound of a stage.

    Raises:
        TargetError: there is no such precision.
    """
    for level in {one, other} - set(MACHINE_LEVELS):
        try:
            parse_golden_precision(level)
        except TargetError as error:
            levels = ", ".join(MACHINE_LEVELS)
            raise TargetError(f"{level!r} is no machine ({levels}) and no precision of the golden: {error.what}") from error
    reason = f"the levels {one} and {other} differ"
    if one not in MACHINE_LEVELS and other not in MACHINE_LEVELS:
        return _between_goldens(program, reason, one, other)
    if one == other:
        return None
    runs = {"tile": run_tiles, "emulator": run_machine}
    captured = {level: run(program) for level, run in runs.items() if level in (one, other)}
    machine = captured.get("emulator") or run_machine(program)
    if len(captured) == 2:
        wrong = first_difference(program, captured[one], captured[other])
    else:
        ((level, values),) = captured.items()
        wrong = _wrong_by_golden(program, values, one if level == other else other)
    return None if wrong is None else locate(program, None, reason, wrong, machine)


def _between_goldens(program: CompiledProgram, reason: str, one: str, other: str) -> Divergence | None:
    module, store = program.stage("named"), program.source_model.store
    found: list[list[tuple[str, str, F32]]] = []
    for precision in (one, other):
        values = trace(module, program.inputs, store, precision=precision)
        found.append([(value.title, value.op.name, value.value) for value in values])
    for (title, op, expected), (_, _, actual) in zip(*found, strict=True):
        if not np.array_equal(expected, actual, equal_nan=True):
            place, edge = first_other(expected, actual, exact=True), program.target.mlen
            tile = (place[0] // edge, place[1] // edge) if len(place) == 2 else None
            return Divergence(None, reason, title, op, place, tile, float(expected[place]), float(actual[place]))
    return None
