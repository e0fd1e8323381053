"""raise-linears: products with weight matrices, and the rows added to them, become linear layers with a bias."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite


class LinearOfMatmul(RewritePattern):
    """matmul(x, W)  ->  linear(x, transpose of W), W a weight [K, N]"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MatmulOp, rewriter: PatternRewriter) -> None:
        if len(pt.shape_of(op.rhs)) != 2 or not pt.is_weight(op.rhs) or pt.is_weight(op.lhs):
            return
        transposed = pt.PermuteOp(op.rhs, (1, 0))
        transposed.result.name_hint = op.rhs.name_hint
        replace(rewriter, op, [transposed, pt.LinearOp(op.lhs, transposed)])


class MatmulOfWeights(RewritePattern):
    """linear(w, W, b)  ->  w * transpose of W + b, w a weight: it is computed once, when the image is written"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.LinearOp, rewriter: PatternRewriter) -> None:
        if not pt.is_weight(op.x) or len(pt.shape_of(op.x)) < 2:
            return
        transposed = pt.PermuteOp(op.weight, (1, 0))
        product = pt.MatmulOp(op.x, transposed)
        replace(rewriter, op, [transposed, product, *([] if op.bias is None else [pt.AddOp(product, op.bias)])])


class AbsorbBias(RewritePattern):
    """linear(x, W) + row  ->  linear(x, W, row)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.AddOp, rewriter: PatternRewriter) -> None:
        for product, row in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            linear = pt.defined_by(product, pt.LinearOp)
            if linear is None or linear.bias is not None or not product.has_one_use() or not pt.is_weight(row):
                continue
            if not pt.is_row(row, pt.shape_of(product)[-1]) or pt.shape_of(op.result) != pt.shape_of(product):
                continue
            flat = [] if len(pt.shape_of(row)) == 1 else [pt.ReshapeOp(row, pt.shape_of(product)[-1:])]
            replace(rewriter, op, [*flat, pt.LinearOp(linear.x, linear.weight, flat[0] if flat else row)])
            return


@dataclass(frozen=True)
class RaiseLinearsPass(ModulePass):
    """Recover linear layers from the matrix products that some modules (Conv1D of GPT-2) compute with."""

    name = "raise-linears"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, MatmulOfWeights(), LinearOfMatmul(), AbsorbBias())
