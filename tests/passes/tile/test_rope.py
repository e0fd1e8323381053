"""Rotary embedding: heads narrower than, as wide as and wider than a tile, several heads, both strategies."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.dialects import plena_tensor as pt
from tests.tensor_programs import Strategy, TensorProgram, assert_exact, exact, execute, normal


def rope(program: TensorProgram, x, cos, sin, heads: int):
    return program.add(pt.RopeOp(x, program.table("cos", cos), program.table("sin", sin), heads)).result


def projected(program: TensorProgram, rows: int, features: int):
    """Hidden states behind a projection (the identity), which puts each head on column blocks of its own."""
    return program.linear(program.hidden(rows, features), "proj", np.eye(features, dtype=np.float32))


@pytest.mark.parametrize("target", ["8x4x4", "8x8x8", "16x4x4", "16x4x16"])
@pytest.mark.parametrize(("size", "strategy"), [(4, "auto"), (8, "micro"), (12, "auto"), (16, "auto"), (24, "micro")])
def test_every_head_turns_by_its_row(target, strategy: Strategy, size) -> None:
    rows, heads = 9, 3

    def build(program: TensorProgram):
        return rope(program, projected(program, rows, heads * size), exact(rows, size, seed=1), exact(rows, size, seed=2), heads)

    assert_exact(build, target, exact(rows, heads * size), strategy)


@pytest.mark.parametrize("rows", [1, 8, 17])
def test_any_number_of_rows(rows) -> None:
    def build(program: TensorProgram):
        return rope(program, projected(program, rows, 16), exact(rows, 8, seed=1), exact(rows, 8, seed=2), 2)

    assert_exact(build, "8x4x4", exact(rows, 16))


def test_the_unturned_operand_may_be_read_again() -> None:
    def build(program: TensorProgram):
        x = projected(program, 9, 16)
        turned = rope(program, x, exact(9, 8, seed=1), exact(9, 8, seed=2), 2)
        return program.add(pt.AddOp(turned, x)).result

    assert_exact(build, "8x4x4", exact(9, 16))


def test_tables_keep_bf16_precision() -> None:
    angles = np.arange(17)[:, None] * 10000.0 ** (-np.arange(4) / 4)
    angles = np.concatenate([angles, angles], axis=1).astype(np.float32)
    program = TensorProgram("8x4x4")
    outcome = execute(program, rope(program, projected(program, 17, 16), np.cos(angles), np.sin(angles), 2), exact(17, 16))
    np.testing.assert_array_equal(outcome.tile, outcome.hardware)
    assert outcome.cost <= 0.005


@pytest.mark.parametrize("target", ["8x4x4", "16x4x16"])
@pytest.mark.parametrize(("size", "turned"), [(8, 4), (12, 6), (20, 10), (24, 16)])
def test_lanes_beyond_the_tables_stay(target, size, turned) -> None:
    def build(program: TensorProgram):
        x = projected(program, 9, 3 * size)
        return rope(program, x, exact(9, turned, seed=1), exact(9, turned, seed=2), 3)

    x = exact(9, 3 * size)
    y = assert_exact(build, target, x).reshape(9, 3, size)
    np.testing.assert_array_equal(y[..., turned:], x.reshape(9, 3, size)[..., turned:])
    assert np.any(y[..., :turned] != x.reshape(9, 3, size)[..., :turned])


@pytest.mark.parametrize("target", ["8x4x4", "16x4x16"])
@pytest.mark.parametrize(("size", "turned"), [(8, 8), (12, 12), (24, 24), (12, 8)])
def test_interleaved_pairs_turn(target, size, turned) -> None:
    cos, sin, x = exact(9, turned, seed=1), exact(9, turned, seed=2), exact(9, 2 * size)

    def build(program: TensorProgram):
        tables = [program.table(name, values) for name, values in (("cos", cos), ("sin", sin))]
        return program.add(pt.RopeOp(projected(program, 9, 2 * size), *tables, 2, interleaved=True)).result

    y = assert_exact(build, target, x).reshape(9, 2, size)
    heads = x.reshape(9, 2, size)
    even, odd = heads[..., 0:turned:2], heads[..., 1:turned:2]
    np.testing.assert_array_equal(y[..., 0:turned:2], even * cos[:, None, 0::2] - odd * sin[:, None, 0::2])
    np.testing.assert_array_equal(y[..., 1:turned:2], odd * cos[:, None, 1::2] + even * sin[:, None, 1::2])


def test_values_between_the_formats_stay_close() -> None:
    program = TensorProgram("16x4x4")
    outcome = execute(program, rope(program, projected(program, 9, 24), normal(9, 12), normal(9, 12, seed=1), 2), normal(9, 24))
    assert outcome.error <= 0.001
