"""Functions of rows, norms with a mean and of heads, operands that are weights, soft caps of attention."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from tests.tensor_programs import TensorProgram, assert_exact, exact, execute, lower, normal

TARGETS = ["8x4x4", "16x4x16"]


def gains(count: int) -> NDArray[np.float32]:
    """Gains near one."""
    return (1.0 + normal(count, seed=1) / 4).astype(np.float32)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("make", "cost"),
    [
        (pt.GeluOp, 0.01),
        (lambda x: pt.GeluOp(x, "tanh"), 0.01),
        (lambda x: pt.SoftCapOp(x, 2.0), 0.01),
        (lambda x: pt.SoftCapOp(x, 50.0), 0.01),
    ],
)
def test_functions_are_those_of_the_golden(target: str, make: type[pt.UnaryOp], cost: float) -> None:
    program = TensorProgram(target)
    outcome = execute(program, program.add(make(program.hidden(9, 20))).result, exact(9, 20, largest=15))
    np.testing.assert_array_equal(outcome.tile, outcome.hardware)
    assert outcome.cost <= cost


@pytest.mark.parametrize("target", TARGETS)
def test_relu_is_exact(target: str) -> None:
    assert_exact(lambda program: program.add(pt.ReluOp(program.hidden(9, 20))).result, target, exact(9, 20))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", [pt.MaximumOp, pt.MinimumOp])
@pytest.mark.parametrize("bound_first", [False, True])
def test_bounds_are_exact(target: str, op: type[pt.MaximumOp | pt.MinimumOp], bound_first: bool) -> None:
    def build(program: TensorProgram) -> SSAValue:
        x, bound = program.hidden(9, 20), program.add(pt.splat(-0.25 if op is pt.MaximumOp else 0.5)).result
        return program.add(op(bound, x) if bound_first else op(x, bound)).result

    assert_exact(build, target, exact(9, 20))


def test_a_bound_that_the_padding_would_show_is_refused() -> None:
    program = TensorProgram("8x4x4")
    result = program.add(pt.MaximumOp(program.hidden(9, 20), program.add(pt.splat(0.25)))).result
    with pytest.raises(LoweringError, match=r"a bound of 0\.25 would show in the padding of 20 features to 24"):
        lower(program, result)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("features", [6, 20, 40])
def test_layer_norm_counts_no_padding(target: str, features: int) -> None:
    program = TensorProgram(target)
    gain, bias = gains(features), normal(features, seed=2)
    rows = (program.table("gain", gain), program.table("bias", bias))
    x = (3 + normal(9, features)).astype(np.float32)
    outcome = execute(program, program.add(pt.LayerNormOp(program.hidden(9, features), *rows, 1e-5)).result, x)
    assert outcome.error <= 0.01
    assert outcome.cost <= 0.1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", [pt.RmsNormOp, pt.LayerNormOp])
@pytest.mark.parametrize("size", [8, 12, 20])
def test_every_head_is_normalised_by_itself(target: str, op: type[pt.RmsNormOp | pt.LayerNormOp], size: int) -> None:
    program = TensorProgram(target)
    gain = program.table("gain", gains(size))
    scales = np.repeat(np.array([1.0, 8.0, 0.125], np.float32), size)
    x = program.linear(program.hidden(9, 3 * size), "proj", np.diag(scales))
    y = program.add(pt.RmsNormOp(x, gain, 1e-5, 3) if op is pt.RmsNormOp else pt.LayerNormOp(x, gain, None, 1e-5, 3)).result
    outcome = execute(program, y, normal(9, 3 * size))
    assert outcome.error <= 0.01
    assert outcome.cost <= 0.05


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shape", [(20,), (9, 20)])
@pytest.mark.parametrize("op", [pt.AddOp, pt.MulOp])
def test_rows_and_tables_of_weights_are_operands(target: str, shape: tuple[int, ...], op: type[pt.AddOp]) -> None:
    def build(program: TensorProgram) -> object:
        return program.add(op(program.table("w", exact(*shape, seed=1)), program.hidden(9, 20))).result

    assert_exact(build, target, exact(9, 20))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("target", TARGETS)
def test_a_number_multiplies_every_element(target: str) -> None:
    def build(program: TensorProgram) -> object:
        return program.add(pt.MulOp(program.hidden(9, 20), program.add(pt.splat(-1.5)))).result

    assert_exact(build, target, exact(9, 20))  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [7, 20])
def test_scores_are_capped(target: str, rows: int) -> None:
    program = TensorProgram(target)
    x = program.hidden(rows, 16)
    q, k, v = (program.linear(x, name, 2 * normal(16, 16, seed=seed)) for seed, name in enumerate("qkv"))
    keys, values = (program.add(pt.QuantizeOp(value, pt.QuantizeFormat.KV)).result for value in (k, v))
    attention = pt.AttentionOp(q, keys, values, heads=2, kv_heads=2, scale=3.0, mask_kind=pt.MaskKind.CAUSAL, soft_cap=3.0)
    outcome = execute(program, program.add(attention).result, normal(rows, 16) / 8)
    assert outcome.error <= 0.03
