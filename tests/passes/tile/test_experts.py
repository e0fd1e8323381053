"""Mixtures of experts at the tile level: the choices of the golden, every expert's own matrix and bias, weights as declared."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.ir import SSAValue

from plena_mlir.backend.image import encode_globals
from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from plena_mlir.interface import describe
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.passes.pipelines import tile_pipeline
from plena_mlir.passes.tensor.row_blocks import ROW_BLOCKS_ATTRIBUTE
from plena_mlir.passes.tensor.tile_vram import Tiling, apply_tiling
from tests.tensor_programs import Lowered, TensorProgram, assert_exact, exact, execute, lower, normal, rms, signs

TARGETS = ["8x4x4", "16x4x16"]
ROWS, FEATURES = 5, 20


def moe(
    program: TensorProgram, x: SSAValue, experts: int, k: int, normalised: pt.Normalised, *, biased: bool = False, name: str = "moe"
) -> SSAValue:
    """A router with exact logits, many of them equal, and two layers of experts on its choices."""
    layers = () if program.layer is None else (2,)

    def stack(part: str, *shape: int, seed: int) -> SSAValue:
        return program.weight(f"{name}.{part}", normal(*layers, *shape, seed=seed) / np.float32(np.sqrt(shape[-1])))

    logits = program.linear(x, f"{name}.router", signs(*layers, experts, FEATURES))
    ids = program.add(pt.TopkOp(logits, k)).result
    weights = program.add(pt.MoeWeightsOp(logits, ids, normalised)).result
    bias = program.table(f"{name}.bias", normal(*layers, experts, 12, seed=3)) if biased else None
    h = program.add(pt.ExpertLinearOp(x, stack("up", experts, 12, FEATURES, seed=1), ids, bias)).result
    y = program.add(pt.ExpertLinearOp(h, stack("down", experts, FEATURES, 12, seed=2), ids)).result
    return program.add(pt.MoeCombineOp(y, weights)).result


CHOSEN, ALL = pt.Normalised.CHOSEN, pt.Normalised.ALL


@pytest.mark.parametrize(
    ("target", "experts", "k", "normalised"),
    [
        ("8x4x4", 6, 2, CHOSEN),
        ("16x4x16", 6, 2, ALL),
        ("8x4x4", 4, 4, CHOSEN),
        ("16x4x16", 3, 3, CHOSEN),
        ("8x4x4", 7, 1, ALL),
        ("16x4x16", 33, 2, CHOSEN),
        ("8x4x4", 33, 2, ALL),
        ("8x4x4", 24, 5, CHOSEN),
        ("16x4x16", 24, 5, ALL),
    ],
)
def test_experts_are_those_of_the_golden(target: str, experts: int, k: int, normalised: pt.Normalised) -> None:
    program = TensorProgram(target)
    outcome = execute(program, moe(program, program.hidden(ROWS, FEATURES), experts, k, normalised), exact(ROWS, FEATURES))
    # One expert taken for another would be off by more than half of the output.
    assert outcome.error <= 0.01
    assert outcome.cost <= 0.1


@pytest.mark.parametrize("target", TARGETS)
def test_every_expert_has_its_own_bias(target: str) -> None:
    def run(biased: bool) -> tuple[float, np.ndarray]:
        program = TensorProgram(target)
        x = program.hidden(ROWS, FEATURES)
        outcome = execute(program, moe(program, x, 6, 2, pt.Normalised.CHOSEN, biased=biased), exact(ROWS, FEATURES))
        return outcome.error, outcome.tile

    error, output = run(True)
    assert error <= 0.01
    assert rms(output - run(False)[1]) > 0.3


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("strategy", ["micro", "broadcast"])
def test_rows_are_multiplied_with_the_matrix_of_their_expert(target: str, strategy: str) -> None:
    """Every expert but the third is a multiple of the identity: exact, whichever form the product takes."""

    def build(program: TensorProgram) -> SSAValue:
        x = program.hidden(ROWS, 16)
        ids = program.add(pt.TopkOp(program.linear(x, "router", signs(8, 16)), 1)).result
        factors = np.array([1, 2, 0, 4, 0.5, -1, -2, 8], np.float32)
        stack = program.weight("experts", factors[:, None, None] * np.eye(16, dtype=np.float32))
        return program.add(pt.ExpertLinearOp(x, stack, ids)).result

    assert_exact(build, target, exact(ROWS, 16), strategy)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("target", TARGETS)
def test_rolled_layers_have_experts_of_their_own(target: str) -> None:
    program = TensorProgram(target)
    with program.layers(2, program.hidden(ROWS, FEATURES)) as ((x,), end):
        y = moe(program, x, 6, 2, pt.Normalised.CHOSEN, biased=True, name="layers.{}.moe")
        (result,) = end(program.add(pt.RmsNormOp(y, None, 1e-5)).result)
    outcome = execute(program, result, exact(ROWS, FEATURES))
    assert outcome.error <= 0.02


def test_rows_in_blocks_leave_the_experts_together() -> None:
    """Where everything around the experts is cut into blocks of rows, they compute what they computed before."""
    rows = 20
    program = TensorProgram("8x4x4")
    x = program.hidden(rows, FEATURES)
    y = moe(program, program.add(pt.SiluOp(x)).result, 6, 2, pt.Normalised.CHOSEN)
    module = program.finish(program.add(pt.AddOp(y, x)).result)
    inputs = exact(rows, FEATURES)
    whole = run_tensor(module, [inputs], program.store, precision="hardware")[0]
    apply_tiling(module, Tiling(8, 1))
    module.verify()
    assert any(ROW_BLOCKS_ATTRIBUTE in op.attributes for op in module.walk())
    np.testing.assert_array_equal(run_tensor(module, [inputs], program.store, precision="hardware")[0], whole)
    for step in tile_pipeline(verify=True):
        step.apply(Context(), module)
        module.verify()
    blocks = Lowered(module, describe(module), encode_globals(module, program.store)).run(inputs)
    assert rms(blocks - whole) <= 0.01 * rms(whole)


def test_more_choices_than_the_machine_makes_are_refused() -> None:
    program = TensorProgram("8x4x4")
    result = moe(program, program.hidden(ROWS, FEATURES), 16, 9, pt.Normalised.CHOSEN)
    with pytest.raises(LoweringError, match="at most 4 of 32 or 8 of 128, not 9 of 16"):
        lower(program, result)


def test_choices_that_exceed_int_sram_are_refused() -> None:
    program = TensorProgram("8x4x4")
    result = moe(program, program.hidden(257, FEATURES), 6, 2, pt.Normalised.CHOSEN)
    with pytest.raises(LoweringError, match="SRAM is too small: the program needs 1,028 words"):
        lower(program, result)
