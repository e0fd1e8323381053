"""Between the two forms of per-head activations: [1, heads, rows, d] as PyTorch computes, and rank 2 [rows, heads * d]."""

from __future__ import annotations

from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt

HEADS_FIRST = (0, 2, 1, 3)
"""Swaps rows and heads, in either direction."""


def to_rows(x: SSAValue, *, heads_first: bool = True) -> list[pt.TensorOp]:
    """Ops that turn [1, heads, rows, d], or [1, rows, heads, d], into [rows, heads * d]; the last one holds the result."""
    if not heads_first:
        _, rows, heads, d = pt.shape_of(x)
        return [pt.ReshapeOp(x, (rows, heads * d))]
    _, heads, rows, d = pt.shape_of(x)
    swapped = pt.PermuteOp(x, HEADS_FIRST)
    return [swapped, pt.ReshapeOp(swapped, (rows, heads * d))]


def to_heads(x: pt.TensorOp, heads: int, *, heads_first: bool = True) -> list[pt.TensorOp]:
    """Ops that turn [rows, heads * d] into [1, heads, rows, d], or [1, rows, heads, d]; the last one holds the result."""
    rows, features = pt.shape_of(x)
    split = pt.ReshapeOp(x, (1, rows, heads, features // heads))
    return [split, pt.PermuteOp(split, HEADS_FIRST)] if heads_first else [split]
