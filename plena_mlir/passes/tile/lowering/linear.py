"""linear: a matrix product with tiles from HBM, and a bias row added to every row."""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.passes.tile.layouts import Activation, Columns
from plena_mlir.passes.tile.loops import trip_count
from plena_mlir.passes.tile.lowering.context import LoweringContext
from plena_mlir.passes.tile.lowering.exact import layer_index, load_table, peel_quantize

BROADCAST_SHIFT = 2
"""The broadcast forms multiply by 1/4; tiles whose scales are four times as large undo it exactly."""


def weight_tiles(
    context: LoweringContext, value: SSAValue, outputs: Columns, inputs: Columns, strategy: tile.Strategy, stack: int = 1
) -> SSAValue:
    """The tiles [n blocks, k blocks, MLEN, MLEN] of a weight [N, K], padded like the activations on both sides.

    With a `stack` of several weights, [stack * N, K], those of one follow those of another.
    """
    emitter, edge, pitch = context.emitter, context.target.mlen, context.target.hbm_row_pitch
    expr, terms = peel_quantize(value)
    assert terms == 1, "matrix operands are single MX tensors"
    layer = layer_index(expr)
    layout = tile.LayoutAttr.of(
        tile.Packing.TILES,
        rows=outputs.group,
        cols=inputs.group,
        scale_shift=BROADCAST_SHIFT if strategy is tile.Strategy.BROADCAST else 0,
        stacked=layer is not None,
        lanes=edge,
    )
    tiles = [stack * outputs.blocks(edge), inputs.blocks(edge), edge, pitch]
    shape = tiles if layer is None else [trip_count(layer), *tiles]
    source = emitter.add(context.weights.weight(expr, shape, layout, tile.Precision.WEIGHT)).buffer
    return source if layer is None else emitter.slice(source, [context.layers[layer], 0, 0, 0, 0], tiles)


def add_row_to_all(context: LoweringContext, kind: tile.RowBinary, target: Activation, row: SSAValue) -> None:
    """target[c][r] = target[c][r] kind row[c], for every row r; `row` is a buffer [column blocks, 1, VLEN]."""
    emitter = context.emitter
    blocks, rows, _ = target.shape
    with emitter.loop(blocks) as block, emitter.loop(rows) as index:
        place = emitter.at(target.buffer, block, index, 0)
        emitter.add(tile.RowBinaryOp(kind, place, place, emitter.at(row, block, 0, 0)))


def lower_linear(context: LoweringContext, op: Operation) -> None:
    """One structured matmul; the bias is an exact constant."""
    assert isinstance(op, tensor.LinearOp)
    x = context.activation(op.x)
    out = context.new_activation(op.result)
    strategy = context.strategy(x.rows, x.shape[1], transposed=True)
    tiles = weight_tiles(context, op.weight, out.columns, x.columns, strategy)
    context.emitter.add(tile.MatmulOp(x.buffer, tiles, out.buffer, transposed=True, strategy=strategy))
    if op.bias is not None:
        add_row_to_all(context, tile.RowBinary.ADD, out, load_table(context, op.bias, out.columns, 1))
    context.values[op.result] = out
