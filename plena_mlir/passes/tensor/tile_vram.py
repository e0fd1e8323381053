"""tile-vram: fit a program into Vector SRAM, by blocks of rows and by parts of the wide intermediate features.

The pass lowers copies of the module to see what they need, so its choice rests on the memory plan itself: first as it is, then
with row-wise ops in blocks of MLEN rows, then also with ever more parts of the features between two products: each time twice as
many, in the end one for every VLEN features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import scf
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block
from xdsl.passes import ModulePass

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import add_note, main_function, target_of
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.dialects.plena_tile import Space
from plena_mlir.errors import LoweringError, MemoryTooSmallError
from plena_mlir.passes.tensor.feature_parts import split_features, split_widths
from plena_mlir.passes.tensor.row_blocks import tile_rows
from plena_mlir.passes.tile.convert_tensor_to_tile import StrategyName
from plena_mlir.passes.tile.lower import lower_to_tiles
from plena_mlir.target import Target


@dataclass(frozen=True)
class Tiling:
    """One way to make a program smaller.

    Attributes:
        block_rows: rows of a block; 0 keeps all rows together.
        parts: parts of the features between two products.
    """

    block_rows: int
    parts: int

    def __str__(self) -> str:
        rows = f"blocks of {self.block_rows} rows" if self.block_rows else "all rows together"
        return rows if self.parts == 1 else f"{rows}, intermediate features in {self.parts} parts"


@dataclass(frozen=True)
class TileVramPass(ModulePass):
    """Choose and apply the first tiling whose memory plan fits; a program that fits as it is stays as it is."""

    name = "tile-vram"

    strategy: StrategyName = "auto"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        target = target_of(op)
        if _surely_fits(op, target):
            return
        failures: list[MemoryTooSmallError] = []
        for tiling in _candidates(op, target):
            candidate = op.clone()
            try:
                apply_tiling(candidate, tiling)
                lower_to_tiles(ctx, candidate.clone(), strategy=self.strategy)
            except MemoryTooSmallError as error:
                if error.memory != Space.VRAM:
                    raise
                failures.append(error)
                continue
            except LoweringError:
                # Some programs have no form in blocks of rows; they need the memory that they need as they are.
                if not failures:
                    raise
                continue
            if tiling != Tiling(0, 1):
                _take_over(op, candidate)
                add_note(op, f"Vector SRAM of {target.vector_sram_rows:,} rows: {tiling}")
            return
        raise min(failures, key=lambda failure: failure.needed)


def apply_tiling(module: ModuleOp, tiling: Tiling) -> None:
    """Rewrite @main, and the layers in it, to a tiling."""
    for block in _row_blocks_of(module):
        if tiling.parts > 1:
            split_features(block, tiling.parts, target_of(module).vlen)
        if tiling.block_rows:
            for rows in _row_counts(block, tiling.block_rows):
                tile_rows(block, rows, tiling.block_rows)


def _row_counts(block: Block, block_rows: int) -> list[int]:
    """How many rows the activations of a block of IR have, as far as they are more than a block of rows: each number once."""
    results = [op.result for op in block.ops if isinstance(op, pt.TensorOp)]
    activations = [value for value in results if not pt.is_weight(value) and not pt.is_input(value) and len(shape_of(value)) == 2]
    return list(dict.fromkeys(rows for value in activations if (rows := shape_of(value)[0]) > block_rows))


def _row_blocks_of(module: ModuleOp) -> list[Block]:
    """The blocks of IR that hold ops on rows: the bodies of the loops over layers, and the function's."""
    main = main_function(module).body.block
    return [*(op.body.block for op in main.ops if isinstance(op, scf.ForOp)), main]


def _candidates(module: ModuleOp, target: Target) -> Iterator[Tiling]:
    yield Tiling(0, 1)
    block_rows = target.mlen if any(_row_counts(block, target.mlen) for block in _row_blocks_of(module)) else 0
    if block_rows:
        yield Tiling(block_rows, 1)
    widths = [features for block in _row_blocks_of(module) for features in split_widths(block)]
    most = -(-max(widths, default=0) // target.vlen)
    parts = 2
    while parts < most:
        yield Tiling(block_rows, parts)
        parts *= 2
    if most > 1:
        yield Tiling(block_rows, most)


def _surely_fits(module: ModuleOp, target: Target) -> bool:
    """A bound from above, without lowering: every value keeps buffers of its own, and every operand all its shifted copies."""
    copies = 2 + target.broadcast
    rows = 0
    for op in module.walk():
        if isinstance(op, pt.TensorOp) and len(shape_of(op.result)) == 2 and not pt.is_weight(op.result):
            tokens, features = shape_of(op.result)
            # Heads may each be padded to whole blocks: at most one block more per eight features.
            rows += -(-features // 8) * (-(-tokens // target.mlen) + 1) * target.mlen * copies
            if rows > target.vector_sram_rows:
                return False
    return True


def _take_over(module: ModuleOp, other: ModuleOp) -> None:
    """Make `module` what `other` is."""
    for op in reversed(list(module.body.block.ops)):
        op.detach()
        op.erase(safe_erase=False)
    for op in list(other.body.block.ops):
        op.detach()
        module.body.block.add_op(op)
