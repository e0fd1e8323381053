"""Blocks of rows: copies between a whole activation and the part of it that a loop works on.

Whole keys and values are never in Vector SRAM: their blocks go straight to the caches in HBM that attention reads.
"""

from __future__ import annotations

from xdsl.ir import Operation

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.passes.tile.lowering.attention import new_cache, store_rows
from plena_mlir.passes.tile.lowering.context import LoweringContext, attention_operand
from plena_mlir.passes.tile.lowering.rows import put_rows


def lower_empty_rows(context: LoweringContext, op: Operation) -> None:
    """A buffer whose rows are all about to be written, or the cache of keys or values."""
    assert isinstance(op, tensor.EmptyRowsOp)
    operand = attention_operand(op.result)
    if operand is not None:
        rows = context.physical_rows(shape_of(op.result)[0])
        name = f"{'k' if operand == 1 else 'v'}_cache{_number(context, operand) or ''}"
        context.caches[op.result] = new_cache(context, name, context.columns(op.result), rows)
        return
    context.values[op.result] = context.new_activation(op.result)


def _number(context: LoweringContext, operand: int) -> int:
    """How many caches of keys, or of values, are filled block by block so far.

    Each has a place of its own: a loop over blocks of rows fills the cache of one layer while later blocks have yet to read that of
    the layer before.
    """
    return sum(isinstance(value.owner, tensor.EmptyRowsOp) and attention_operand(value) == operand for value in context.caches)


def lower_take_rows(context: LoweringContext, op: Operation) -> None:
    """The rows of one block, copied with the padding rows that follow them."""
    assert isinstance(op, tensor.TakeRowsOp)
    source = context.activation(op.x)
    out = context.allocate(source.columns, shape_of(op.result)[0])
    rows = min(source.shape[1], out.shape[1])
    put_rows(context, source, rows, out, first=context.index(op.block) * op.block_rows.value.data)
    context.values[op.result] = out


def lower_put_rows(context: LoweringContext, op: Operation) -> None:
    """The rows of one block, written where they belong in the buffer of the whole."""
    assert isinstance(op, tensor.PutRowsOp)
    first = context.index(op.block) * op.block_rows.value.data
    if op.x in context.caches:
        context.caches[op.result] = context.caches[op.x]
        store_rows(context, context.activation(op.rows), context.caches[op.x], first)
        return
    part, whole = context.activation(op.rows), context.activation(op.x)
    put_rows(context, part, min(part.shape[1], whole.shape[1]), whole, into=first)
    context.values[op.result] = whole
