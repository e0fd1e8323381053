"""fold-attention-scale: the scale of the scores moves into what computes the queries."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import carry_location
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.fold_scales import scaled_norm, scaled_outputs, with_scale


def _scaled_queries(query: SSAValue, factor: pt.ConstantOp) -> list[pt.TensorOp]:
    """Ops for query * factor: into the weights or the gain that compute it, if nothing else reads it."""
    producer = query.owner if query.has_one_use() else None
    if isinstance(producer, pt.LinearOp):
        ops = scaled_outputs(producer, factor.result)
    elif isinstance(producer, pt.RmsNormOp | pt.LayerNormOp) and producer.gain is not None:
        ops = scaled_norm(producer, factor.result)
    else:
        return [pt.MulOp(query, factor)]
    # They stand for the projection or the norm, and stay part of its module.
    carry_location(ops, producer)
    return ops


class FoldAttentionScale(RewritePattern):
    """attention(rope(linear(x, W, b)), scale s)  ->  attention(rope(linear(x, W * s, b * s)), scale 1)

    Rotary embedding is linear and stays; without it the projection feeds attention at once, and a norm of the heads takes the
    factor into its gain. With a soft cap the scores are divided by it as well, and what is left as scale is the cap.
    """

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.AttentionOp, rewriter: PatternRewriter) -> None:
        left = 1.0 if op.soft_cap is None else op.soft_cap.value.data
        scale = op.scale.value.data / left
        if scale == 1.0:
            return
        rope = pt.defined_by(op.q, pt.RopeOp) if op.q.has_one_use() else None
        factor = pt.splat(scale)
        if rope is None:
            ops = _scaled_queries(op.q, factor)
            query = ops[-1].result
            unscaled = with_scale(op, [query, *op.operands[1:]], left)
            replace(rewriter, op, [factor, *ops, unscaled])
            return
        ops = _scaled_queries(rope.x, factor)
        interleaved = rope.interleaved is not None
        turned = pt.RopeOp(ops[-1], rope.cos, rope.sin, rope.heads.value.data, interleaved=interleaved)
        replace(rewriter, rope, [factor, *ops, turned])
        replace(rewriter, op, with_scale(op, [turned.result, *op.operands[1:]], left))


@dataclass(frozen=True)
class FoldAttentionScalePass(ModulePass):
    """Attention without a scale of its own."""

    name = "fold-attention-scale"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, FoldAttentionScale())
