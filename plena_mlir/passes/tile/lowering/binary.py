"""add, sub and mul: of two activations, or of an activation and a number, a row, or a table of one row per position; bounds."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.passes.tile.emitter import Index
from plena_mlir.passes.tile.layouts import Activation
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.exact import load_table

_KINDS: dict[type[Operation], tile.RowBinary] = {
    tensor.AddOp: tile.RowBinary.ADD,
    tensor.SubOp: tile.RowBinary.SUB,
    tensor.MulOp: tile.RowBinary.MUL,
}


def lower_binary(context: LoweringContext, op: Operation) -> None:
    """Row by row, in place where an operand dies."""
    assert isinstance(op, tensor.AddOp | tensor.SubOp | tensor.MulOp)
    left, right = op.lhs in context.values, op.rhs in context.values
    if left and right:
        _two_activations(context, op)
    elif left:
        _with_weight(context, op, op.lhs, op.rhs)
    elif right and not isinstance(op, tensor.SubOp):
        _with_weight(context, op, op.rhs, op.lhs)
    else:
        raise refuse(op, "a weight minus an activation is not lowered", "run simplify-arithmetic before")


def _two_activations(context: LoweringContext, op: tensor.BinaryOp) -> None:
    lhs, rhs = context.activation(op.lhs), context.activation(op.rhs)
    out = context.reuse_or_allocate(op.result, op, op.lhs, op.rhs)
    if lhs.columns != rhs.columns or lhs.columns != out.columns or lhs.rows != rhs.rows:
        raise refuse(op, f"operands lie differently: {lhs.columns} x {lhs.rows} rows, {rhs.columns} x {rhs.rows} rows")
    emitter = context.emitter
    blocks, rows, _ = out.shape
    target, left, right = (emitter.flat(value.buffer) for value in (out, lhs, rhs))
    with emitter.loop(blocks * rows) as row:
        places = [emitter.at(buffer, row, 0) for buffer in (target, left, right)]
        emitter.add(tile.RowBinaryOp(_KINDS[type(op)], places[0], places[1], places[2]))
    context.values[op.result] = out


def _with_weight(context: LoweringContext, op: tensor.BinaryOp, value: SSAValue, weight: SSAValue) -> None:
    x = context.activation(value)
    out = context.reuse_or_allocate(op.result, op, value)
    if x.columns != out.columns or x.rows != out.rows:
        raise refuse(op, f"the result lies differently from its operand: {out.columns} against {x.columns}")
    number = tensor.scalar_value(weight)
    if number is not None and isinstance(op, tensor.MulOp):
        _with_number(context, x, out, tile.RowScalar.MUL, number)
    else:
        _with_rows(context, op, x, out, weight)
    context.values[op.result] = out


def lower_bound(context: LoweringContext, op: Operation) -> None:
    """maximum and minimum with a number, which must leave the zeros of the padding alone."""
    assert isinstance(op, tensor.MaximumOp | tensor.MinimumOp)
    value, bound = (op.lhs, op.rhs) if op.lhs in context.values else (op.rhs, op.lhs)
    number = tensor.scalar_value(bound) if value in context.values else None
    if number is None:
        raise refuse(op, "only a bound that is one number is lowered")
    lowest = isinstance(op, tensor.MaximumOp)
    x = context.activation(value)
    if (number > 0 if lowest else number < 0) and x.columns.size != x.columns.padded:
        raise refuse(op, f"a bound of {number} would show in the padding of {x.columns.size} features to {x.columns.padded}")
    out = context.reuse_or_allocate(op.result, op, value)
    _with_number(context, x, out, tile.RowScalar.MAX if lowest else tile.RowScalar.MIN, number)
    context.values[op.result] = out


def _with_number(context: LoweringContext, x: Activation, out: Activation, kind: tile.RowScalar, number: float) -> None:
    emitter = context.emitter
    blocks, rows, _ = out.shape
    scalar = emitter.constant(number)
    source, target = emitter.flat(x.buffer), emitter.flat(out.buffer)
    with emitter.loop(blocks * rows) as row:
        emitter.add(tile.RowScalarOp(kind, emitter.at(target, row, 0), emitter.at(source, row, 0), scalar))


def _with_rows(context: LoweringContext, op: tensor.BinaryOp, x: Activation, out: Activation, weight: SSAValue) -> None:
    """Numbers too: added to every lane of a row they would leave something in the padding."""
    emitter = context.emitter
    blocks, rows, _ = out.shape
    shape = shape_of(weight)
    if not shape:
        weight = _as_row(op, weight, shape_of(op.result)[1])
    positional = len(shape) == 2
    table = load_table(context, weight, out.columns, rows if positional else 1)
    table_row: Callable[[Index], Index] = (lambda row: row) if positional else (lambda _: Index())
    with emitter.loop(blocks) as block, emitter.loop(rows) as row:
        target, source = (emitter.at(buffer, block, row, 0) for buffer in (out.buffer, x.buffer))
        emitter.add(tile.RowBinaryOp(_KINDS[type(op)], target, source, emitter.at(table, block, table_row(row), 0)))


def _as_row(op: tensor.BinaryOp, number: SSAValue, features: int) -> SSAValue:
    """A weight of rank 0 as a row that repeats it."""
    block = op.parent
    assert block is not None
    row = tensor.ExpandOp(number, (features,))
    row.location = op.location
    block.insert_op_before(row, op)
    return row.result
