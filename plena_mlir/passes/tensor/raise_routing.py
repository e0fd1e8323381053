"""raise-routing: the choice of experts and their weights, in whichever order softmax and topk come, become topk and moe_weights.

A softmax keeps the order of its logits, so the choice is always made on the logits themselves:

    ids = topk(softmax(l));  w = gather(softmax(l), ids)     ->   ids = topk(l);  w = moe_weights(l, ids) normalised over all
    w / sum(w), w over all                                   ->   moe_weights(l, ids) normalised over the chosen
    softmax(gather(l, topk(l)))                              ->   moe_weights(l, topk(l)) normalised over the chosen

Where a row has one expert there is no sum left over its experts, neither in the weight nor in what is made of it:

    w / w                                                    ->   moe_weights(l, ids) normalised over the chosen
    y * w                                                    ->   moe_combine(y, w)
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


def _logits(value: SSAValue) -> SSAValue | None:
    """The logits whose softmax over the last dimension a value [R, E] is."""
    softmax = pt.defined_by(value, pt.SoftmaxOp)
    if softmax is None or len(pt.shape_of(value)) != 2 or softmax.dim.value.data not in (-1, 1):
        return None
    return softmax.x


class ChooseByLogits(RewritePattern):
    """topk(softmax(l))  ->  topk(l)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.TopkOp, rewriter: PatternRewriter) -> None:
        logits = _logits(op.x)
        if logits is not None:
            replace(rewriter, op, pt.TopkOp(logits, op.k.value.data))


class WeightsOverAll(RewritePattern):
    """gather(softmax(l), ids)  ->  moe_weights(l, ids) over all"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.GatherOp, rewriter: PatternRewriter) -> None:
        logits = _logits(op.x)
        if logits is not None:
            replace(rewriter, op, pt.MoeWeightsOp(logits, op.ids, pt.Normalised.ALL))


class WeightsOverChosen(RewritePattern):
    """softmax(gather(l, ids))  ->  moe_weights(l, ids) over the chosen"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SoftmaxOp, rewriter: PatternRewriter) -> None:
        gather = None if _logits(op.result) is None else pt.defined_by(op.x, pt.GatherOp)
        if gather is not None:
            replace(rewriter, op, pt.MoeWeightsOp(gather.x, gather.ids, pt.Normalised.CHOSEN))


class RenormalisedWeights(RewritePattern):
    """w / sum(w), w / w  ->  w over the chosen, for weights w over all, which are one where there is no sum"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.DivOp, rewriter: PatternRewriter) -> None:
        weights = pt.defined_by(op.lhs, pt.MoeWeightsOp)
        total = pt.defined_by(op.rhs, pt.SumOp)
        if weights is None:
            return
        one = pt.shape_of(op.lhs)[1] == 1 and pt.same_value(op.rhs, op.lhs)
        if one or (total is not None and pt.same_value(total.x, op.lhs) and total.axes == (1,) and total.keepdim is not None):
            replace(rewriter, op, pt.MoeWeightsOp(weights.logits, weights.ids, pt.Normalised.CHOSEN))


class CombineOne(RewritePattern):
    """y * w  ->  moe_combine(y, w), for the weights w [R, 1] of rows of one expert each"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        for y, weights in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            found = pt.defined_by(weights, pt.MoeWeightsOp)
            if found is not None and pt.shape_of(y) == pt.shape_of(op.result) and pt.shape_of(weights) == (pt.shape_of(y)[0], 1):
                replace(rewriter, op, pt.MoeCombineOp(y, weights))
                return


@dataclass(frozen=True)
class RaiseRoutingPass(ModulePass):
    """Recover the routing of a mixture of experts."""

    name = "raise-routing"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, ChooseByLogits(), WeightsOverAll(), WeightsOverChosen())
        rewrite(op, RenormalisedWeights(), CombineOne())
