"""What one case must satisfy: every execution of the program agrees, and none depends on memory that nobody wrote."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import lru_cache
from math import nan
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plena_mlir.compiler import CompiledProgram, compile_hf_model
from plena_mlir.emulator import run_program
from plena_mlir.errors import LoweringError, PlenaError, TargetError
from plena_mlir.frontend.importer import ImportedModel, import_model
from plena_mlir.interpreters.isa import run_isa
from plena_mlir.target import Target
from plena_mlir.verify.bounds import broken_bounds
from plena_mlir.verify.compare import compare
from tests.fuzz.lattice import Case, Shape

Status = Literal["passed", "refused", "failed"]
INTERPRETED_INSTRUCTIONS = 60_000
"""Dynamic instructions up to which the ISA interpreter runs a case too."""


REFUSALS = ("is too small: the program needs", "tiles, Matrix SRAM holds")
"""What a compiler may say of a machine that is too small. Any other error is a failure."""


@dataclass(frozen=True)
class Verdict:
    """What became of one case.

    Attributes:
        kind: what failed, or why the compiler refused, without the numbers of the case: equal kinds are one finding.
        detail: the whole message or traceback.
    """

    status: Status
    kind: str = ""
    detail: str = ""
    instructions: int = 0


class Disagreement(Exception):
    """Two executions of one program differ."""


@lru_cache(maxsize=4)
def imported(shape: Shape) -> ImportedModel:
    """The model of a shape; several machines share one import."""
    from transformers import LlamaConfig

    fields = {key: value for key, value in shape.config().items() if key not in ("model_type", "architectures")}
    return import_model(LlamaConfig(**fields), seq_len=shape.seq, scope=shape.scope, random_weights=shape.seed)


@lru_cache(maxsize=4)
def references(shape: Shape) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What PyTorch computes, and the imported IR in float32, all positions."""
    from plena_mlir.interpreters.tensor import run_tensor

    model = imported(shape)
    inputs = model.sample_inputs(0)
    reference = model.reference(inputs)
    fp32 = run_tensor(model.module, [np.asarray(inputs)], model.store)[0]
    return reference, fp32.reshape(reference.shape)


def check(case: Case) -> Verdict:
    """Compile and run a case at every level."""
    try:
        instructions = _check(case)
    except (LoweringError, TargetError) as error:
        refused = any(reason in str(error) for reason in REFUSALS)
        return Verdict("refused" if refused else "failed", _kind(error), str(error))
    except Exception as error:
        return Verdict("failed", _kind(error), "".join(traceback.format_exception(error)))
    return Verdict("passed", instructions=instructions)


def _kind(error: Exception) -> str:
    """The message without numbers and names of the case; for an error without one of ours also where it was raised."""
    text = error.what if isinstance(error, PlenaError) else str(error)
    words = " ".join("#" if any(char.isdigit() for char in word) else word for word in text.split()[:12])
    if isinstance(error, PlenaError | Disagreement):
        return f"{type(error).__name__}: {words}"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {frame.filename.rpartition('/')[2]}:{frame.name}: {words}"


def compile_case(case: Case, target: Target) -> CompiledProgram:
    return compile_hf_model(
        imported(case.shape), target=target, logits=case.machine.logits, strategy=case.machine.strategy, verify=True
    )


def _check(case: Case) -> int:
    program = compile_case(case, case.machine.target())
    if case.machine.spare_rows is not None:
        assert program.interface is not None
        program = compile_case(case, case.machine.target(max(1, program.interface.vram_rows_peak + case.machine.spare_rows)))
    inputs = program.inputs
    zeroed = program.run_tile(inputs)
    poisoned = program.run_tile(inputs, fill=nan)
    _same(zeroed, poisoned, "the tile interpreter from zeroed and from poisoned memories")
    instructions = 0
    for fill in (0.0, nan):
        output, instructions = _emulate(program, fill)
        _same(output, zeroed, f"the engine from memories of {fill} and the tile interpreter")
    if instructions <= INTERPRETED_INSTRUCTIONS:
        output, interpreted = _emulate(program, nan, interpreter=True)
        _same(output, zeroed, "the ISA interpreter and the tile interpreter")
        if interpreted != instructions:
            raise Disagreement("the ISA interpreter and the engine count other instructions")
    reference, fp32 = references(case.shape)
    golden = program.golden
    rows = golden.shape[0]
    reference = reference.reshape(-1, reference.shape[-1])
    comparisons = {
        "hf_vs_tensor_fp32": compare(fp32.reshape(reference.shape), reference),
        "golden_vs_hf": compare(golden, reference[-rows:]),
        "golden_vs_emulator": compare(zeroed, golden),
    }
    broken = broken_bounds(comparisons, layers=case.shape.layers)
    if broken:
        raise Disagreement("; ".join(broken))
    return instructions


def _emulate(program: CompiledProgram, fill: float, *, interpreter: bool = False) -> tuple[NDArray[np.float32], int]:
    """The output of the machine, and the instructions it took."""
    inputs, place = program.inputs, program.interface.output
    memories = {
        "hbm": program.hbm_for(inputs),
        "fpsram": program.fpsram,
        "intsram": program.intsram_for(inputs),
        "fill": fill,
        "strict": True,
        "timing": "none",
    }
    if interpreter:
        result = run_isa(program.stages["isa"], program.target, **memories)
    else:
        result = run_program(program.machine_code, program.target, locations=program.locations, **memories)
    rows = result.machine.vram_rows(place.address // program.target.vlen, place.blocks * place.physical_rows)
    return place.unpack(rows), result.instructions


def _same(actual: NDArray[np.float32], expected: NDArray[np.float32], what: str) -> None:
    if actual.shape != expected.shape:
        raise Disagreement(f"{what} give other shapes")
    wrong = np.argwhere(np.ascontiguousarray(actual).view(np.uint32) != np.ascontiguousarray(expected).view(np.uint32))
    if wrong.size:
        place = tuple(wrong[0].tolist())
        raise Disagreement(f"{what} differ: {len(wrong)} of {actual.size}, first at {place}: {actual[place]} and {expected[place]}")
