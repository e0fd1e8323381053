"""Linear layers on tiles: padding on every side, both matrix strategies, biases, K beyond Matrix SRAM."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plena_mlir.errors import LoweringError
from plena_mlir.target import load_target
from tests.tensor_programs import Strategy, TensorProgram, assert_exact, execute, lower, normal, signs

TARGETS = ["8x4x4", "8x8x8", "16x4x4", "16x4x16"]
FORCED: tuple[Strategy, ...] = ("micro", "broadcast")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("strategy", FORCED)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"), [(1, 8, 8), (5, 20, 12), (8, 16, 24), (17, 40, 33)], ids=lambda size: str(size)
)
def test_products_are_exact_where_bf16_is(target, strategy, rows, inputs, outputs) -> None:
    def build(program: TensorProgram):
        return program.linear(program.hidden(rows, inputs), "proj", signs(outputs, inputs, seed=1))

    assert_exact(build, target, signs(rows, inputs), strategy)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("strategy", FORCED)
def test_a_bias_is_added_to_every_row(target, strategy) -> None:
    # 37 / 64 and the like: more than one MX term holds.
    bias = (np.arange(-10, 10) * 37 / 64 / 8).astype(np.float32)

    def build(program: TensorProgram):
        return program.linear(program.hidden(9, 12), "proj", np.zeros((20, 12), np.float32), bias)

    program = TensorProgram(target)
    outcome = execute(program, build(program), signs(9, 12), strategy)
    np.testing.assert_array_equal(outcome.tile, outcome.hardware)
    assert np.abs(outcome.tile - bias).max() <= 0.003 * np.abs(bias).max()


@pytest.mark.parametrize("target", TARGETS)
def test_values_that_no_format_holds_stay_close_to_the_golden(target) -> None:
    program = TensorProgram(target)
    x = program.linear(program.hidden(17, 40), "first", normal(24, 40, seed=1) / 6, normal(24, seed=2))
    outcome = execute(program, program.linear(x, "second", normal(33, 24, seed=3) / 5), normal(17, 40))
    assert outcome.error <= 0.004
    assert 0.01 <= outcome.cost <= 0.1


@pytest.mark.parametrize("strategy", FORCED)
@pytest.mark.parametrize("tiles", [1, 2, 3])
@pytest.mark.parametrize("blocks", [1, 2, 3, 4, 7])
def test_k_beyond_matrix_sram_is_split(strategy, tiles, blocks) -> None:
    """From one part to seven, with a ragged last part."""
    target = replace(load_target("8x4x4"), matrix_sram_rows=8 * tiles)
    rows = 20

    def build(program: TensorProgram):
        return program.linear(program.hidden(rows, 8 * blocks - 2), "proj", signs(12, 8 * blocks - 2, seed=1), signs(12))

    assert_exact(build, target, signs(rows, 8 * blocks - 2), strategy)


@pytest.mark.parametrize("strategy", FORCED)
def test_one_block_of_rows_needs_no_more_than_a_tile(strategy) -> None:
    def build(program: TensorProgram):
        return program.linear(program.hidden(6, 30), "proj", signs(12, 30, seed=1), signs(12))

    assert_exact(build, replace(load_target("8x4x4"), matrix_sram_rows=8), signs(6, 30), strategy)


@pytest.mark.parametrize("strategy", FORCED)
@pytest.mark.parametrize("amount", [4, 12, 16, 24])
def test_a_fetch_may_move_part_of_a_tile_or_several(strategy, amount) -> None:
    """Fetching past the last tile must spoil neither a tile nor the sum, nor overflow Matrix SRAM."""
    target = replace(load_target("8x4x4"), prefetch_m_rows=amount, matrix_sram_rows=32)

    def build(program: TensorProgram):
        return program.linear(program.hidden(20, 46), "proj", signs(12, 46, seed=1), signs(12))

    assert_exact(build, target, signs(20, 46), strategy)


def test_a_fetch_beyond_matrix_sram_is_refused() -> None:
    program = TensorProgram(replace(load_target("8x4x4"), prefetch_m_rows=24, matrix_sram_rows=16))
    with pytest.raises(LoweringError, match="one fetch moves 3 tiles, Matrix SRAM holds 2"):
        lower(program, program.linear(program.hidden(20, 20), "proj", signs(12, 20)))


@pytest.mark.parametrize(("fetch", "store"), [(1, 1), (3, 2), (6, 6), (16, 8)])
def test_rows_move_in_any_number(fetch, store) -> None:
    target = replace(load_target("8x4x4"), prefetch_v_rows=fetch, writeback_v_rows=store)

    def build(program: TensorProgram):
        return program.linear(program.hidden(5, 20), "proj", signs(12, 20, seed=1), signs(12))

    assert_exact(build, target, signs(5, 20))


def test_parts_of_k_are_added_in_bf16() -> None:
    target = replace(load_target("8x4x4"), matrix_sram_rows=16)
    program = TensorProgram(target)
    outcome = execute(program, program.linear(program.hidden(9, 56), "proj", normal(24, 56, seed=1)), normal(9, 56))
    assert 0 < outcome.error <= 0.006
