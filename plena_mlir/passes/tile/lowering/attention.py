"""rope and attention: heads on whole column blocks, keys and values through HBM."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor import MaskKind, shape_of
from plena_mlir.passes.tile.layouts import Activation, Columns, round_up
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.exact import load_table, peel_quantize
from plena_mlir.passes.tile.lowering.linear import weight_tiles

MASKED = -(2.0**100)
"""Added to the score of a key that must not be seen: finite, so that a masked lane times zero stays zero."""


def _rotation(context: LoweringContext, op: Operation, size: int) -> SSAValue:
    """The weight [d, d] whose product with a row is rotate_half: [a, b] -> [-b, a] on halves of `size`."""
    block = op.parent
    assert block is not None
    identity = tensor.IdentityOp(size)
    upper = tensor.SliceOp(identity, 0, size // 2, size)
    lower = tensor.SliceOp(identity, 0, 0, size // 2)
    negated = tensor.NegOp(upper)
    rotation = tensor.ConcatOp([negated, lower], 0)
    block.insert_ops_before([identity, upper, lower, negated, rotation], op)
    return rotation.result


def lower_rope(context: LoweringContext, op: Operation) -> None:
    """x * cos + rotate_half(x) * sin: the rotation is a product with a matrix of -1, 0 and 1, and so exact."""
    assert isinstance(op, tensor.RopeOp)
    x = context.activation(op.x)
    size = x.columns.size
    if x.columns.groups != op.heads.value.data:
        raise refuse(op, f"the operand lies in {x.columns.groups} groups of features, not in {op.heads.value.data} heads")
    if shape_of(op.cos)[1] != size:
        raise refuse(op, f"rope turns {shape_of(op.cos)[1]} of {size} features of a head", "partial rotary is not lowered yet")
    out = context.reuse_or_allocate(op.result, op, op.x)
    emitter = context.emitter
    heads = x.columns.groups
    blocks, rows, lanes = x.shape
    per_head = blocks // heads
    head_columns = Columns(1, size, x.columns.padded)
    strategy = context.strategy(rows, transposed=True)
    cos, sin = (load_table(context, table, head_columns, rows) for table in (op.cos, op.sin))
    tiles = weight_tiles(context, _rotation(context, op, size), head_columns, head_columns, strategy)
    # With one block a head, all heads are rows of one product; otherwise each head is a product of its own.
    products = 1 if per_head == 1 else heads
    product_rows = rows * heads // products
    turned = emitter.rows(per_head, product_rows)
    with emitter.loop(products) as product:
        source = emitter.view(
            x.buffer, [product * per_head, 0, 0], [per_head, product_rows, lanes], [product_rows * lanes, lanes, 1]
        )
        emitter.add(tile.MatmulOp(source, tiles, turned, transposed=True, strategy=strategy))
        target = emitter.view(
            out.buffer, [product * per_head, 0, 0], [per_head, product_rows, lanes], [product_rows * lanes, lanes, 1]
        )
        with emitter.loop(per_head) as block, emitter.loop(heads // products) as head, emitter.loop(rows) as row:
            place = [block, head * rows + row, 0]
            rotated, result = emitter.at(turned, *place), emitter.at(target, *place)
            emitter.add(tile.RowBinaryOp(tile.RowBinary.MUL, rotated, rotated, emitter.at(sin, block, row, 0)))
            emitter.add(tile.RowBinaryOp(tile.RowBinary.MUL, result, emitter.at(source, *place), emitter.at(cos, block, row, 0)))
            emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, result, result, rotated))
    context.values[op.result] = out


def _store_cache(context: LoweringContext, name: str, value: Activation, keys: int) -> SSAValue:
    """Write [heads * blocks, rows] to HBM as [heads, blocks, keys, VLEN]; keys beyond the rows stay zero."""
    emitter, target = context.emitter, context.target
    heads, lanes, pitch = value.columns.groups, target.vlen, target.hbm_row_pitch
    blocks, rows, _ = value.shape
    per_head = blocks // heads
    cache = emitter.add(context.weights.storage(name, [heads, per_head, keys, pitch], tile.Precision.KV, "cache")).buffer
    with emitter.loop(blocks) as block, emitter.loop(rows, step=target.writeback_v_rows) as row:
        flat = emitter.view(cache, [0, 0, 0, 0], [blocks, keys, lanes], [keys * pitch, pitch, 1])
        emitter.add(tile.StoreRowsOp(emitter.at(value.buffer, block, row, 0), emitter.at(flat, block, row, 0)))
    return cache


@dataclass(frozen=True)
class _MaskShape:
    """What a mask must cover: real and physical queries, real keys, and keys padded to whole blocks."""

    rows: int
    physical_rows: int
    keys: int
    padded_keys: int


def _insert(op: Operation, *new_ops: tensor.TensorOp) -> SSAValue:
    """Put weight ops before `op`; the result of the last."""
    block = op.parent
    assert block is not None
    block.insert_ops_before(list(new_ops), op)
    return new_ops[-1].result


def _strip(context: LoweringContext, op: tensor.AttentionOp, shape: _MaskShape) -> SSAValue:
    """Causal and sliding: [distance from the diagonal, row of a block, VLEN]. Without a window only the diagonal hides keys."""
    edge, emitter = context.target.mlen, context.emitter
    blocks = shape.padded_keys // edge
    block_rows = min(shape.physical_rows, edge) if blocks == 1 else edge
    window = None if op.window is None else op.window.value.data
    columns = Columns(1, edge, edge)
    loaded = [
        load_table(
            context,
            _insert(op, tensor.BandMaskOp(block_rows, edge, MASKED, offset=distance * edge, window=window)),
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


def _mask(context: LoweringContext, op: tensor.AttentionOp, shape: _MaskShape) -> tuple[str, SSAValue | None]:
    """The kind and the buffer of a tile-level mask."""
    columns = Columns(1, shape.padded_keys, shape.padded_keys)
    match MaskKind(op.mask_kind.data):
        case MaskKind.CAUSAL | MaskKind.SLIDING:
            if shape.rows != shape.keys and op.block is None:
                raise refuse(op, f"causal attention of {shape.rows} queries to {shape.keys} keys is not lowered yet")
            return "causal", _strip(context, op, shape)
        case MaskKind.NONE:
            if shape.keys == shape.padded_keys:
                return "none", None
            last = _insert(op, tensor.BandMaskOp(1, shape.padded_keys, MASKED, offset=shape.keys - 1))
            return "none", load_table(context, last, columns, 1)
        case MaskKind.EXPLICIT:
            assert op.mask is not None
            expr, _ = peel_quantize(op.mask)
            if not tensor.is_weight(expr) or len(shape_of(expr)) != 2:
                raise refuse(op, "an explicit mask that depends on the input, or differs between heads, is not lowered yet")
            beyond = shape.padded_keys - shape.keys
            if beyond:
                hidden = tensor.BandMaskOp(shape_of(expr)[0], beyond, MASKED, offset=-shape_of(expr)[0])
                expr = _insert(op, hidden, tensor.ConcatOp([expr, hidden], 1))
            return "explicit", load_table(context, expr, columns, shape.physical_rows)


def lower_attention(context: LoweringContext, op: Operation) -> None:
    """Keys and values go to HBM and come back as tiles; a structured attention does the rest."""
    assert isinstance(op, tensor.AttentionOp)
    if op.scale.value.data != 1.0:
        raise refuse(op, f"attention scale {op.scale.value.data} is left over", "run fold-attention-scale before")
    q, k, v = (context.activation(operand) for operand in (op.q, op.k, op.v))
    if q.columns.groups != op.heads.value.data or {k.columns.groups, v.columns.groups} != {op.kv_heads.value.data}:
        raise refuse(op, "queries, keys or values do not lie head by head")
    if k.columns.padded != v.columns.padded or k.rows != v.rows:
        raise refuse(op, "keys and values of different sizes are not lowered yet")
    edge = context.target.mlen
    rows = q.shape[1]
    keys = round_up(k.shape[1], edge)
    out = context.new_activation(op.result)
    k_cache = _store_cache(context, "k_cache", k, keys)
    v_cache = _store_cache(context, "v_cache", v, keys)
    kind, mask = _mask(context, op, _MaskShape(q.rows, rows, k.rows, keys))
    number = None
    if op.block is not None:
        index = context.index(op.block) + 1
        number = index.terms[0][0] if index.terms else context.emitter.index_constant(index.constant)
    attention = tile.AttentionOp(q.buffer, k_cache, v_cache, mask, out.buffer, number, heads=q.columns.groups, mask_kind=kind)
    block_rows = min(rows, edge)
    attention.scores_strategy = tile.StrategyAttr(context.strategy(block_rows, transposed=True))
    attention.values_strategy = tile.StrategyAttr(context.strategy(block_rows, transposed=False))
    context.emitter.add(attention)
    context.values[op.result] = out
