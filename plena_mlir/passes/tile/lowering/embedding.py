"""Where the residual stream comes from: rows of the embedding table by token id, or hidden states staged in HBM."""

from __future__ import annotations

from xdsl.dialects.builtin import IntegerAttr, i64
from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.interface import VOCABULARY_ATTRIBUTE
from plena_mlir.passes.tile.emitter import Index
from plena_mlir.passes.tile.layouts import Activation, Columns, round_up
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.exact import peel_quantize
from plena_mlir.passes.tile.lowering.rows import clear_padding


def lower_embedding(context: LoweringContext, op: Operation) -> None:
    """One row-major table row per token: the id, read on the device, addresses it.

    A fetch moves a fixed number of rows, so that it may run past the token's features into the next table row: into scratch.
    """
    assert isinstance(op, tensor.EmbeddingOp)
    emitter, target = context.emitter, context.target
    lanes, amount = target.vlen, target.prefetch_v_rows
    out = context.new_activation(op.result)
    blocks, _, _ = out.shape
    tokens = out.rows
    if tokens > target.int_sram_words:
        raise refuse(op, f"{tokens} token ids exceed the {target.int_sram_words} words of INT SRAM", "use a shorter sequence")
    table, _ = peel_quantize(op.table)
    words = shape_of(table)[0]
    spare = -(-(round_up(blocks, amount) - blocks) // blocks)
    layout = tile.LayoutAttr.of(tile.Packing.ROWS, rows=(words, words + spare), cols=out.columns.group, lanes=lanes)
    shape = [words + spare, blocks, target.hbm_row_pitch]
    source = emitter.add(context.weights.weight(table, shape, layout, tile.Precision.ACT)).buffer
    ids = emitter.alloc(tile.Space.INTRAM, [tokens], tile.IDS, context.weights.arrangement(op.ids))
    assert isinstance(ids.owner, Operation)
    ids.owner.attributes[VOCABULARY_ATTRIBUTE] = IntegerAttr(words, i64)
    scratch = emitter.rows(1, round_up(blocks, amount))
    zero = emitter.constant(0.0)
    with emitter.loop(tokens) as token:
        word = Index.of(emitter.add(tile.LoadIndexOp(emitter.at(ids, token))).result)
        with emitter.loop(blocks, step=amount) as block:
            emitter.add(tile.LoadRowsOp(emitter.at(source, word, block, 0), emitter.at(scratch, 0, block, 0)))
        with emitter.loop(blocks) as block:
            emitter.copy_row(emitter.at(out.buffer, block, token, 0), emitter.at(scratch, 0, block, 0), zero)
    with emitter.loop(blocks) as block:
        clear_padding(context, out, block)
    context.values[op.result] = out


def lower_staged_input(context: LoweringContext, value: SSAValue) -> Activation:
    """An input [rows, features] that the host staged in HBM, in the layout of Vector SRAM, zero in the padding."""
    emitter, target = context.emitter, context.target
    rows, features = shape_of(value)
    columns = Columns.of(features, 1, target.vlen)
    out = context.allocate(columns, rows)
    blocks, physical, lanes = out.shape
    pitch = target.hbm_row_pitch
    layout = tile.LayoutAttr.of(tile.Packing.COLUMN_BLOCKS, rows=(rows, physical), cols=columns.group, lanes=lanes)
    init = context.weights.arrangement(value)
    shape = [blocks, physical, pitch]
    source = emitter.add(context.weights.storage(tile.INPUT, shape, tile.Precision.ACT, tile.INPUT, layout, init)).buffer
    flat_source = emitter.view(source, [0, 0, 0], [blocks * physical, lanes], [pitch, 1])
    flat = emitter.flat(out.buffer)
    with emitter.loop(blocks * physical, step=target.prefetch_v_rows) as row:
        emitter.add(tile.LoadRowsOp(emitter.at(flat_source, row, 0), emitter.at(flat, row, 0)))
    return out
