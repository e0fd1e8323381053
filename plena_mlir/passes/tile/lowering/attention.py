"""rope and attention: heads on whole column blocks, keys and values through HBM."""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor import MaskKind, shape_of
from plena_mlir.passes.tile.layouts import Activation, Columns, round_up
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.exact import load_table
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
    heads, lanes = value.columns.groups, target.vlen
    blocks, rows, _ = value.shape
    per_head = blocks // heads
    cache = emitter.add(context.weights.storage(name, [heads, per_head, keys, lanes], tile.Precision.KV, "cache")).buffer
    with emitter.loop(blocks) as block, emitter.loop(rows, step=target.writeback_v_rows) as row:
        flat = emitter.view(cache, [0, 0, 0, 0], [blocks, keys, lanes], [keys * lanes, lanes, 1])
        emitter.add(tile.StoreRowsOp(emitter.at(value.buffer, block, row, 0), emitter.at(flat, block, row, 0)))
    return cache


def _causal_mask(context: LoweringContext, op: Operation, rows: int) -> SSAValue:
    """A strip [blocks, rows of a block, VLEN]: first the diagonal block, MASKED where the lane exceeds the row, then zeros."""
    edge = context.target.mlen
    block_rows = min(rows, edge)
    block = op.parent
    assert block is not None

    def make() -> SSAValue:
        emitter = context.emitter
        diagonal = load_table(context, mask.result, Columns(1, edge, edge), block_rows)
        if rows == block_rows:
            return diagonal
        strip = emitter.rows(rows // edge, edge)
        zero = emitter.constant(0.0)
        with emitter.loop(edge) as row:
            emitter.copy_row(emitter.at(strip, 0, row, 0), emitter.at(diagonal, 0, row, 0), zero)
        with emitter.loop(rows // edge, start=1) as distance, emitter.loop(edge) as row:
            emitter.zero_row(emitter.at(strip, distance, row, 0))
        return strip

    mask = tensor.CausalMaskOp(block_rows, edge, MASKED)
    block.insert_op_before(mask, op)
    return context.once(("causal strip", str(rows)), make)


def lower_attention(context: LoweringContext, op: Operation) -> None:
    """Keys and values go to HBM and come back as tiles; a structured attention does the rest."""
    assert isinstance(op, tensor.AttentionOp)
    kind = MaskKind(op.mask_kind.data)
    if kind is not MaskKind.CAUSAL:
        raise refuse(op, f"attention with a {kind.value} mask is not lowered yet", "causal attention is")
    if op.scale.value.data != 1.0:
        raise refuse(op, f"attention scale {op.scale.value.data} is left over", "run fold-attention-scale before")
    q, k, v = (context.activation(operand) for operand in (op.q, op.k, op.v))
    if q.rows != k.rows or k.columns.padded != v.columns.padded:
        raise refuse(op, "queries, keys and values of different lengths are not lowered yet")
    edge = context.target.mlen
    rows = q.shape[1]
    keys = round_up(rows, edge)
    out = context.new_activation(op.result)
    k_cache = _store_cache(context, "k_cache", k, keys)
    v_cache = _store_cache(context, "v_cache", v, keys)
    mask = _causal_mask(context, op, rows)
    attention = tile.AttentionOp(
        q.buffer,
        k_cache,
        v_cache,
        mask,
        out.buffer,
        heads=q.columns.groups,
        mask_kind=kind.value,
        keys=q.rows,
    )
    attention.scores_strategy = tile.StrategyAttr(context.strategy(min(rows, edge), transposed=True))
    attention.values_strategy = tile.StrategyAttr(context.strategy(min(rows, edge), transposed=False))
    context.emitter.add(attention)
    context.values[op.result] = out
