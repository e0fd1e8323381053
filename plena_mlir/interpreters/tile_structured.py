"""The meaning of the structured operations of plena_tile: what the passes that expand them approximate; and the way to all others.

`bind` is the only implementation: the decoded program of `run_tile` and the xDSL interpreter functions both call its result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.errors import ExecutionError
from plena_mlir.interpreters.tile_memory import Bounds, TileMemory, where
from plena_mlir.interpreters.tile_units import UNIT_BINDERS, Unit, stream_format
from plena_mlir.numerics import mx_decode, round_bf16

F32: TypeAlias = NDArray[np.float32]
_EXP_LIMIT = 88.0


def _extent(type: pt.Buffer) -> int:
    return 1 + sum((size - 1) * stride for size, stride in zip(type.get_shape(), pt.strides_of(type), strict=True))


def _window(array: NDArray[Any], offset: int, type: pt.Buffer, block: int = 1) -> NDArray[Any]:
    """The elements of a buffer or view (or one item per `block` of them along the last dimension) as an array of its shape."""
    shape, strides = list(type.get_shape()), list(pt.strides_of(type))
    shape[-1] //= block
    steps = [stride // block for stride in strides[:-1]] + [1]
    return as_strided(array[offset // block :], shape, [step * array.itemsize for step in steps])


def _whole(op: Operation, operand: int, size: int) -> Bounds:
    """All elements of an operand that is a buffer or a view of one."""
    return Bounds(op, operand, size, _extent(pt.as_buffer(op.operands[operand])))


def _stored(memory: TileMemory, buffer: SSAValue) -> Callable[[int], NDArray[np.float64]]:
    """A reader of a buffer in HBM as the matrix unit sees it, from an element offset on."""
    type, data = pt.as_buffer(buffer), memory.data_at(buffer)
    fmt = stream_format(memory, type, matrix=True)

    def read(offset: int) -> NDArray[np.float64]:
        elements, scales = _window(data.elements, offset, type), _window(data.scales, offset, type, block=8)
        return mx_decode(elements, scales, fmt).astype(np.float64)

    return read


def _bf16(values: NDArray[np.float64]) -> F32:
    return round_bf16(values.astype(np.float32))


def _matmul(op: pt.MatmulOp, memory: TileMemory) -> Unit:
    """The product in float64 with one rounding."""
    x_type, out_type = pt.as_buffer(op.x), pt.as_buffer(op.out)
    x_array, data, out_array = memory.array_at(op.x), memory.data_at(op.w), memory.array_at(op.out)
    weights = _stored(memory, op.w)
    factor = 0.25 if op.strategy is not None and op.strategy.data is pt.Strategy.BROADCAST else 1.0
    product = "krc,nkoc->nro" if op.transposed is not None else "krc,nkco->nro"

    def action(x: int, w: int, out: int) -> None:
        rows = _window(x_array, x, x_type).astype(np.float64)
        result = (np.einsum(product, rows, weights(w), optimize=True) * factor).astype(np.float32)
        target = _window(out_array, out, out_type)
        target[...] = round_bf16(target + result if op.accumulate is not None else result)

    sizes = (x_array.size, data.elements.size, out_array.size)
    return Unit(tuple(_whole(op, number, size) for number, size in enumerate(sizes)), action)


def _attention(op: pt.AttentionOp, memory: TileMemory) -> Unit:
    """softmax(q k^T + mask) v, scores capped if they are to be, with every step rounded once, all keys at a time."""
    edge, heads = memory.target.mlen, op.heads.value.data
    q_type, out_type = pt.as_buffer(op.q), pt.as_buffer(op.out)
    q_array, out_array = memory.array_at(op.q), memory.array_at(op.out)
    keys_of, values_of = _stored(memory, op.k), _stored(memory, op.v)
    mask_type = None if op.mask is None else pt.as_buffer(op.mask)
    mask_array = None if op.mask is None else memory.array_at(op.mask)
    sinks_type = None if op.sinks is None else pt.as_buffer(op.sinks)
    sinks_array = None if op.sinks is None else memory.array_at(op.sinks)

    def action(*places: int) -> None:
        q_at, k_at, v_at, *more = places
        mask_at = more.pop(0) if mask_type is not None else 0
        sinks_at = more.pop(0) if sinks_type is not None else 0
        out_at = more.pop(0)
        first_block = more.pop(0) - 1 if op.number is not None else 0
        keys, values = keys_of(k_at), values_of(v_at)
        kv_heads, blocks, key_rows, _ = keys.shape
        q, out = _window(q_array, q_at, q_type), _window(out_array, out_at, out_type)
        queries, lanes = q.shape[1], q.shape[2]
        mask = np.zeros((queries, key_rows), np.float32)
        if mask_array is not None and mask_type is not None:
            mask = _spread(_window(mask_array, mask_at, mask_type), op.mask_kind.data, mask.shape, edge, first_block)
        elif op.mask_kind.data == "causal":
            mask = _spread(np.zeros((key_rows // edge, edge, lanes), np.float32), "causal", mask.shape, edge, first_block)
        for head in range(heads):
            group = head // (heads // kv_heads)
            part = slice(head * blocks, (head + 1) * blocks)
            scores = _bf16(np.einsum("brc,bkc->rk", q[part].astype(np.float64), keys[group, ..., :lanes]))
            if op.soft_cap is not None:
                scores = _bf16(np.tanh(scores.astype(np.float64)) * op.soft_cap.value.data)
            scores = round_bf16(scores + mask)
            largest = scores.max(-1, keepdims=True)
            sink = None
            if sinks_array is not None and sinks_type is not None:
                sink = _window(sinks_array, sinks_at, sinks_type)[0, head, 0]
                largest = np.maximum(largest, sink)
            centred = round_bf16(scores - largest)
            weights = _bf16(np.exp(np.clip(centred, -_EXP_LIMIT, _EXP_LIMIT).astype(np.float64)))
            # A key that is hidden from a row is not even visited, whatever lies in its row of values.
            weights[np.isneginf(mask)] = 0.0
            sums = weights.astype(np.float64).sum(-1, keepdims=True)
            if sink is not None:
                sums += _bf16(np.exp(np.clip(round_bf16(sink - largest), -_EXP_LIMIT, _EXP_LIMIT).astype(np.float64)))
            total = _bf16(sums)
            inverse = _bf16(1.0 / total.astype(np.float64))
            product = _bf16(np.einsum("rk,bkc->brc", weights.astype(np.float64), values[group, ..., :lanes]))
            out[part] = round_bf16(product * inverse)

    sizes = [q_array.size, memory.data_at(op.k).elements.size, memory.data_at(op.v).elements.size]
    if mask_array is not None:
        sizes.append(mask_array.size)
    if sinks_array is not None:
        sizes.append(sinks_array.size)
    sizes.append(out_array.size)
    bounds: list[Bounds | None] = [_whole(op, number, size) for number, size in enumerate(sizes)]
    if op.number is not None:
        bounds.append(None)
    return Unit(tuple(bounds), action)


def _spread(mask: NDArray[Any], kind: str, shape: tuple[int, int], edge: int, first_block: int) -> F32:
    """The mask [blocks, rows, VLEN] of an attention as [queries, keys]; -inf in blocks that are not visited."""
    queries, keys = shape
    dense = np.full(shape, -np.inf, np.float32)
    for row in range(queries):
        block = first_block + row // edge
        for key in range(keys // edge):
            columns = slice(key * edge, (key + 1) * edge)
            if kind == "causal":
                if key <= block:
                    dense[row, columns] = mask[block - key, row % edge]
            elif kind == "explicit":
                dense[row, columns] = mask[key, block * edge + row % edge]
            else:
                dense[row, columns] = mask[key, 0]
    return dense


BINDERS: Mapping[type[Operation], Callable[[Any, TileMemory], Unit]] = {
    **UNIT_BINDERS,
    pt.MatmulOp: _matmul,
    pt.AttentionOp: _attention,
}
"""How each operation that computes is bound; `at`, `view`, allocations and loops are the drivers' business."""


def bind(op: Operation, memory: TileMemory) -> Unit:
    """An operation ready to run on `memory`.

    Raises:
        ExecutionError: the operation has no meaning at this level.
    """
    binder = BINDERS.get(type(op))
    if binder is None:
        raise ExecutionError("the tile interpreter cannot run this operation", where=where(op), hint="lower it first")
    return binder(op, memory)
