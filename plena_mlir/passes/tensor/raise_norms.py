"""raise-norms: x * rsqrt(mean(x^2) + eps), times a gain, becomes one rms_norm."""

from __future__ import annotations

from dataclasses import dataclass

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


def _epsilon_over(scale: SSAValue, x: SSAValue) -> float | None:
    """eps if `scale` is rsqrt(mean(x^2, last dimension) + eps)."""
    root = pt.defined_by(scale, pt.RsqrtOp)
    total = pt.defined_by(root.x, pt.AddOp) if root is not None else None
    if total is None:
        return None
    for variance, offset in ((total.lhs, total.rhs), (total.rhs, total.lhs)):
        mean, eps = pt.defined_by(variance, pt.MeanOp), pt.scalar_value(offset)
        if mean is None or eps is None or mean.keepdim is None or mean.axes != (len(pt.shape_of(x)) - 1,):
            continue
        if _squared(mean.x) is x:
            return eps
    return None


class RaiseRmsNorm(RewritePattern):
    """x * rsqrt(mean(x^2) + eps)  ->  rms_norm(x)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        for x, scale in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            eps = _epsilon_over(scale, x)
            if eps is not None:
                replace(rewriter, op, pt.RmsNormOp(x, None, eps))
                return


class AbsorbGain(RewritePattern):
    """rms_norm(x) * gain, the gain a row of weights  ->  rms_norm(x, gain)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        for normal, gain in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            norm = pt.defined_by(normal, pt.RmsNormOp)
            if norm is None or norm.gain is not None or not pt.is_weight(gain):
                continue
            features = pt.shape_of(normal)[-1]
            if not pt.is_row(gain, features):
                continue
            row = [] if len(pt.shape_of(gain)) == 1 else [pt.ReshapeOp(gain, (features,))]
            raised = pt.RmsNormOp(norm.x, row[0] if row else gain, norm.eps.value.data)
            replace(rewriter, op, [*row, raised])
            return


@dataclass(frozen=True)
class RaiseNormsPass(ModulePass):
    """Recover rms_norm from the arithmetic that export leaves of it, on tensors of any rank."""

    name = "raise-norms"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseRmsNorm(), AbsorbGain())
