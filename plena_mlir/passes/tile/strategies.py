"""How matrix products use the matrix unit: a table of strategies, each with a legality test and a cost.

Costs are in cycles of the transactional clock (machine specification, section 7) per MLEN x MLEN tile of weights and all rows,
without the DMA that both strategies share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import lcm

from plena_mlir.dialects.plena_tile import Strategy
from plena_mlir.passes.tile.layouts import round_up
from plena_mlir.target import Target


@dataclass(frozen=True)
class Product:
    """A matrix product to be placed: `rows` of activations; `transposed` when tiles hold [outputs, inputs].

    `physical_rows` is what the buffers hold, 0 before they are laid out.
    """

    rows: int
    transposed: bool
    physical_rows: int = 0


@dataclass(frozen=True)
class StrategyEntry:
    """One strategy: when it may be used, what it costs, and to how many rows it rounds a product."""

    strategy: Strategy
    legal: Callable[[Target, Product], bool]
    cycles_per_tile: Callable[[Target, Product], int]
    granule: Callable[[Target], int]


def _micro_cycles(target: Target, product: Product) -> int:
    return round_up(product.rows, target.blen) // target.blen * (target.mlen // target.blen) * (target.mlen + 1)


def _broadcast_cycles(target: Target, product: Product) -> int:
    padded = round_up(product.rows, target.mlen)
    # With several heads in a tile, shifted copies of the operand and a copy of the result add about a row operation per row.
    copies = padded if target.broadcast > 1 else 0
    return padded // target.mlen * target.broadcast * target.mlen + copies


def _broadcast_legal(target: Target, product: Product) -> bool:
    # M_BMM reads its rows head-interleaved, so that with several heads a plain row is no operand for it. Both forms read and write
    # whole tiles of rows.
    return (product.transposed or target.broadcast == 1) and product.physical_rows % target.mlen == 0


STRATEGIES = (
    StrategyEntry(Strategy.MICRO, lambda target, product: True, _micro_cycles, lambda target: target.blen),
    StrategyEntry(Strategy.BROADCAST, _broadcast_legal, _broadcast_cycles, lambda target: target.mlen),
)


def choose_strategy(target: Target, product: Product, force: Strategy | None = None) -> StrategyEntry:
    """The cheapest legal strategy; `force` takes that one wherever it is legal."""
    legal = [entry for entry in STRATEGIES if entry.legal(target, product)]
    forced = [entry for entry in legal if entry.strategy is force]
    return min(forced or legal, key=lambda entry: entry.cycles_per_tile(target, product))


def physical_rows(target: Target, rows: int, force: Strategy | None = None) -> int:
    """Rows of an activation buffer for `rows` tokens: a multiple of what the strategies and the row DMA move at a time.

    Beyond one tile, whole tiles: blocks of queries and keys then have one size.
    """
    granules = [choose_strategy(target, Product(rows, transposed), force).granule(target) for transposed in (True, False)]
    granule = lcm(*granules, target.writeback_v_rows, target.prefetch_v_rows)
    padded = round_up(rows, granule)
    return padded if padded <= target.mlen else round_up(rows, lcm(granule, target.mlen))
