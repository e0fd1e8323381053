"""Slices and copies of rows."""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.passes.tile.emitter import IndexLike
from plena_mlir.passes.tile.layouts import Activation, Columns
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.exact import load_table


def lower_slice(context: LoweringContext, op: Operation) -> None:
    """Some rows of an activation, copied to a buffer of their own."""
    assert isinstance(op, tensor.SliceOp)
    if op.dim.value.data != 0:
        raise refuse(op, "only rows of an activation can be taken")
    x = context.activation(op.x)
    out = context.new_activation(op.result)
    copy_rows(context, x, op.start.value.data, out, op.step.value.data)
    context.values[op.result] = out


def copy_rows(context: LoweringContext, source: Activation, first: IndexLike, out: Activation, step: int = 1) -> None:
    """out[:, r] = source[:, first + step r] for out's rows; the padding rows of out become zero."""
    emitter = context.emitter
    zero = emitter.constant(0.0)
    with emitter.loop(out.shape[0]) as block:
        with emitter.loop(out.rows) as row:
            emitter.copy_row(emitter.at(out.buffer, block, row, 0), emitter.at(source.buffer, block, row * step + first, 0), zero)
        clear_padding(context, out, block)


def weight_rows(context: LoweringContext, value: SSAValue, groups: int) -> Activation:
    """A weight [rows, features] as an activation, its features in groups."""
    rows, features = shape_of(value)
    columns = Columns.of(features, groups, context.target.vlen)
    table, out = Activation(load_table(context, value, columns, rows), columns, rows), context.allocate(columns, rows)
    copy_rows(context, table, 0, out)
    return out


def put_rows(
    context: LoweringContext,
    source: Activation,
    rows: int,
    out: Activation,
    *,
    first: IndexLike = 0,
    into: IndexLike = 0,
    block: int = 0,
) -> None:
    """out[block + b, into + r] = source[b, first + r] for all blocks of the source and `rows` rows; the others stay."""
    emitter = context.emitter
    zero = emitter.constant(0.0)
    with emitter.loop(source.shape[0]) as index, emitter.loop(rows) as row:
        place = emitter.at(out.buffer, index + block, row + into, 0)
        emitter.copy_row(place, emitter.at(source.buffer, index, row + first, 0), zero)


def clear_rows(context: LoweringContext, out: Activation, first: int, end: int) -> None:
    """Zeros in the rows from `first` on, up to `end`."""
    if end > first:
        with context.emitter.loop(out.shape[0]) as block, context.emitter.loop(end - first) as row:
            context.emitter.zero_row(context.emitter.at(out.buffer, block, row + first, 0))


def clear_padding(context: LoweringContext, out: Activation, block: IndexLike) -> None:
    """Zeros in the rows of one column block that hold no token: every later operation keeps them finite."""
    emitter = context.emitter
    rows = out.shape[1]
    if rows > out.rows:
        with emitter.loop(rows - out.rows) as row:
            emitter.zero_row(emitter.at(out.buffer, block, row + out.rows, 0))
