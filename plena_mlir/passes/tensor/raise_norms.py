"""raise-norms: x * rsqrt(mean(x^2) + eps) becomes one rms_norm, or layer_norm for a centred x; gains and biases join it.

A row divided by its Euclidean length is an rms_norm too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite


def _squared(value: SSAValue) -> SSAValue | None:
    """x if the value is x^2, written as a power or a product."""
    power = pt.defined_by(value, pt.PowOp)
    if power is not None and pt.scalar_value(power.rhs) == 2.0:
        return power.lhs
    product = pt.defined_by(value, pt.MulOp)
    return product.lhs if product is not None and product.lhs is product.rhs else None


def _mean_of_rows(value: SSAValue) -> SSAValue | None:
    """x if the value is the mean of x over its last dimension, which stays as size 1."""
    mean = pt.defined_by(value, pt.MeanOp)
    if mean is None or mean.keepdim is None or mean.axes != (len(pt.shape_of(mean.x)) - 1,):
        return None
    return mean.x


def _moment(total: SSAValue) -> tuple[SSAValue, float] | None:
    """(x, eps) if the value is mean(x^2) + eps."""
    sum = pt.defined_by(total, pt.AddOp)
    if sum is None:
        return None
    for variance, offset in ((sum.lhs, sum.rhs), (sum.rhs, sum.lhs)):
        squares, eps = _mean_of_rows(variance), pt.scalar_value(offset)
        x = None if squares is None or eps is None else _squared(squares)
        if x is not None and eps is not None:
            return x, eps
    return None


def _divisions(op: pt.MulOp | pt.DivOp) -> Iterator[tuple[SSAValue, SSAValue]]:
    """(x, y) for every way to read the op as x / sqrt(y)."""
    if isinstance(op, pt.DivOp):
        root = pt.defined_by(op.rhs, pt.SqrtOp)
        if root is not None:
            yield op.lhs, root.x
        return
    for x, scale in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
        root = pt.defined_by(scale, pt.RsqrtOp)
        if root is not None:
            yield x, root.x


def _centred(value: SSAValue) -> SSAValue | None:
    """x if the value is x - mean(x)."""
    difference = pt.defined_by(value, pt.SubOp)
    if difference is None:
        return None
    source = _mean_of_rows(difference.rhs)
    return difference.lhs if source is not None and pt.same_value(source, difference.lhs) else None


class RaiseNorm(RewritePattern):
    """x * rsqrt(mean(x^2) + eps)  ->  rms_norm(x), and  layer_norm(y)  if x is y - mean(y)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp | pt.DivOp, rewriter: PatternRewriter) -> None:
        for x, total in _divisions(op):
            moment = _moment(total)
            if moment is None or not pt.same_value(moment[0], x):
                continue
            source = _centred(x)
            norm = pt.RmsNormOp(x, None, moment[1]) if source is None else pt.LayerNormOp(source, None, None, moment[1])
            replace(rewriter, op, norm)
            return


def _length(value: SSAValue) -> tuple[SSAValue, float] | None:
    """(x, c) if the value is max(|x|, c), |x| the Euclidean length of each row of x, once for every element of x."""
    while (whole := pt.defined_by(value, pt.ExpandOp)) is not None:
        value = whole.x
    limited = pt.defined_by(value, pt.MaximumOp)
    sides = [] if limited is None else [(limited.lhs, limited.rhs), (limited.rhs, limited.lhs)]
    for root, bound in sides:
        length, least = pt.defined_by(root, pt.SqrtOp), pt.scalar_value(bound)
        sum = None if length is None else pt.defined_by(length.x, pt.SumOp)
        if sum is None or least is None or sum.keepdim is None or sum.axes != (len(pt.shape_of(sum.x)) - 1,):
            continue
        x = _squared(sum.x)
        if x is not None:
            return x, least
    return None


MAX_LEAST_LENGTH = 1e-6
"""The greatest bound below which a length is not divided by: no row of activations that is not all zeros is so short."""


class RaiseUnitNorm(RewritePattern):
    """x / max(|x|, c)  ->  rms_norm(x) / sqrt(features) with c^2 / features for its eps

    The two agree on a row of zeros, and to half of (c / |x|)^2 on all others, which float32 does not hold from |x| = 4000 c on.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.DivOp, rewriter: PatternRewriter) -> None:
        found = _length(op.rhs)
        if found is None or not pt.same_value(found[0], op.lhs) or not 0 < found[1] <= MAX_LEAST_LENGTH:
            return
        features = pt.shape_of(op.lhs)[-1]
        norm = pt.RmsNormOp(op.lhs, None, found[1] ** 2 / features)
        share = pt.splat(1.0 / sqrt(features))
        replace(rewriter, op, [norm, share, pt.MulOp(norm, share)])


def _norm_and_row(op: pt.MulOp | pt.AddOp) -> tuple[pt.RmsNormOp | pt.LayerNormOp, SSAValue] | None:
    """The norm, and the row of weights that the op multiplies it with or adds to it."""
    for normal, row in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
        norm = pt.defined_by(normal, pt.RmsNormOp) or pt.defined_by(normal, pt.LayerNormOp)
        if norm is not None and normal.has_one_use() and pt.is_weight(row) and pt.is_row(row, pt.shape_of(normal)[-1]):
            return norm, row
    return None


class AbsorbGainAndBias(RewritePattern):
    """norm(x) * row  ->  norm(x, gain row);  layer_norm(x) + row  ->  layer_norm(x, bias row)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp | pt.AddOp, rewriter: PatternRewriter) -> None:
        found = _norm_and_row(op)
        if found is None:
            return
        norm, row = found
        features = pt.shape_of(norm.result)[-1:]
        flat = [] if pt.shape_of(row) == features else [pt.ReshapeOp(row, features)]
        row, eps, groups = SSAValue.get(flat[0]) if flat else row, norm.eps.value.data, norm.group_count
        match op, norm:
            case pt.MulOp(), pt.RmsNormOp() if norm.gain is None:
                replace(rewriter, op, [*flat, pt.RmsNormOp(norm.x, row, eps, groups)])
            case pt.MulOp(), pt.LayerNormOp() if norm.gain is None and norm.bias is None:
                replace(rewriter, op, [*flat, pt.LayerNormOp(norm.x, row, None, eps, groups)])
            case pt.AddOp(), pt.LayerNormOp() if norm.bias is None:
                replace(rewriter, op, [*flat, pt.LayerNormOp(norm.x, norm.gain, row, eps, groups)])
            case _:
                pass


@dataclass(frozen=True)
class RaiseNormsPass(ModulePass):
    """Recover norms from the arithmetic that export leaves of them, on tensors of any rank."""

    name = "raise-norms"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseNorm(), RaiseUnitNorm(), AbsorbGainAndBias())
