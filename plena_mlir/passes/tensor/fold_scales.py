"""fold-scales: factors that do not depend on the input move into the weights next to them.

A factor is a number or a row of one factor per feature. It goes into what computes the activation, if nothing else reads that;
else into all linear layers that read the product; numbers also pass through rotary embedding and products, and into the
scale of attention. What is left costs one operation per row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, ModuleOp, f64
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite

Linear = pt.LinearOp | pt.ExpertLinearOp
"""Layers whose weight [..., N, K] multiplies rows of K features."""


def with_weight(linear: Linear, x: SSAValue, weight: SSAValue | pt.TensorOp, bias: SSAValue | pt.TensorOp | None) -> Linear:
    """The layer on other operands, with the choices of its rows."""
    if isinstance(linear, pt.LinearOp):
        return pt.LinearOp(x, weight, bias)
    return pt.ExpertLinearOp(x, weight, linear.ids, bias)


def scaled(op: pt.MulOp | None) -> tuple[SSAValue, SSAValue] | None:
    """(x, factor) if the op multiplies the activation x with a number [] or a row [F] of weights."""
    if op is None or len(pt.shape_of(op.result)) != 2:
        return None
    for x, factor in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
        if pt.is_weight(factor) and not pt.is_weight(x) and pt.shape_of(factor) in ((), pt.shape_of(x)[1:]):
            return x, factor
    return None


def scaled_by_number(value: SSAValue) -> tuple[SSAValue, SSAValue, float] | None:
    """(x, constant, number) if the value is the product of the activation x with a number."""
    found = scaled(pt.defined_by(value, pt.MulOp))
    number = None if found is None else pt.scalar_value(found[1])
    return None if found is None or number is None else (*found, number)


def _product(value: SSAValue, factor: SSAValue | pt.TensorOp) -> pt.MulOp:
    """value * factor under the name of the value."""
    product = pt.MulOp(value, factor)
    product.result.name_hint = value.name_hint
    return product


def scaled_outputs(linear: pt.LinearOp, factor: SSAValue) -> list[pt.TensorOp]:
    """Ops for linear(x, W, b) * factor as one linear layer, the last of them."""
    column: list[pt.TensorOp] = [] if not pt.shape_of(factor) else [pt.ReshapeOp(factor, (*pt.shape_of(factor), 1))]
    weight = _product(linear.weight, column[0] if column else factor)
    bias = [] if linear.bias is None else [_product(linear.bias, factor)]
    return [*column, weight, *bias, pt.LinearOp(linear.x, weight, bias[0] if bias else None)]


def _scaled_row(row: SSAValue, factor: SSAValue) -> list[pt.TensorOp]:
    """Ops for the gain or bias `row`, of all features or of one group, times a factor; the last holds it."""
    size, shape = pt.shape_of(row)[0], pt.shape_of(factor)
    if shape in ((), (size,)):
        return [_product(row, factor)]
    groups = pt.ReshapeOp(factor, (shape[0] // size, size))
    product = _product(groups.result, row)
    return [groups, product, pt.ReshapeOp(product, shape)]


def scaled_norm(norm: pt.RmsNormOp | pt.LayerNormOp, factor: SSAValue) -> list[pt.TensorOp]:
    """Ops for norm(x) * factor as one norm, the last of them."""
    features = pt.shape_of(norm.result)[-1]
    gain: list[pt.TensorOp] = [pt.ExpandOp(factor, (features,))] if norm.gain is None else _scaled_row(norm.gain, factor)
    eps = norm.eps.value.data
    if isinstance(norm, pt.RmsNormOp):
        return [*gain, pt.RmsNormOp(norm.x, gain[-1], eps, norm.group_count)]
    bias = [] if norm.bias is None else _scaled_row(norm.bias, factor)
    return [*gain, *bias, pt.LayerNormOp(norm.x, gain[-1], bias[-1] if bias else None, eps, norm.group_count)]


def linear_users(value: SSAValue) -> list[Linear] | None:
    """The users of a value if all of them are linear layers, of experts or not, that read it as their input."""
    users: list[Linear] = []
    for use in value.uses:
        if not isinstance(use.operation, Linear) or use.index != 0:
            return None
        users.append(use.operation)
    return users or None


class FoldIntoProducer(RewritePattern):
    """linear(x, W) * s  ->  linear(x, W * s), and likewise for norms and embeddings"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        found = scaled(op)
        if found is None or not found[0].has_one_use():
            return
        x, factor = found
        match x.owner:
            case pt.LinearOp() as linear:
                replace(rewriter, op, scaled_outputs(linear, factor))
            case pt.RmsNormOp() | pt.LayerNormOp() as norm:
                replace(rewriter, op, scaled_norm(norm, factor))
            case pt.EmbeddingOp() as embedding:
                table = _product(embedding.table, factor)
                replace(rewriter, op, [table, pt.EmbeddingOp(table, embedding.ids)])
            case _:
                pass


