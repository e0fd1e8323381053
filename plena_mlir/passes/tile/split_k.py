"""split-k: products whose K tiles exceed Matrix SRAM become several, each over the K tiles that fit, added up in Vector SRAM.

out = x w   ->   out = x[k0:k1] w[:, k0:k1];  out += x[k1:k2] w[:, k1:k2];  ...
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint
from xdsl.utils.hints import isa

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import target_of
from plena_mlir.errors import MemoryTooSmallError
from plena_mlir.passes.tile.emitter import Emitter
from plena_mlir.target import Target


@dataclass
class SplitKPattern(RewritePattern):
    """One product with too many K tiles to products that fit."""

    target: Target

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: tile.MatmulOp, rewriter: PatternRewriter) -> None:
        x, w = op.x.type, op.w.type
        assert isa(x, tile.Buffer) and isa(w, tile.Buffer) and op.strategy is not None
        inputs, rows, lanes = x.get_shape()
        outputs, _, edge, width = w.get_shape()
        strategy = op.strategy.data
        if strategy is tile.Strategy.BROADCAST and rows <= edge:
            return  # one block of rows needs one tile at a time
        fetched = self.target.prefetch_m_tiles
        capacity = self.target.matrix_sram_tiles - (fetched - 1)
        if capacity < 1:
            raise MemoryTooSmallError(
                f"one fetch moves {fetched} tiles, Matrix SRAM holds {self.target.matrix_sram_tiles}",
                memory=tile.Space.MRAM.value,
                needed=fetched,
                where=f"target {self.target.name}",
                hint="use a target with a larger MATRIX_SRAM_SIZE, or a smaller HBM_M_Prefetch_Amount",
            )
        if inputs <= capacity:
            return
        emitter = Emitter(self.target, Builder(InsertPoint.before(op)), op.location)
        for start in range(0, inputs, capacity):
            count = min(capacity, inputs - start)
            part_x = emitter.slice(op.x, [start, 0, 0], [count, rows, lanes])
            part_w = emitter.slice(op.w, [0, start, 0, 0], [outputs, count, edge, width])
            emitter.add(
                tile.MatmulOp(
                    part_x,
                    part_w,
                    op.out,
                    transposed=op.transposed is not None,
                    strategy=strategy,
                    accumulate=op.accumulate is not None or start > 0,
                )
            )
        rewriter.erase(op)


@dataclass(frozen=True)
class SplitKPass(ModulePass):
    """Bring every product's resident tiles within Matrix SRAM."""

    name = "split-k"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(SplitKPattern(target_of(op)), apply_recursively=False).rewrite_module(op)
