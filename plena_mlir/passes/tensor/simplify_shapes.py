"""simplify-shapes: rearrangements, casts and joins that do nothing or undo each other disappear."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, replace_by_value, rewrite


class DropIdentity(RewritePattern):
    """A reshape, expand, cast or whole slice to the operand's own type is the operand."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ReshapeOp | pt.ExpandOp | pt.CastOp | pt.SliceOp, rewriter: PatternRewriter) -> None:
        if op.x.type == op.result.type:
            replace_by_value(rewriter, op, op.x)


class MergeReshapes(RewritePattern):
    """reshape(reshape(x))  ->  reshape(x)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ReshapeOp, rewriter: PatternRewriter) -> None:
        inner = pt.defined_by(op.x, pt.ReshapeOp)
        if inner is None:
            return
        shape = pt.shape_of(op.result)
        if pt.shape_of(inner.x) == shape:
            replace_by_value(rewriter, op, inner.x)
        else:
            replace(rewriter, op, pt.ReshapeOp(inner.x, shape))


class MergePermutes(RewritePattern):
    """permute(permute(x))  ->  permute(x), or x"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.PermuteOp, rewriter: PatternRewriter) -> None:
        inner = pt.defined_by(op.x, pt.PermuteOp)
        order = op.order if inner is None else tuple(inner.order[dim] for dim in op.order)
        source = op.x if inner is None else inner.x
        if order == tuple(range(len(order))):
            replace_by_value(rewriter, op, source)
        elif inner is not None:
            replace(rewriter, op, pt.PermuteOp(source, order))


class PermuteOfUnitDims(RewritePattern):
    """A permutation that keeps the order of all dimensions longer than 1 is a reshape."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.PermuteOp, rewriter: PatternRewriter) -> None:
        shape = pt.shape_of(op.x)
        long = [dim for dim in op.order if shape[dim] != 1]
        if long == sorted(long):
            replace(rewriter, op, pt.ReshapeOp(op.x, pt.shape_of(op.result)))


class DropEmptyParts(RewritePattern):
    """A concat without its operands of size 0; of one operand, that operand."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ConcatOp, rewriter: PatternRewriter) -> None:
        parts = [part for part in op.inputs if 0 not in pt.shape_of(part)]
        if len(parts) == 1:
            replace_by_value(rewriter, op, parts[0])
        elif 1 < len(parts) < len(op.inputs):
            replace(rewriter, op, pt.ConcatOp(parts, op.dim.value.data))


@dataclass(frozen=True)
class SimplifyShapesPass(ModulePass):
    """Cancel rearrangements that the export, or raising to rank 2, left back to back."""

    name = "simplify-shapes"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        patterns = (DropIdentity(), MergeReshapes(), MergePermutes(), PermuteOfUnitDims(), DropEmptyParts())
        rewrite(op, *patterns, recursively=True)
