"""fold-norm-weights: the gain of a norm moves into the weights of the linear layers that read it."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.fold_scales import Linear, linear_users, with_weight


def _with_shift(linear: Linear, shift: SSAValue) -> list[pt.TensorOp]:
    """Ops for the bias of `linear` once `shift` [K] is added to its input: bias + weight @ shift."""
    *outputs, inputs = pt.shape_of(linear.weight)
    column = pt.ReshapeOp(shift, (inputs, 1))
    product = pt.MatmulOp(linear.weight, column)
    row = pt.ReshapeOp(product, outputs)
    return [column, product, row, *([] if linear.bias is None else [pt.AddOp(linear.bias, row)])]


class FoldNormWeights(RewritePattern):
    """linear(norm(x, gain), W)  ->  linear(norm(x), W * gain); a layer norm's bias becomes bias + W @ it"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.RmsNormOp | pt.LayerNormOp, rewriter: PatternRewriter) -> None:
        shift = op.bias if isinstance(op, pt.LayerNormOp) else None
        users = linear_users(op.result)
        if (op.gain is None and shift is None) or users is None or op.group_count > 1:
            return
        eps = op.eps.value.data
        norm = pt.RmsNormOp(op.x, None, eps) if isinstance(op, pt.RmsNormOp) else pt.LayerNormOp(op.x, None, None, eps)
        for linear in users:
            bias = [] if shift is None else _with_shift(linear, shift)
            weight = [] if op.gain is None else [pt.MulOp(linear.weight, op.gain)]
            new_weight = SSAValue.get(weight[0]) if weight else linear.weight
            new_weight.name_hint = linear.weight.name_hint
            folded = with_weight(linear, op.result, new_weight, bias[-1] if bias else linear.bias)
            replace(rewriter, linear, [*bias, *weight, folded])
        replace(rewriter, op, norm)


@dataclass(frozen=True)
class FoldNormWeightsPass(ModulePass):
    """Leave norms without gain where all their users are linear layers; others, such as a final norm that is returned, keep it.

    The product is an expression on parameters, evaluated in float32 when the image is written.
    """

    name = "fold-norm-weights"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, FoldNormWeights())
