"""Matrix strategies: what is legal where, and that a choice never outgrows the buffers it is made for."""

from __future__ import annotations

import pytest

from plena_mlir.dialects.plena_tile import Strategy
from plena_mlir.passes.tile.strategies import Product, choose_strategy, physical_rows
from plena_mlir.target import load_target


@pytest.mark.parametrize(
    ("target", "rows", "strategy"),
    [
        ("64x16x64", 64, Strategy.BROADCAST),
        ("64x4x16", 64, Strategy.BROADCAST),
        ("256x64x64", 64, Strategy.MICRO),
        ("256x64x64", 256, Strategy.BROADCAST),
    ],
)
def test_the_cheaper_form_wins(target: str, rows: int, strategy: Strategy):
    assert choose_strategy(load_target(target), Product(rows, transposed=True)).strategy is strategy


def test_interleaved_rows_need_one_head_in_a_tile():
    product = Product(64, transposed=False)
    assert choose_strategy(load_target("64x16x64"), product, Strategy.BROADCAST).strategy is Strategy.BROADCAST
    assert choose_strategy(load_target("64x4x16"), product, Strategy.BROADCAST).strategy is Strategy.MICRO


def test_whole_tiles_are_not_read_from_buffers_that_hold_less():
    # The transfers round one row up to twelve, for which whole tiles would be cheaper than blocks of three rows.
    target = load_target("96x3x3")
    assert choose_strategy(target, Product(12, transposed=True)).strategy is Strategy.BROADCAST
    assert choose_strategy(target, Product(12, transposed=True, physical_rows=12)).strategy is Strategy.MICRO


@pytest.mark.parametrize("target", ["8x4x4", "24x8x24", "64x16x64", "96x3x3", "256x64x64"])
@pytest.mark.parametrize("rows", [1, 7, 64, 100, 257])
def test_buffers_hold_what_the_strategies_and_transfers_move(target: str, rows: int):
    machine = load_target(target)
    physical = physical_rows(machine, rows)
    assert physical >= rows
    assert physical % machine.writeback_v_rows == physical % machine.prefetch_v_rows == 0
    assert physical <= machine.mlen or physical % machine.mlen == 0
    for transposed in (True, False):
        entry = choose_strategy(machine, Product(rows, transposed, physical))
        assert physical % entry.granule(machine) == 0
