"""drop-unit-factors: x * 1 and x / 1 are x; some models scale positions like this within their trained length."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace_by_value, rewrite


class DropUnitFactor(RewritePattern):
    """x * 1  ->  x;  x / 1  ->  x; where the result is no larger than x"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp | pt.DivOp, rewriter: PatternRewriter) -> None:
        pairs = [(op.lhs, op.rhs), (op.rhs, op.lhs)] if isinstance(op, pt.MulOp) else [(op.lhs, op.rhs)]
        for x, one in pairs:
            if x.type == op.result.type and pt.scalar_value(one) == 1.0:
                replace_by_value(rewriter, op, x)
                return


@dataclass(frozen=True)
class DropUnitFactorsPass(ModulePass):
    """Drop factors of one. Not before raise-rope, which would not know a rotation by no angle: that of a single position."""

    name = "drop-unit-factors"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, DropUnitFactor())
