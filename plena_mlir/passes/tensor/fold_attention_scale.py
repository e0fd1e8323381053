"""fold-attention-scale: the scale of the scores moves into the query projection."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite


class FoldAttentionScale(RewritePattern):
    """attention(rope(linear(x, W, b)), scale s)  ->  attention(rope(linear(x, W * s, b * s)), scale 1)

    Rotary embedding is linear and stays; without it the projection feeds attention at once.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.AttentionOp, rewriter: PatternRewriter) -> None:
        scale = op.scale.value.data
        rope = pt.defined_by(op.q, pt.RopeOp)
        query = op.q if rope is None else rope.x
        linear = pt.defined_by(query, pt.LinearOp)
        if scale == 1.0 or linear is None or not op.q.has_one_use() or not query.has_one_use():
            return
        factor = pt.splat(scale)
        weight = pt.MulOp(linear.weight, factor)
        weight.result.name_hint = linear.weight.name_hint
        bias: list[pt.MulOp] = []
        if linear.bias is not None:
            bias = [pt.MulOp(linear.bias, factor)]
            bias[0].result.name_hint = linear.bias.name_hint
        folded = pt.LinearOp(linear.x, weight, bias[0] if bias else None)
        replace(rewriter, linear, [factor, weight, *bias, folded])
        unscaled = pt.AttentionOp(
            op.q,
            op.k,
            op.v,
            op.mask,
            heads=op.heads.value.data,
            kv_heads=op.kv_heads.value.data,
            scale=1.0,
            mask_kind=pt.MaskKind(op.mask_kind.data),
            window=None if op.window is None else op.window.value.data,
        )
        replace(rewriter, op, unscaled)


@dataclass(frozen=True)
class FoldAttentionScalePass(ModulePass):
    """Attention without a scale of its own, where the query comes straight (or through rope) from a linear layer."""

    name = "fold-attention-scale"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, FoldAttentionScale())
