"""Constants that a single MX tensor is too coarse for: fetched as the sum of several terms into Vector SRAM."""

from __future__ import annotations

from xdsl.dialects.builtin import IndexType
from xdsl.ir import BlockArgument, Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.errors import LoweringError
from plena_mlir.passes.tile.layouts import Columns, round_up
from plena_mlir.passes.tile.loops import trip_count
from plena_mlir.passes.tile.lowering.context import LoweringContext
from plena_mlir.passes.tile.weights import expression, parameter_name


def peel_quantize(value: SSAValue) -> tuple[SSAValue, int]:
    """The weight expression below a quantize op, and how many MX terms hold it."""
    owner = value.owner
    if isinstance(owner, tensor.QuantizeOp):
        return owner.x, owner.terms.value.data
    return value, 1


def layer_index(value: SSAValue) -> SSAValue | None:
    """The loop variable a weight expression depends on, of rolled layers or of blocks of rows.

    Raises:
        LoweringError: it depends on both, and a global is a stack of one dimension.
    """
    operands = [operand for op in expression(value) for operand in op.operands]
    arguments = [operand for operand in operands if isinstance(operand, BlockArgument)]
    loops = dict.fromkeys(argument for argument in arguments if isinstance(argument.type, IndexType))
    if len(loops) > 1:
        raise LoweringError(
            f"{parameter_name(value)} differs by layer and by row, and blocks of rows are needed to fit Vector SRAM",
            where=module_path(value.owner) if isinstance(value.owner, Operation) else None,
            hint="use a shorter sequence, or a target with a larger VECTOR_SRAM_SIZE",
        )
    return next(iter(loops), None)


def load_table(context: LoweringContext, value: SSAValue, columns: Columns, rows: int) -> SSAValue:
    """A constant [rows, features] as a buffer [column blocks, rows, VLEN], added up from its MX terms.

    Constants that no layer index reaches are fetched once, at the function's entry.
    """
    expr, terms = peel_quantize(value)
    assert tensor.is_weight(expr)
    layer = layer_index(expr)
    if layer is None:
        key = (context.weights.function(expr), f"{columns}{rows}{terms}")
        return context.once(key, lambda: _load(context, expr, terms, columns, rows, None))
    return _load(context, expr, terms, columns, rows, layer)


def _load(context: LoweringContext, expr: SSAValue, terms: int, columns: Columns, rows: int, layer: SSAValue | None) -> SSAValue:
    emitter, target = context.emitter, context.target
    lanes, pitch, amount = target.vlen, target.hbm_row_pitch, target.prefetch_v_rows
    blocks = columns.blocks(lanes)
    # A fetch moves `amount` rows whatever block they are in, so the padding makes their number a multiple of it.
    if rows == 1:
        stored = 1 + -(-(round_up(blocks, amount) - blocks) // blocks)
        packing, shape = tile.Packing.ROWS, [stored, blocks, pitch]
        total, strides = round_up(blocks, amount), [lanes, lanes, 1]
    else:
        stored = round_up(rows, amount)
        packing, shape = tile.Packing.COLUMN_BLOCKS, [blocks, stored, pitch]
        total, strides = blocks * stored, [stored * lanes, lanes, 1]
    given = shape_of(expr)[0] if len(shape_of(expr)) == 2 else 1
    layout = tile.LayoutAttr.of(
        packing, rows=(given, stored), cols=columns.group, terms=terms, stacked=layer is not None, lanes=lanes
    )
    leading = ([] if layer is None else [trip_count(layer)]) + ([terms] if terms > 1 else [])
    source = emitter.add(context.weights.weight(expr, [*leading, *shape], layout, tile.Precision.ACT)).buffer
    buffer = emitter.rows(1, total)
    part = emitter.rows(1, amount) if terms > 1 else None
    for term in range(terms):
        place = ([] if layer is None else [context.layers[layer]]) + ([term] if terms > 1 else [])
        table = emitter.view(source, [*place, 0, 0, 0], [total, lanes], [pitch, 1])
        with emitter.loop(total, step=amount) as start:
            destination = emitter.at(buffer, 0, start, 0) if term == 0 or part is None else emitter.at(part, 0, 0, 0)
            emitter.add(tile.LoadRowsOp(emitter.at(table, start, 0), destination))
            if term > 0 and part is not None:
                with emitter.loop(amount) as row:
                    target_row = emitter.at(buffer, 0, start + row, 0)
                    emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, target_row, target_row, emitter.at(part, 0, row, 0)))
    return emitter.view(buffer, [0, 0, 0], [blocks, rows, lanes], strides)
