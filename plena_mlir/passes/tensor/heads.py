"""Between the two forms of per-head activations: [batch, heads, rows, d] as PyTorch computes, and [batch * rows, heads * d]."""

from __future__ import annotations

from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt

HEADS_FIRST = (0, 2, 1, 3)
"""Swaps rows and heads, in either direction."""


def to_rows(x: SSAValue, *, heads_first: bool = True) -> list[pt.TensorOp]:
    """Ops that turn [batch, heads, rows, d], or [batch, rows, heads, d], into [batch * rows, heads * d]; the last is that."""
    if not heads_first:
        batch, rows, heads, d = pt.shape_of(x)
        return [pt.ReshapeOp(x, (batch * rows, heads * d))]
    batch, heads, rows, d = pt.shape_of(x)
    swapped = pt.PermuteOp(x, HEADS_FIRST)
    return [swapped, pt.ReshapeOp(swapped, (batch * rows, heads * d))]


def to_heads(x: pt.TensorOp, heads: int, batch: int, *, heads_first: bool = True) -> list[pt.TensorOp]:
    """Ops that turn [batch * rows, heads * d] into [batch, heads, rows, d], or [batch, rows, heads, d]; the last is that."""
    rows, features = pt.shape_of(x)
    split = pt.ReshapeOp(x, (batch, rows // batch, heads, features // heads))
    return [split, pt.PermuteOp(split, HEADS_FIRST)] if heads_first else [split]
