"""Constants that a single MX tensor is too coarse for: fetched as the sum of several terms into Vector SRAM."""

from __future__ import annotations

from xdsl.dialects.builtin import IndexType
from xdsl.ir import BlockArgument, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.passes.tile.layouts import Columns, round_up
from plena_mlir.passes.tile.loops import trip_count
from plena_mlir.passes.tile.lowering.context import LoweringContext
from plena_mlir.passes.tile.weights import expression, is_weight


def peel_quantize(value: SSAValue) -> tuple[SSAValue, int]:
    """The weight expression below a quantize op, and how many MX terms hold it."""
    owner = value.owner
    if isinstance(owner, tensor.QuantizeOp):
        return owner.x, owner.terms.value.data
    return value, 1


def layer_index(value: SSAValue) -> SSAValue | None:
    """The loop variable a weight expression depends on, if it belongs to a rolled layer."""
    for op in expression(value):
        for operand in op.operands:
            if isinstance(operand, BlockArgument) and isinstance(operand.type, IndexType):
                return operand
    return None


def load_table(context: LoweringContext, value: SSAValue, columns: Columns, rows: int) -> SSAValue:
    """A constant [rows, features] as a buffer [column blocks, rows, VLEN], added up from its MX terms.

    Constants that no layer index reaches are fetched once, at the function's entry.
    """
    expr, terms = peel_quantize(value)
    assert is_weight(expr)
    layer = layer_index(expr)
    if layer is None:
        key = (context.weights.function(expr), f"{columns}{rows}{terms}")
        return context.once(key, lambda: _load(context, expr, terms, columns, rows, None))
    return _load(context, expr, terms, columns, rows, layer)


def _load(context: LoweringContext, expr: SSAValue, terms: int, columns: Columns, rows: int, layer: SSAValue | None) -> SSAValue:
    emitter, target = context.emitter, context.target
    lanes, amount = target.vlen, target.prefetch_v_rows
    blocks = columns.blocks(lanes)
    # Rows and blocks lie one after the other, so that the DMA fetches `amount` of them whatever block they are in.
    total = round_up(blocks * rows, amount)
    layout = tile.LayoutAttr.of(
        tile.Packing.COLUMN_BLOCKS,
        rows=(shape_of(expr)[0] if len(shape_of(expr)) == 2 else 1, rows),
        cols=columns.group,
        terms=terms,
        stacked=layer is not None,
    )
    stacked = [] if layer is None else [trip_count(layer)]
    shape = [*stacked, *([terms] if terms > 1 else []), total, lanes]
    source = emitter.add(context.weights.weight(expr, shape, layout, tile.Precision.ACT)).buffer
    buffer = emitter.rows(1, total)
    part = emitter.rows(1, amount) if terms > 1 else None
    prefix = [] if layer is None else [context.layers[layer]]
    with emitter.loop(total, step=amount) as start:
        for term in range(terms):
            place = [*prefix, *([term] if terms > 1 else []), start, 0]
            destination = emitter.at(buffer, 0, start, 0) if term == 0 or part is None else emitter.at(part, 0, 0, 0)
            emitter.add(tile.LoadRowsOp(emitter.at(source, *place), destination))
            if term > 0 and part is not None:
                with emitter.loop(amount) as row:
                    target_row = emitter.at(buffer, 0, start + row, 0)
                    emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, target_row, target_row, emitter.at(part, 0, row, 0)))
    return emitter.view(buffer, [0, 0, 0], [blocks, rows, lanes], [rows * lanes, lanes, 1])
