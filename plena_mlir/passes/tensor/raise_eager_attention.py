"""raise-eager-attention: softmax(q k^T * scale + mask) v, written out in products, becomes one sdpa.

Models whose scores pass a soft cap are exported like this, since PyTorch's attention function has none.
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


@dataclass(frozen=True)
class Scores:
    """What a softmax is taken of: soft_cap(q k^T * scale) + mask."""

    q: SSAValue
    k_transposed: SSAValue
    scale: float
    soft_cap: float | None
    mask: SSAValue | None


def _factor(value: SSAValue) -> tuple[SSAValue, float]:
    """(x, b) with x * b the value, b a number."""
    scale = 1.0
    while True:
        op = value.owner
        if isinstance(op, pt.DivOp) and (divisor := pt.scalar_value(op.rhs)):
            value, scale = op.lhs, scale / divisor
            continue
        if isinstance(op, pt.MulOp):
            for x, other in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
                factor = pt.scalar_value(other)
                if factor is not None:
                    value, scale = x, scale * factor
                    break
            else:
                return value, scale
            continue
        return value, scale


def _match_scores(value: SSAValue) -> Scores | None:
    mask: SSAValue | None = None
    total = pt.defined_by(value, pt.AddOp)
    if total is not None:
        for scores, found in ((total.lhs, total.rhs), (total.rhs, total.lhs)):
            if pt.is_weight(found) and pt.shape_of(scores) == pt.shape_of(value):
                value, mask = scores, found
                break
    cap = pt.defined_by(value, pt.SoftCapOp)
    product, scale = _factor(value if cap is None else cap.x)
    matmul = pt.defined_by(product, pt.MatmulOp)
    if matmul is None:
        return None
    return Scores(matmul.lhs, matmul.rhs, scale, None if cap is None else cap.cap.value.data, mask)


class RaiseEagerAttention(RewritePattern):
    """matmul(softmax(matmul(q, k^T) * scale + mask), v)  ->  sdpa(q, k, v, mask)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MatmulOp, rewriter: PatternRewriter) -> None:
        softmax = pt.defined_by(op.lhs, pt.SoftmaxOp)
        rank = len(pt.shape_of(op.result))
        if softmax is None or rank < 4 or softmax.dim.value.data not in (-1, rank - 1):
            return
        scores = _match_scores(softmax.x)
        if scores is None:
            return
        order = (*range(rank - 2), rank - 1, rank - 2)
        k = pt.PermuteOp(scores.k_transposed, order)
        sdpa = pt.SdpaOp(scores.q, k, op.rhs, scores.mask, scale=scores.scale, soft_cap=scores.soft_cap)
        replace(rewriter, op, [k, sdpa])


@dataclass(frozen=True)
class RaiseEagerAttentionPass(ModulePass):
    """Recover attention from its products; raise-activations, which finds the soft cap, comes before."""

    name = "raise-eager-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseEagerAttention())
