"""rope and attention: heads on whole column blocks, keys and values through HBM."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.passes.tile.emitter import Index
from plena_mlir.passes.tile.layouts import Activation, Cache, Columns, round_up
from plena_mlir.passes.tile.lowering.context import LoweringContext, insert_before, refuse
from plena_mlir.passes.tile.lowering.exact import load_table, peel_quantize
from plena_mlir.passes.tile.lowering.linear import weight_tiles
from plena_mlir.passes.tile.lowering.masks import MaskShape, load_mask, load_sinks, mask_part
from plena_mlir.passes.tile.lowering.rows import clear_rows, copy_rows, put_rows, weight_rows


def _rotation(op: tensor.RopeOp, size: int) -> SSAValue:
    """The weight [r, r] whose product with a row is rotate_half: [a, b] -> [-b, a] on halves or interleaved lanes of `size`."""
    identity = tensor.IdentityOp(size)
    if op.interleaved is None:
        upper, lower = tensor.SliceOp(identity, 0, size // 2, size), tensor.SliceOp(identity, 0, 0, size // 2)
        negated = tensor.NegOp(upper)
        return insert_before(op, identity, upper, lower, negated, tensor.ConcatOp([negated, lower], 0))
    odd, even = tensor.SliceOp(identity, 0, 1, size, 2), tensor.SliceOp(identity, 0, 0, size, 2)
    negated = tensor.NegOp(odd)
    pairs = [tensor.ReshapeOp(half, (size // 2, 1, size)) for half in (negated, even)]
    joined = tensor.ConcatOp(pairs, 1)
    return insert_before(op, identity, odd, even, negated, *pairs, joined, tensor.ReshapeOp(joined, (size, size)))


def _whole_cosine(op: tensor.RopeOp, size: int) -> SSAValue:
    """The cosines with a one for every lane of a head of `size` that does not turn."""
    rows, turned = shape_of(op.cos)
    if turned == size:
        return op.cos
    cos, terms = peel_quantize(op.cos)
    one = tensor.splat(1.0)
    ones = tensor.ExpandOp(one, (rows, size - turned))
    whole = tensor.ConcatOp([cos, ones], 1)
    return insert_before(op, one, ones, whole, tensor.QuantizeOp(whole, tensor.QuantizeFormat.EXACT, terms))


def lower_rope(context: LoweringContext, op: Operation) -> None:
    """x * cos + rotate_half(x) * sin: the rotation is a product with a matrix of -1, 0 and 1, and so exact."""
    assert isinstance(op, tensor.RopeOp)
    x = context.activation(op.x)
    size = x.columns.size
    if x.columns.groups != op.heads.value.data:
        raise refuse(op, f"the operand lies in {x.columns.groups} groups of features, not in {op.heads.value.data} heads")
    out = context.reuse_or_allocate(op.result, op, op.x)
    emitter = context.emitter
    heads = x.columns.groups
    blocks, rows, lanes = x.shape
    per_head = blocks // heads
    turned_size = shape_of(op.cos)[1]
    head_columns, turned_columns = (Columns(1, count, x.columns.padded) for count in (size, turned_size))
    strategy = context.strategy(rows, rows, transposed=True)
    cos, sin = load_table(context, _whole_cosine(op, size), head_columns, rows), load_table(context, op.sin, turned_columns, rows)
    tiles = weight_tiles(context, _rotation(op, turned_size), turned_columns, turned_columns, strategy)
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


def new_cache(context: LoweringContext, name: str, columns: Columns, rows: int) -> Cache:
    """The cache `name` for `rows` physical rows, in whole blocks of keys. Layers share it, one after the other."""
    target = context.target
    keys = round_up(rows, target.mlen)
    shape = [columns.groups, columns.padded // target.vlen, keys, target.hbm_row_pitch]
    return Cache(context.emitter.add(context.weights.storage(name, shape, tile.Precision.KV, tile.CACHE)).buffer, columns, keys)


def store_rows(context: LoweringContext, value: Activation, cache: Cache, first: Index) -> None:
    """Write all physical rows of an activation to the keys from `first` on."""
    emitter, target = context.emitter, context.target
    lanes, pitch = target.vlen, target.hbm_row_pitch
    blocks, rows, _ = value.shape
    with emitter.loop(blocks) as block, emitter.loop(rows, step=target.writeback_v_rows) as row:
        flat = emitter.view(cache.buffer, [0, 0, 0, 0], [blocks, cache.keys, lanes], [cache.keys * pitch, pitch, 1])
        emitter.add(tile.StoreRowsOp(emitter.at(value.buffer, block, row, 0), emitter.at(flat, block, row + first, 0)))


def _cache_of(context: LoweringContext, value: SSAValue, name: str) -> Cache:
    """The cache that holds a value, filled now if it lies in Vector SRAM."""
    if value in context.caches:
        return context.caches[value]
    activation = context.activation(value)
    cache = new_cache(context, name, activation.columns, activation.shape[1])
    store_rows(context, activation, cache, Index())
    return cache


def lower_attention(context: LoweringContext, op: Operation) -> None:
    """Keys and values go to HBM and come back as tiles; a structured attention does the rest."""
    assert isinstance(op, tensor.AttentionOp)
    soft_cap = None if op.soft_cap is None else op.soft_cap.value.data
    if op.scale.value.data != (1.0 if soft_cap is None else soft_cap):
        raise refuse(op, f"attention scale {op.scale.value.data} is left over", "run fold-attention-scale before")
    formats = context.target.precisions
    if formats.m_kv != formats.v_kv:
        raise refuse(op, f"the machine writes keys and values as {formats.v_kv} and reads them back as {formats.m_kv}")
    q = context.activation(op.q) if op.q in context.values else weight_rows(context, op.q, op.heads.value.data)
    if op.parts:
        out = context.new_activation(op.result)
        _attend_by_sequence(context, op, q, out)
    else:
        caches = _cache_of(context, op.k, "k_cache"), _cache_of(context, op.v, "v_cache")
        out = context.new_activation(op.result)
        _attend(context, op, q, caches, out, shape_of(op.k)[0], op.mask)
    context.values[op.result] = out


def _attend(
    context: LoweringContext,
    op: tensor.AttentionOp,
    q: Activation,
    caches: tuple[Cache, Cache],
    out: Activation,
    keys: int,
    mask: SSAValue | None,
) -> None:
    """A structured attention of one sequence."""
    k_cache, v_cache = caches
    heads = (q.columns.groups, k_cache.columns.groups, v_cache.columns.groups)
    if heads != (op.heads.value.data, op.kv_heads.value.data, op.kv_heads.value.data):
        raise refuse(op, "queries, keys or values do not lie head by head")
    if k_cache.columns.padded != v_cache.columns.padded or k_cache.keys != v_cache.keys:
        raise refuse(op, "keys and values of different sizes are not lowered yet")
    edge = context.target.mlen
    rows = q.shape[1]
    kind, table = load_mask(context, op, MaskShape(q.rows, rows, keys, k_cache.keys, mask))
    soft_cap = None if op.soft_cap is None else op.soft_cap.value.data
    number = None
    if op.block is not None:
        index = context.index(op.block) + 1
        number = index.terms[0][0] if index.terms else context.emitter.index_constant(index.constant)
    attention = tile.AttentionOp(
        q.buffer,
        k_cache.buffer,
        v_cache.buffer,
        table,
        out.buffer,
        number,
        heads=heads[0],
        mask_kind=kind,
        soft_cap=soft_cap,
        sinks=load_sinks(context, op),
    )
    block_rows = min(rows, edge)
    attention.scores_strategy = tile.StrategyAttr(context.strategy(block_rows, block_rows, transposed=True))
    attention.values_strategy = tile.StrategyAttr(context.strategy(block_rows, block_rows, transposed=False))
    context.emitter.add(attention)


@dataclass(frozen=True)
class _Run:
    """Sequences of one length at one distance from each other: a loop can do them."""

    first: int
    count: int
    stride: int
    rows: int


def _runs(op: tensor.AttentionOp) -> list[_Run]:
    """The sequences in order. Those with an explicit mask have a part of it each, and stay apart."""
    found: list[_Run] = []
    for first, rows in op.parts:
        last = found[-1] if found else None
        if last is not None and last.rows == rows and op.mask is None:
            stride = first - last.first if last.count == 1 else last.stride
            if first == last.first + last.count * stride:
                found[-1] = _Run(last.first, last.count + 1, stride, rows)
                continue
        found.append(_Run(first, 1, 0, rows))
    return found


def _attend_by_sequence(context: LoweringContext, op: tensor.AttentionOp, q: Activation, out: Activation) -> None:
    """Each sequence by itself, on buffers of its length; the rows between them become zero."""
    whole = [q, *(context.activation(value) for value in (op.k, op.v))]
    end = 0
    for first, rows in (*op.parts, (out.shape[1], 0)):
        clear_rows(context, out, end, first)
        end = first + rows
    for run in _runs(op):
        parts = [context.allocate(value.columns, run.rows) for value in whole]
        result = context.allocate(out.columns, run.rows)
        names = ("k_cache", "v_cache")
        k_cache, v_cache = (
            new_cache(context, name, part.columns, part.shape[1]) for name, part in zip(names, parts[1:], strict=True)
        )
        mask = None if op.mask is None else mask_part(op, op.mask, run.first, run.rows)
        with context.emitter.loop(run.count) as number:
            first = number * run.stride + run.first
            for value, part in zip(whole, parts, strict=True):
                copy_rows(context, value, first, part)
            for part, cache in zip(parts[1:], (k_cache, v_cache), strict=True):
                store_rows(context, part, cache, Index())
            _attend(context, op, parts[0], (k_cache, v_cache), result, run.rows, mask)
            put_rows(context, result, run.rows, out, into=first)
