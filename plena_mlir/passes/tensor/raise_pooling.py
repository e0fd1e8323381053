"""raise-pooling: sums and means over the rows of each sequence become sum_rows of rank 2 activations."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite


class RaiseRowSums(RewritePattern):
    """sum or mean over dimension 1 of [sequences, rows, features]  ->  sum_rows, times 1 / rows for a mean"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SumOp | pt.MeanOp, rewriter: PatternRewriter) -> None:
        shape = pt.shape_of(op.x)
        if len(shape) != 3 or op.axes != (1,) or pt.is_weight(op.x):
            return
        sequences, rows, features = shape
        flat = pt.ReshapeOp(op.x, (sequences * rows, features))
        ops: list[pt.TensorOp] = [flat, pt.SumRowsOp(flat, sequences)] if rows > 1 else [flat]
        if isinstance(op, pt.MeanOp) and rows > 1:
            share = pt.splat(1.0 / rows)
            ops += [share, pt.MulOp(ops[-1], share)]
        replace(rewriter, op, [*ops, pt.ReshapeOp(ops[-1], pt.shape_of(op.result))])


@dataclass(frozen=True)
class RaisePoolingPass(ModulePass):
    """Recover pooling over the rows of a sequence."""

    name = "raise-pooling"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseRowSums())
