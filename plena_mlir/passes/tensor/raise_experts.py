"""raise-experts: products with matrices selected by the routing, row by row, become expert layers on pairs of a row and an expert.

    matmul(index_select(stack, ids), x as columns)   ->   expert_linear(x, stack, ids)

Rows repeated for the experts they chose are taken before their repetition, selected biases join their layer, and the sum over a
row's experts becomes `moe_combine`.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.simplify_shapes import SimplifyShapesPass


def _choices(ids: SSAValue) -> SSAValue | None:
    """The choices [R, k] that a list of positions is made of."""
    merged = pt.defined_by(ids, pt.ReshapeOp)
    return merged.x if merged is not None and len(pt.shape_of(merged.x)) == 2 else None


class RaiseExpertLinear(RewritePattern):
    """matmul(index_select(W, ids), x [N, K, 1])  ->  expert_linear(x, W, ids), and matmul(x [N, 1, K], ...) with W transposed"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MatmulOp, rewriter: PatternRewriter) -> None:
        for selected, x, transposed in ((op.lhs, op.rhs, False), (op.rhs, op.lhs, True)):
            select = pt.defined_by(selected, pt.IndexSelectOp)
            ids = None if select is None else _choices(select.ids)
            if select is None or ids is None or not pt.is_weight(select.x) or len(pt.shape_of(select.x)) != 3:
                continue
            shape = pt.shape_of(x)
            if len(shape) != 3 or shape[1 if transposed else 2] != 1 or pt.is_weight(x):
                continue
            rows = pt.ReshapeOp(x, (shape[0], shape[2 if transposed else 1]))
            weight = [pt.PermuteOp(select.x, (0, 2, 1))] if transposed else []
            linear = pt.ExpertLinearOp(rows, weight[0] if weight else select.x, ids)
            if weight:
                weight[0].result.name_hint = select.x.name_hint
            replace(rewriter, op, [rows, *weight, linear, pt.ReshapeOp(linear, pt.shape_of(op.result))])
            return


class AbsorbSelectedBias(RewritePattern):
    """expert_linear(x, W, ids) + index_select(b, ids)  ->  expert_linear(x, W, ids, b)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.AddOp, rewriter: PatternRewriter) -> None:
        for product, bias in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            linear, select = pt.defined_by(product, pt.ExpertLinearOp), pt.defined_by(bias, pt.IndexSelectOp)
            if linear is None or select is None or linear.bias is not None or not product.has_one_use():
                continue
            ids = _choices(select.ids)
            if ids is None or not pt.same_value(ids, linear.ids) or pt.shape_of(select.x) != pt.shape_of(linear.weight)[:2]:
                continue
            if pt.is_weight(select.x):
                replace(rewriter, op, pt.ExpertLinearOp(linear.x, linear.weight, linear.ids, select.x))
                return


class TakeRowsOnce(RewritePattern):
    """expert_linear(x repeated k times, W, ids [R, k])  ->  expert_linear(x, W, ids)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ExpertLinearOp, rewriter: PatternRewriter) -> None:
        merged = pt.defined_by(op.x, pt.ReshapeOp)
        repeated = None if merged is None else pt.defined_by(merged.x, pt.ExpandOp)
        if repeated is None:
            return
        (rows, k), features = pt.shape_of(op.ids), pt.shape_of(op.x)[1]
        if k == 1 or pt.shape_of(repeated.x) != (rows, 1, features) or pt.shape_of(repeated.result) != (rows, k, features):
            return
        once = pt.ReshapeOp(repeated.x, (rows, features))
        replace(rewriter, op, [once, pt.ExpertLinearOp(once, op.weight, op.ids, op.bias)])


def _per_row(value: SSAValue, pairs: int) -> SSAValue | None:
    """The weights [R, k] that a value [N, 1] holds, N = R * k."""
    spread = pt.defined_by(value, pt.ReshapeOp)
    if spread is None or pt.shape_of(value) != (pairs, 1) or len(pt.shape_of(spread.x)) != 2:
        return None
    return spread.x


class RaiseCombine(RewritePattern):
    """sum over k of (y * w) [R, k, H]  ->  moe_combine(y, w)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SumOp, rewriter: PatternRewriter) -> None:
        split = pt.defined_by(op.x, pt.ReshapeOp)
        product = None if split is None else pt.defined_by(split.x, pt.MulOp)
        if product is None or len(pt.shape_of(op.x)) != 3 or op.axes != (1,) or len(pt.shape_of(product.result)) != 2:
            return
        rows, k, _ = pt.shape_of(op.x)
        for y, spread in ((product.lhs, product.rhs), (product.rhs, product.lhs)):
            weights = _per_row(spread, rows * k)
            if weights is None or pt.shape_of(weights) != (rows, k) or pt.shape_of(y) != pt.shape_of(product.result):
                continue
            combined = pt.MoeCombineOp(y, weights)
            replace(rewriter, op, [combined, pt.ReshapeOp(combined, pt.shape_of(op.result))])
            return


@dataclass(frozen=True)
class RaiseExpertsPass(ModulePass):
    """Recover expert layers from selections and batched products."""

    name = "raise-experts"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseExpertLinear())
        SimplifyShapesPass().apply(ctx, op)
        rewrite(op, AbsorbSelectedBias(), TakeRowsOnce(), RaiseCombine(), recursively=True)
