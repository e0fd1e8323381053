"""The masks of an attention as tables in Vector SRAM, and its sinks."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects.plena_tensor import MaskKind, shape_of
from plena_mlir.passes.hidden_scores import MASKED
from plena_mlir.passes.tile.layouts import Columns
from plena_mlir.passes.tile.lowering.context import LoweringContext, insert_before, refuse
from plena_mlir.passes.tile.lowering.exact import load_table, peel_quantize


@dataclass(frozen=True)
class MaskShape:
    """What a mask must cover: real and physical queries, real keys, and keys padded to whole blocks; an explicit mask is given."""

    rows: int
    physical_rows: int
    keys: int
    padded_keys: int
    mask: SSAValue | None


def _strip(context: LoweringContext, op: tensor.AttentionOp, shape: MaskShape) -> SSAValue:
    """Causal and sliding: [distance from the diagonal, row of a block, VLEN]. Without a window only the diagonal hides keys."""
    edge, emitter = context.target.mlen, context.emitter
    blocks = shape.padded_keys // edge
    block_rows = min(shape.physical_rows, edge) if blocks == 1 else edge
    window = None if op.window is None else op.window.value.data
    columns = Columns(1, edge, edge)
    loaded = [
        load_table(
            context,
            insert_before(op, tensor.BandMaskOp(block_rows, edge, MASKED, offset=distance * edge, window=window)),
            columns,
            block_rows,
        )
        for distance in range(1 if window is None else blocks)
    ]
    if blocks == 1:
        return loaded[0]

    def make() -> SSAValue:
        strip = emitter.rows(blocks, edge)
        zero = emitter.constant(0.0)
        for distance, mask in enumerate(loaded):
            with emitter.loop(edge) as row:
                emitter.copy_row(emitter.at(strip, distance, row, 0), emitter.at(mask, 0, row, 0), zero)
        if blocks > len(loaded):
            with emitter.loop(blocks, start=len(loaded)) as distance, emitter.loop(edge) as row:
                emitter.zero_row(emitter.at(strip, distance, row, 0))
        return strip

    return context.once((f"strip {window}", str(blocks)), make)


def load_mask(context: LoweringContext, op: tensor.AttentionOp, shape: MaskShape) -> tuple[str, SSAValue | None]:
    """The kind and the buffer of a tile-level mask."""
    columns = Columns(1, shape.padded_keys, shape.padded_keys)
    match MaskKind(op.mask_kind.data):
        case MaskKind.CAUSAL | MaskKind.SLIDING:
            if shape.rows != shape.keys and op.block is None:
                raise refuse(
                    op,
                    f"causal attention of {shape.rows} queries to {shape.keys} keys is not lowered yet",
                    "give the model all tokens at once, without keys of earlier calls",
                )
            return "causal", _strip(context, op, shape)
        case MaskKind.NONE:
            if shape.keys == shape.padded_keys:
                return "none", None
            last = insert_before(op, tensor.BandMaskOp(1, shape.padded_keys, MASKED, offset=shape.keys - 1))
            return "none", load_table(context, last, columns, 1)
        case MaskKind.EXPLICIT:
            assert shape.mask is not None
            expr, terms = peel_quantize(shape.mask)
            if not tensor.is_weight(expr) or len(shape_of(expr)) != 2:
                raise refuse(
                    op,
                    "an explicit mask that depends on the input, or differs between heads, is not lowered yet",
                    "rotary, learned and sinusoidal positions are; linear biases (ALiBi) are such a mask",
                )
            beyond = shape.padded_keys - shape.keys
            if beyond:
                hidden = tensor.BandMaskOp(shape_of(expr)[0], beyond, MASKED, offset=-shape_of(expr)[0])
                expr = insert_before(op, hidden, tensor.ConcatOp([expr, hidden], 1))
            stored = insert_before(op, tensor.QuantizeOp(expr, tensor.QuantizeFormat.EXACT, terms))
            return "explicit", load_table(context, stored, columns, shape.physical_rows)


def load_sinks(context: LoweringContext, op: tensor.AttentionOp) -> SSAValue | None:
    """One row per head, which repeats its sink."""
    if op.sinks is None:
        return None
    expr, terms = peel_quantize(op.sinks)
    heads, edge = op.heads.value.data, context.target.vlen
    column = tensor.ReshapeOp(expr, (heads, 1))
    rows = tensor.ExpandOp(column, (heads, edge))
    table = insert_before(op, column, rows, tensor.QuantizeOp(rows, tensor.QuantizeFormat.EXACT, terms))
    return load_table(context, table, Columns(1, edge, edge), heads)


def mask_part(op: tensor.AttentionOp, mask: SSAValue, first: int, count: int) -> SSAValue:
    """The rows and keys of an explicit mask that belong to the sequence of `count` rows from row `first` on."""
    expr, terms = peel_quantize(mask)
    rows = tensor.SliceOp(expr, 0, first, first + count)
    keys = tensor.SliceOp(rows, 1, 0, count)
    return insert_before(op, rows, keys, tensor.QuantizeOp(keys, tensor.QuantizeFormat.EXACT, terms))
