"""Blocks of rows: copies between a whole activation and the part of it that a loop works on.

Whole keys and values are never in Vector SRAM: their blocks go straight to the caches in HBM that attention reads.
"""

from __future__ import annotations

from xdsl.ir import Operation

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.passes.tile.emitter import Index
from plena_mlir.passes.tile.layouts import Activation
from plena_mlir.passes.tile.lowering.attention import new_cache, store_rows
from plena_mlir.passes.tile.lowering.context import LoweringContext, attention_operand


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
    _copy(context, source, context.index(op.block) * op.block_rows.value.data, out, Index())
    context.values[op.result] = out


def lower_put_rows(context: LoweringContext, op: Operation) -> None:
    """The rows of one block, written where they belong in the buffer of the whole."""
    assert isinstance(op, tensor.PutRowsOp)
    first = context.index(op.block) * op.block_rows.value.data
    if op.x in context.caches:
        context.caches[op.result] = context.caches[op.x]
        store_rows(context, context.activation(op.rows), context.caches[op.x], first)
        return
    whole = context.activation(op.x)
    _copy(context, context.activation(op.rows), Index(), whole, first)
    context.values[op.result] = whole


def _copy(context: LoweringContext, source: Activation, first: Index, target: Activation, into: Index) -> None:
    """target[into + r] = source[first + r] for every physical row of the smaller of the two."""
    emitter = context.emitter
    zero = emitter.constant(0.0)
    rows = min(source.shape[1], target.shape[1])
    with emitter.loop(source.shape[0]) as block, emitter.loop(rows) as row:
        place = emitter.at(target.buffer, block, row + into, 0)
        emitter.copy_row(place, emitter.at(source.buffer, block, row + first, 0), zero)
