"""Operations on rows: norms, additions, products, SiLU, slices; in place only where nobody reads the operand again."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from plena_mlir.numerics import round_bf16
from tests.tensor_programs import TensorProgram, assert_exact, exact, execute, lower, normal, signs

TARGETS = ["8x4x4", "8x8x8", "16x4x4", "16x4x16"]


def rms_norm(program: TensorProgram, x, gain, eps: float = 1e-5):
    return program.add(pt.RmsNormOp(x, None if gain is None else program.table("gain", gain), eps)).result


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("features", [6, 8, 20, 32])
def test_rms_norm_of_signs_is_the_gain_with_their_sign(target, features) -> None:
    """Padding lanes must not count in the mean, and a gain of 8 significant bits needs both of its MX terms."""
    values = 2.0 * np.random.default_rng(0).choice([-1.0, 1.0], (7, features)).astype(np.float32)
    gain = (1.0 + np.arange(features) / 128).astype(np.float32)
    program = TensorProgram(target)
    outcome = execute(program, rms_norm(program, program.hidden(7, features), gain, eps=2.0**-20), values)
    np.testing.assert_array_equal(outcome.tile, np.sign(values) * gain)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("gained", [True, False])
def test_rms_norm_stays_within_roundings_of_the_golden(target, gained) -> None:
    """The squares of a row are added in another order, so that its scale may move by a unit in the last place (1 / 128)."""
    gain = 1.0 + normal(40, seed=1) / 4 if gained else None
    program = TensorProgram(target)
    x = np.exp(normal(17, 1, seed=2)) * normal(17, 40)
    outcome = execute(program, rms_norm(program, program.hidden(17, 40), gain), x)
    np.testing.assert_allclose(outcome.tile, outcome.hardware, rtol=3 / 128)
    assert outcome.error <= 0.008


def test_rms_norm_of_tiny_rows_keeps_eps() -> None:
    """eps = 1e-6 is below what half precision, and so the FP SRAM preload, resolves."""
    program = TensorProgram("8x4x4")
    x = (2.0**-10 * signs(5, 8)).astype(np.float32)
    x[0] = 0
    outcome = execute(program, rms_norm(program, program.hidden(5, 8), None, eps=1e-6), x)
    np.testing.assert_array_equal(outcome.tile[0], np.zeros(8))
    assert outcome.cost <= 0.01


@pytest.mark.parametrize("target", TARGETS)
def test_silu_rounds_at_every_step(target) -> None:
    x = np.concatenate([exact(9, 16, largest=15), np.full((9, 4), -192.0, np.float32)], axis=1)
    program = TensorProgram(target)
    outcome = execute(program, program.add(pt.SiluOp(program.hidden(9, 20))).result, x)
    exponential = round_bf16(np.exp(np.clip(-x, -88, 88), dtype=np.float64).astype(np.float32))
    gate = round_bf16((1 / round_bf16(1 + exponential)).astype(np.float32))
    np.testing.assert_array_equal(outcome.tile, round_bf16(x * gate))
    assert outcome.error <= 1e-4


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("op", [pt.AddOp, pt.MulOp])
def test_operands_that_are_read_again_keep_their_values(target, op) -> None:
    """y = x + w x; z = y op x; z op y: x and y outlive their first use, z dies in place."""

    def build(program: TensorProgram):
        x = program.hidden(9, 12)
        y = program.add(pt.AddOp(x, program.linear(x, "proj", signs(12, 12, seed=1)))).result
        z = program.add(op(y, x)).result
        return program.add(op(z, y)).result

    x = signs(9, 12)
    y = x + x @ signs(12, 12, seed=1).T
    z = y + x if op is pt.AddOp else y * x
    np.testing.assert_array_equal(assert_exact(build, target, x), z + y if op is pt.AddOp else z * y)


def test_an_operand_may_be_used_twice() -> None:
    def build(program: TensorProgram):
        x = program.hidden(5, 12)
        return program.add(pt.MulOp(x, x)).result

    assert_exact(build, "8x4x4", exact(5, 12))


def test_an_operand_that_is_returned_is_not_overwritten() -> None:
    def build(program: TensorProgram):
        x = program.hidden(5, 12)
        program.add(pt.SiluOp(x))
        return program.add(pt.AddOp(program.add(pt.SliceOp(x, 0, 0, 5)).result, x)).result

    assert_exact(build, "8x4x4", exact(5, 12))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (16, 17), (3, 12), (0, 17)])
def test_a_slice_takes_its_rows(target, start, stop) -> None:
    def build(program: TensorProgram):
        return program.add(pt.SliceOp(program.hidden(17, 20), 0, start, stop)).result

    assert_exact(build, target, exact(17, 20))


@pytest.mark.parametrize("target", ["8x4x4", "16x4x16"])
def test_the_rows_of_a_slice_go_on(target) -> None:
    """What a decoder does for the last logits: norm of the last row, product with it."""

    def build(program: TensorProgram):
        row = program.add(pt.SliceOp(program.hidden(17, 20), 0, 16, 17)).result
        return program.linear(row, "head", signs(30, 20, seed=1))

    assert_exact(build, target, signs(17, 20))


@pytest.mark.parametrize("target", ["8x4x4", "16x4x16"])
def test_a_slice_takes_every_third_row(target) -> None:
    def build(program: TensorProgram):
        return program.add(pt.SliceOp(program.hidden(17, 20), 0, 2, 17, 3)).result

    assert_exact(build, target, exact(17, 20))


def test_slices_of_features_are_refused() -> None:
    program = TensorProgram("8x4x4")
    x = program.add(pt.SliceOp(program.hidden(8, 16), 1, 0, 8, 1)).result
    with pytest.raises(LoweringError, match="rows"):
        lower(program, x)
