"""Operations that treat every row by itself: norms, residual additions, activations, slices of rows."""

from __future__ import annotations

from xdsl.ir import Operation

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.passes.tile.emitter import IndexLike
from plena_mlir.passes.tile.layouts import Activation
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.exact import load_table
from plena_mlir.passes.tile.lowering.linear import add_row_to_all


def lower_binary(context: LoweringContext, op: Operation) -> None:
    """add and mul of two activations of one shape, in place where an operand dies."""
    assert isinstance(op, tensor.AddOp | tensor.MulOp)
    if op.lhs not in context.values or op.rhs not in context.values:
        raise refuse(op, "one operand is a weight", "only activation times activation is lowered row by row")
    lhs, rhs = context.activation(op.lhs), context.activation(op.rhs)
    out = context.reuse_or_allocate(op.result, op, op.lhs, op.rhs)
    if lhs.columns != rhs.columns or lhs.columns != out.columns or lhs.rows != rhs.rows:
        raise refuse(op, f"operands lie differently: {lhs.columns} x {lhs.rows} rows, {rhs.columns} x {rhs.rows} rows")
    kind = tile.RowBinary.ADD if isinstance(op, tensor.AddOp) else tile.RowBinary.MUL
    emitter = context.emitter
    blocks, rows, _ = out.shape
    target, left, right = (emitter.flat(value.buffer) for value in (out, lhs, rhs))
    with emitter.loop(blocks * rows) as row:
        emitter.add(tile.RowBinaryOp(kind, emitter.at(target, row, 0), emitter.at(left, row, 0), emitter.at(right, row, 0)))
    context.values[op.result] = out


def lower_silu(context: LoweringContext, op: Operation) -> None:
    """x * 1 / (1 + exp(-x)), rounded to bf16 at every step."""
    assert isinstance(op, tensor.SiluOp)
    x = context.activation(op.x)
    out = context.reuse_or_allocate(op.result, op, op.x)
    emitter = context.emitter
    blocks, rows, _ = out.shape
    zero, one = emitter.constant(0.0), emitter.constant(1.0)
    scratch = emitter.rows(1, 1)
    source, target = emitter.flat(x.buffer), emitter.flat(out.buffer)
    with emitter.loop(blocks * rows) as row:
        gate, place = emitter.at(scratch, 0, 0, 0), emitter.at(source, row, 0)
        emitter.add(tile.RowScalarOp(tile.RowScalar.RSUB, gate, place, zero))
        emitter.add(tile.RowUnaryOp(tile.RowUnary.EXP, gate, gate))
        emitter.add(tile.RowScalarOp(tile.RowScalar.ADD, gate, gate, one))
        emitter.add(tile.RowUnaryOp(tile.RowUnary.RECIPROCAL, gate, gate))
        emitter.add(tile.RowBinaryOp(tile.RowBinary.MUL, emitter.at(target, row, 0), place, gate))
    context.values[op.result] = out


def lower_rms_norm(context: LoweringContext, op: Operation) -> None:
    """Squares are added over the column blocks first, so that a row costs one reduction."""
    assert isinstance(op, tensor.RmsNormOp)
    x = context.activation(op.x)
    out = context.new_activation(op.result)
    emitter = context.emitter
    blocks, rows, _ = x.shape
    zero, inverse = emitter.constant(0.0), emitter.constant(1.0 / x.columns.features)
    eps = emitter.constant(op.eps.value.data)
    scratch = emitter.rows(1, 2)

    def square(index: int, block: IndexLike, row: IndexLike) -> None:
        place = emitter.at(x.buffer, block, row, 0)
        emitter.add(tile.RowBinaryOp(tile.RowBinary.MUL, emitter.at(scratch, 0, index, 0), place, place))

    with emitter.loop(rows) as row:
        square(0, 0, row)
        if blocks > 1:
            with emitter.loop(blocks, start=1) as block:
                square(1, block, row)
                total = emitter.at(scratch, 0, 0, 0)
                emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, total, total, emitter.at(scratch, 0, 1, 0)))
        mean = emitter.reduce(tile.RowReduce.SUM, zero, emitter.at(scratch, 0, 0, 0))
        mean = emitter.scalar(tile.ScalarBinary.MUL, mean, inverse)
        mean = emitter.scalar(tile.ScalarBinary.ADD, mean, eps)
        root = emitter.scalar_function(tile.ScalarUnary.SQRT, mean)
        scale = emitter.scalar_function(tile.ScalarUnary.RECIPROCAL, root)
        with emitter.loop(blocks) as block:
            source, target = emitter.at(x.buffer, block, row, 0), emitter.at(out.buffer, block, row, 0)
            emitter.add(tile.RowScalarOp(tile.RowScalar.MUL, target, source, scale))
    if op.gain is not None:
        add_row_to_all(context, tile.RowBinary.MUL, out, load_table(context, op.gain, out.columns, 1))
    context.values[op.result] = out


def lower_slice(context: LoweringContext, op: Operation) -> None:
    """Some rows of an activation, copied to a buffer of their own."""
    assert isinstance(op, tensor.SliceOp)
    if op.dim.value.data != 0 or op.step.value.data != 1:
        raise refuse(op, "only consecutive rows of an activation can be taken")
    x = context.activation(op.x)
    out = context.new_activation(op.result)
    copy_rows(context, x, op.start.value.data, out)
    context.values[op.result] = out


def copy_rows(context: LoweringContext, source: Activation, first: int, out: Activation) -> None:
    """out[:, r] = source[:, first + r] for out's rows; the padding rows of out become zero."""
    emitter = context.emitter
    zero = emitter.constant(0.0)
    with emitter.loop(out.shape[0]) as block:
        with emitter.loop(out.rows) as row:
            emitter.copy_row(emitter.at(out.buffer, block, row, 0), emitter.at(source.buffer, block, row + first, 0), zero)
        clear_padding(context, out, block)


def clear_padding(context: LoweringContext, out: Activation, block: IndexLike) -> None:
    """Zeros in the rows of one column block that hold no token: every later operation keeps them finite."""
    emitter = context.emitter
    rows = out.shape[1]
    if rows > out.rows:
        with emitter.loop(rows - out.rows) as row:
            emitter.zero_row(emitter.at(out.buffer, block, row + out.rows, 0))
