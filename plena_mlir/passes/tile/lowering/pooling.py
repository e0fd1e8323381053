"""sum_rows: the rows of each sequence added up in pairs, so that a sum of n rows is rounded log2(n) times and not n times."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.passes.tile.emitter import Index, IndexLike
from plena_mlir.passes.tile.lowering.context import LoweringContext
from plena_mlir.passes.tile.lowering.rows import clear_padding

RowPlace = Callable[[IndexLike], SSAValue]
"""The place of a row by its number."""


def lower_sum_rows(context: LoweringContext, op: Operation) -> None:
    """Column block by column block, sequence by sequence; what is added up lies in scratch rows."""
    assert isinstance(op, tensor.SumRowsOp)
    emitter, x = context.emitter, context.activation(op.x)
    out = context.new_activation(op.result)
    rows = op.rows
    scratch, zero = emitter.rows(1, -(-rows // 2)), emitter.constant(0.0)
    with emitter.loop(out.shape[0]) as block:
        with emitter.loop(out.rows) as sequence:
            first: Index = sequence * rows
            _add_up(
                context,
                zero,
                rows,
                lambda row: emitter.at(x.buffer, block, first + row, 0),
                lambda row: emitter.at(scratch, 0, row, 0),
            )
            emitter.copy_row(emitter.at(out.buffer, block, sequence, 0), emitter.at(scratch, 0, 0, 0), zero)
        clear_padding(context, out, block)
    context.values[op.result] = out


def _add_up(context: LoweringContext, zero: SSAValue, rows: int, source: RowPlace, scratch: RowPlace) -> None:
    """scratch row 0 = sum of `rows` source rows: each step adds the second half of the rows to the first."""
    emitter = context.emitter
    while True:
        half = -(-rows // 2)
        if rows > 1:
            with emitter.loop(rows - half) as row:
                emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, scratch(row), source(row), source(row + half)))
        if source is not scratch and rows % 2:
            emitter.copy_row(scratch(half - 1), source(half - 1), zero)
        if half == 1:
            return
        rows, source = half, scratch
