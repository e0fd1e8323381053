"""split-linears: a part of the features that one linear layer computes becomes a linear layer of its own.

Models with fused projections (queries, keys and values; gate and up) slice their result, be it in pieces or interleaved by head.
The slice moves to the rows of the weight, where it costs nothing:

    slice(reshape(linear(x, W)), dim)  ->  reshape(linear(x, reshape(slice(reshape(W), dim))))
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite


class SliceBeforePermute(RewritePattern):
    """slice(permute(x))  ->  permute(slice(x)), where x is no weight"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SliceOp, rewriter: PatternRewriter) -> None:
        permuted = pt.defined_by(op.x, pt.PermuteOp)
        if permuted is None or pt.is_weight(permuted.x):
            return
        dim = permuted.order[op.dim.value.data % len(permuted.order)]
        part = pt.SliceOp(permuted.x, dim, op.start.value.data, op.end.value.data, op.step.value.data)
        replace(rewriter, op, [part, pt.PermuteOp(part, permuted.order)])


def _split_features(shape: pt.Shape, features: int) -> int | None:
    """The first of the trailing dimensions of `shape` that together are the features of a linear layer."""
    for first in range(len(shape) - 1, -1, -1):
        if prod(shape[first:]) == features:
            return first
    return None


class SplitLinear(RewritePattern):
    """A slice of the features of a linear layer, which a reshape may have split into several dimensions."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SliceOp, rewriter: PatternRewriter) -> None:
        split = pt.defined_by(op.x, pt.ReshapeOp)
        linear = pt.defined_by(op.x if split is None else split.x, pt.LinearOp)
        if linear is None:
            return
        shape, (features, inputs) = pt.shape_of(op.x), pt.shape_of(linear.weight)
        first = _split_features(shape, features)
        dim = op.dim.value.data % len(shape)
        if first is None or dim < first:
            return
        parts = shape[first:]
        weight, bias = self._rows(op, linear.weight, (*parts, inputs), dim - first), []
        if linear.bias is not None:
            bias = self._rows(op, linear.bias, parts, dim - first)
        part = pt.LinearOp(linear.x, weight[-1], bias[-1] if bias else None)
        replace(rewriter, op, [*weight, *bias, part, pt.ReshapeOp(part, pt.shape_of(op.result))])

    @staticmethod
    def _rows(op: pt.SliceOp, weight: SSAValue, shape: pt.Shape, dim: int) -> list[pt.TensorOp]:
        """Ops for the rows of a weight [N, ...] that the slice leaves, N split as `shape` begins; the last holds them."""
        apart = pt.ReshapeOp(weight, shape)
        part = pt.SliceOp(apart, dim, op.start.value.data, op.end.value.data, op.step.value.data)
        rest = pt.shape_of(weight)[1:]
        count = prod(pt.shape_of(part)) // prod(rest)
        joined = pt.ReshapeOp(part, (count, *rest))
        joined.result.name_hint = weight.name_hint
        return [apart, part, joined]


class SplitExpertLinear(RewritePattern):
    """A slice of the features of an expert layer: a slice of the rows of every expert's matrix."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SliceOp, rewriter: PatternRewriter) -> None:
        linear = pt.defined_by(op.x, pt.ExpertLinearOp)
        if linear is None or op.dim.value.data % 2 != 1:
            return
        parts: list[pt.TensorOp] = []
        for stack in (linear.weight, linear.bias):
            if stack is not None:
                parts.append(pt.SliceOp(stack, 1, op.start.value.data, op.end.value.data, op.step.value.data))
                parts[-1].result.name_hint = stack.name_hint
        replace(rewriter, op, [*parts, pt.ExpertLinearOp(linear.x, parts[0], linear.ids, *parts[1:])])


@dataclass(frozen=True)
class SplitLinearsPass(ModulePass):
    """Undo the fusion of projections, so that each of their parts has the layout that its users need."""

    name = "split-linears"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, SliceBeforePermute(), SplitLinear(), SplitExpertLinear(), recursively=True)