class FoldIntoUsers(RewritePattern):
    """linear(x * s, W)  ->  linear(x, W * s) for every user of the product"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        found, users = scaled(op), linear_users(op.result)
        if found is None or users is None:
            return
        for linear in users:
            weight = _product(linear.weight, found[1])
            replace(rewriter, linear, [weight, with_weight(linear, found[0], weight, linear.bias)])


class MergeNumbers(RewritePattern):
    """x * a * b  ->  x * (a b)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        outer = scaled_by_number(op.result)
        inner = None if outer is None else scaled_by_number(outer[0])
        if outer is not None and inner is not None:
            factor = pt.splat(outer[2] * inner[2])
            replace(rewriter, op, [factor, pt.MulOp(inner[0], factor)])


class NumberAfterProduct(RewritePattern):
    """(x * a) * y  ->  (x * y) * a, where nothing else reads x * a"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        if any(pt.is_weight(operand) for operand in op.operands):
            return
        for inner, other in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            found = scaled_by_number(inner)
            if found is not None and inner.has_one_use():
                product = pt.MulOp(found[0], other)
                replace(rewriter, op, [product, pt.MulOp(product, found[1])])
                return


class NumberAfterRope(RewritePattern):
    """rope(x * a)  ->  rope(x) * a"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.RopeOp, rewriter: PatternRewriter) -> None:
        found = scaled_by_number(op.x)
        if found is not None and op.x.has_one_use():
            interleaved = op.interleaved is not None
            rope = pt.RopeOp(found[0], op.cos, op.sin, op.heads.value.data, interleaved=interleaved)
            replace(rewriter, op, [rope, pt.MulOp(rope, found[1])])


class FoldIntoScores(RewritePattern):
    """attention(q * a, k)  ->  attention(q, k) with a times the scale, and likewise for k"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.AttentionOp, rewriter: PatternRewriter) -> None:
        q, k = scaled_by_number(op.q), scaled_by_number(op.k)
        if q is None and k is None:
            return
        scale = op.scale.value.data
        for found in (q, k):
            scale *= 1.0 if found is None else found[2]
        operands = [op.q if q is None else q[0], op.k if k is None else k[0], *op.operands[2:]]
        replace(rewriter, op, with_scale(op, operands, scale))


def with_scale(op: pt.AttentionOp, operands: Sequence[SSAValue], scale: float) -> pt.AttentionOp:
    """The attention on other operands and with another scale."""
    properties = {**op.properties, "scale": FloatAttr(scale, f64)}
    return pt.AttentionOp.create(operands=operands, result_types=[op.result.type], properties=properties)


@dataclass(frozen=True)
class FoldScalesPass(ModulePass):
    """Fold constant factors of activations (embedding scales, residual and logit multipliers, layer scales) into weights."""

    name = "fold-scales"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        inward = (FoldIntoProducer(), FoldIntoUsers(), MergeNumbers())
        outward = (NumberAfterProduct(), NumberAfterRope(), FoldIntoScores())
        rewrite(op, *inward, *outward, recursively=True)
