"""raise-head-norms: norms of single heads become one norm of rank 2 activations in groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.heads import HEADS_FIRST, to_heads, to_rows

Norm: TypeAlias = pt.RmsNormOp | pt.LayerNormOp


def _normalised(norm: Norm, x: SSAValue | pt.TensorOp, rows: list[SSAValue | None], groups: int) -> Norm:
    """A norm like `norm`, of x in groups, with the gain and bias `rows`."""
    gain, bias = rows
    eps = norm.eps.value.data
    if isinstance(norm, pt.RmsNormOp):
        return pt.RmsNormOp(x, gain, eps, groups)
    return pt.LayerNormOp(x, gain, bias, eps, groups)


def _rows_of(norm: Norm) -> list[SSAValue | None]:
    return [norm.gain, norm.bias if isinstance(norm, pt.LayerNormOp) else None]


def _heads_come_first(x: SSAValue) -> bool | None:
    """Whether the dimensions of x are [batch, heads, rows, d]; False for [batch, rows, heads, d], None if neither is known."""
    while True:
        permuted, split = pt.defined_by(x, pt.PermuteOp), pt.defined_by(x, pt.ReshapeOp)
        if (part := pt.defined_by(x, pt.SliceOp)) is not None:
            x = part.x
        elif (sum_ := pt.defined_by(x, pt.AddOp)) is not None:  # a norm after the rotary embedding
            x = sum_.lhs
        elif (product := pt.defined_by(x, pt.MulOp)) is not None:
            x = product.rhs if pt.is_weight(product.lhs) else product.lhs
        elif permuted is not None:
            return True if permuted.order == HEADS_FIRST else None
        elif split is None:
            return None
        elif len(pt.shape_of(split.x)) < 4:
            # Of one head, or of one row, the permutation does nothing and is gone: the rows tell which dimension is which.
            rows, (first, second) = pt.shape_of(split.x)[-2], pt.shape_of(x)[1:3]
            return first != rows and second == rows
        elif _without_ones(split.x) == _without_ones(x):  # the part of a fused projection, whose own dimension goes
            x = split.x
        else:
            return None


def _without_ones(x: SSAValue) -> list[int]:
    return [size for size in pt.shape_of(x) if size != 1]


class RaiseHeadNorm(RewritePattern):
    """norm(x) of [batch, heads, rows, d] or [batch, rows, heads, d]  ->  norm in groups of [batch * rows, heads * d]"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.RmsNormOp | pt.LayerNormOp, rewriter: PatternRewriter) -> None:
        shape = pt.shape_of(op.x)
        if len(shape) != 4 or op.group_count != 1:
            return
        heads_first = _heads_come_first(op.x)
        if heads_first is None:
            return
        rows, heads = to_rows(op.x, heads_first=heads_first), shape[1 if heads_first else 2]
        norm = _normalised(op, rows[-1], _rows_of(op), heads)
        replace(rewriter, op, [*rows, norm, *to_heads(norm, heads, shape[0], heads_first=heads_first)])


class AbsorbHeadGain(RewritePattern):
    """norm in groups of [1, rows, heads, d] * gain [heads, d]  ->  norm in groups with the gain"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        for normal, gain in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            split = pt.defined_by(normal, pt.ReshapeOp)
            norm = None if split is None else pt.defined_by(split.x, pt.RmsNormOp) or pt.defined_by(split.x, pt.LayerNormOp)
            if norm is None or norm.gain is not None or norm.group_count == 1 or not pt.is_weight(gain):
                continue
            shape, heads = pt.shape_of(normal), norm.group_count
            given = pt.shape_of(gain)
            if len(shape) != 4 or given[-2:] != (heads, shape[3]) or set(given[:-2]) - {1}:
                continue
            if isinstance(norm, pt.LayerNormOp) and norm.bias is not None:
                continue
            row = pt.ReshapeOp(gain, (heads * shape[3],))
            new = _normalised(norm, norm.x, [row.result, None], heads)
            replace(rewriter, op, [row, new, pt.ReshapeOp(new, shape)])
            return


def _single_heads(op: pt.ConcatOp) -> list[Norm] | None:
    """The norms that a concat joins, if they are of the heads of one tensor in order, each by itself."""
    norms: list[Norm] = []
    source: SSAValue | None = None
    for number, part in enumerate(op.inputs):
        norm = pt.defined_by(part, pt.RmsNormOp) or pt.defined_by(part, pt.LayerNormOp)
        head = None if norm is None else pt.defined_by(norm.x, pt.SliceOp)
        if norm is None or head is None or head.dim.value.data != 1 or (source is not None and head.x is not source):
            return None
        if (head.start.value.data, head.end.value.data) != (number, number + 1) or norm.eps != (norms or [norm])[0].eps:
            return None
        source = head.x
        norms.append(norm)
    whole = source is not None and pt.shape_of(source) == pt.shape_of(op.result)
    same = all([row is None for row in _rows_of(norm)] == [row is None for row in _rows_of(norms[0])] for norm in norms)
    return norms if whole and same else None


class MergeHeadNorms(RewritePattern):
    """concat of norm(x[:, h]), each head with a gain of its own  ->  one norm in groups"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ConcatOp, rewriter: PatternRewriter) -> None:
        shape = pt.shape_of(op.result)
        if len(shape) != 4 or op.dim.value.data not in (1, -3):
            return
        norms = _single_heads(op)
        if norms is None:
            return
        first = pt.defined_by(norms[0].x, pt.SliceOp)
        assert first is not None
        joined: list[pt.ConcatOp] = []
        rows: list[SSAValue | None] = []
        for parts in zip(*(_rows_of(norm) for norm in norms), strict=True):
            given = [part for part in parts if part is not None]
            joined += [pt.ConcatOp(given, 0)] if given else []
            rows.append(joined[-1].result if given else None)
        flat = to_rows(first.x)
        norm = _normalised(norms[0], flat[-1], rows, len(norms))
        replace(rewriter, op, [*joined, *flat, norm, *to_heads(norm, len(norms), shape[0])])


@dataclass(frozen=True)
class RaiseHeadNormsPass(ModulePass):
    """Bring the norms of query and key heads to rank 2, where the rows of all heads are one activation."""

    name = "raise-head-norms"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, MergeHeadNorms())
        rewrite(op, RaiseHeadNorm(), AbsorbHeadGain())
