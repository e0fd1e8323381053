"""Reshapes, permutations, slices and concatenations."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import prod

import torch
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.aten.registry import imports
from plena_mlir.frontend.builder import GraphBuilder, Operand


@imports(
    "view.default",
    "reshape.default",
    "_unsafe_view.default",
    "view_as.default",
    "reshape_as.default",
    "unsqueeze.default",
    "squeeze.default",
    "squeeze.dim",
    "squeeze.dims",
    "flatten.using_ints",
    "unflatten.int",
    ignored=("size", "shape", "other", "dim", "start_dim", "end_dim", "sizes"),
)
def reshape(builder: GraphBuilder, x: Operand) -> SSAValue:
    return builder.reshape(x, builder.result_shape)


@imports("expand.default", "expand_as.default", "broadcast_to.default", ignored=("size", "other"))
def expand(builder: GraphBuilder, x: Operand) -> SSAValue:
    return builder.expand(x, builder.result_shape)


@imports("permute.default")
def permute(builder: GraphBuilder, x: Operand, dims: Sequence[int]) -> SSAValue:
    value = builder.tensor(x)
    rank = len(pt.shape_of(value))
    order = [dim % rank for dim in dims]
    return value if order == sorted(order) else builder.emit(pt.PermuteOp(value, order))


@imports("transpose.int")
def transpose(builder: GraphBuilder, x: Operand, dim0: int, dim1: int) -> SSAValue:
    rank = len(pt.shape_of(builder.tensor(x)))
    order = list(range(rank))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return permute(builder, x, order)


@imports("numpy_T.default")
def reverse_dimensions(builder: GraphBuilder, x: Operand) -> SSAValue:
    rank = len(pt.shape_of(builder.tensor(x)))
    return permute(builder, x, range(rank - 1, -1, -1))


@imports("t.default", "mT.default")
def transpose_matrix(builder: GraphBuilder, x: Operand) -> SSAValue:
    value = builder.tensor(x)
    if len(pt.shape_of(value)) < 2:
        return value
    return transpose(builder, value, -2, -1)


@imports("slice.Tensor")
def slice_(builder: GraphBuilder, x: Operand, dim: int, start: int | None, end: int | None, step: int) -> SSAValue:
    value = builder.tensor(x)
    size = pt.shape_of(value)[dim]
    first, last, stride = slice(start, end, step).indices(size)
    if (first, last, stride) == (0, size, 1):
        return value
    return builder.emit(pt.SliceOp(value, dim, first, max(first, last), stride))


@imports("narrow.default")
def narrow(builder: GraphBuilder, x: Operand, dim: int, start: int, length: int) -> SSAValue:
    return slice_(builder, x, dim, start, start + length, 1)


@imports("select.int")
def select(builder: GraphBuilder, x: Operand, dim: int, index: int) -> SSAValue:
    value = builder.tensor(x)
    first = index % pt.shape_of(value)[dim]
    return builder.reshape(slice_(builder, value, dim, first, first + 1, 1), builder.result_shape)


@imports("cat.default", "concat.default")
def cat(builder: GraphBuilder, tensors: Sequence[Operand], dim: int) -> SSAValue:
    values = [builder.tensor(tensor, builder.result_element) for tensor in tensors]
    kept = [value for value in values if pt.shape_of(value) != (0,)]
    return kept[0] if len(kept) == 1 else builder.emit(pt.ConcatOp(kept, dim))


@imports("masked_scatter.default")
def masked_scatter(builder: GraphBuilder, x: Operand, mask: Operand, source: Operand) -> SSAValue:
    """Whole rows of x replaced by those of `source`, one after the other, where a constant mask says so."""
    value, rows = builder.tensor(x), builder.tensor(source)
    shape = pt.shape_of(value)
    hint = "the mask may depend on integers that an example of the inputs gives, and must hold for whole rows of features"
    if not isinstance(mask, torch.Tensor):
        raise ModelImportError("masked_scatter by a mask that depends on the input is not supported", where=builder.path, hint=hint)
    spread = mask.expand(shape).reshape(-1, shape[-1])
    taken = [bool(row[0]) for row in spread]
    given = prod(pt.shape_of(rows)[:-1])
    if pt.shape_of(rows)[-1] != shape[-1] or not bool((spread == spread[:, :1]).all()) or sum(taken) > given:
        raise ModelImportError(
            f"masked_scatter of {given} rows to {sum(taken)} places is not supported", where=builder.path, hint=hint
        )
    whole = builder.reshape(value, (1, len(taken), shape[-1]))
    new = builder.reshape(rows, (1, given, shape[-1]))
    parts: list[Operand] = []
    start = used = 0
    for replaced, group in groupby(taken):
        count = len(list(group))
        first = used if replaced else start
        parts.append(slice_(builder, new if replaced else whole, 1, first, first + count, 1))
        used += count if replaced else 0
        start += count
    return builder.reshape(cat(builder, parts, 1), shape)


@imports("stack.default")
def stack(builder: GraphBuilder, tensors: Sequence[Operand], dim: int) -> SSAValue:
    axis = dim % len(builder.result_shape)
    single = (*builder.result_shape[:axis], 1, *builder.result_shape[axis + 1 :])
    return cat(builder, [builder.reshape(tensor, single) for tensor in tensors], axis)


@imports("split_with_sizes.default", "split.sizes")
def split_with_sizes(
    builder: GraphBuilder,
    x: Operand,
    dim: int,
    split_sizes: Sequence[int] | None = None,
    split_size: Sequence[int] | None = None,
) -> tuple[SSAValue, ...]:
    sizes = split_sizes if split_size is None else split_size
    assert sizes is not None
    value = builder.tensor(x)
    parts: list[SSAValue] = []
    start = 0
    for size in sizes:
        parts.append(slice_(builder, value, dim, start, start + size, 1))
        start += size
    return tuple(parts)


@imports("split.Tensor")
def split(builder: GraphBuilder, x: Operand, split_size: int, dim: int) -> tuple[SSAValue, ...]:
    value = builder.tensor(x)
    size = pt.shape_of(value)[dim]
    return split_with_sizes(builder, value, dim, [min(split_size, size - start) for start in range(0, size, split_size)])


@imports("chunk.default")
def chunk(builder: GraphBuilder, x: Operand, chunks: int, dim: int) -> tuple[SSAValue, ...]:
    value = builder.tensor(x)
    return split(builder, value, -(-pt.shape_of(value)[dim] // chunks), dim)


@imports("unbind.int")
def unbind(builder: GraphBuilder, x: Operand, dim: int) -> tuple[SSAValue, ...]:
    value = builder.tensor(x)
    shape = pt.shape_of(value)
    axis = dim % len(shape)
    rest = (*shape[:axis], *shape[axis + 1 :])
    return tuple(builder.reshape(slice_(builder, value, axis, at, at + 1, 1), rest) for at in range(shape[axis]))


@imports("repeat.default")
def repeat(builder: GraphBuilder, x: Operand, repeats: Sequence[int]) -> SSAValue:
    """Tile x: every dimension becomes (times, size), broadcast on `times`."""
    value = builder.tensor(x)
    shape = (1,) * (len(repeats) - len(pt.shape_of(value))) + pt.shape_of(value)
    apart = tuple(size for extent in shape for size in (1, extent))
    tiled = tuple(size for times, extent in zip(repeats, shape, strict=True) for size in (times, extent))
    spread = builder.expand(builder.reshape(value, apart), tiled)
    return builder.reshape(spread, builder.result_shape)


@imports("repeat_interleave.self_int", ignored=("output_size",))
def repeat_interleave(builder: GraphBuilder, x: Operand, repeats: int, dim: int | None) -> SSAValue:
    value = builder.tensor(x)
    if dim is None:
        raise ModelImportError("repeat_interleave of a flattened tensor is not supported", where=builder.path, hint="give a dim")
    shape = pt.shape_of(value)
    axis = dim % len(shape) + 1
    apart = (*shape[:axis], 1, *shape[axis:])
    spread = builder.expand(builder.reshape(value, apart), (*shape[:axis], repeats, *shape[axis:]))
    return builder.reshape(spread, builder.result_shape)


@imports("constant_pad_nd.default", "pad.default")
def pad(builder: GraphBuilder, x: Operand, pad: Sequence[int], value: float | None, mode: str = "constant") -> SSAValue:
    if mode != "constant":
        raise ModelImportError(f"padding mode {mode!r} is not supported", where=builder.path, hint="constant padding is")
    padded = builder.tensor(x)
    for position in range(0, len(pad), 2):
        axis = len(pt.shape_of(padded)) - 1 - position // 2
        padded = _pad_axis(builder, padded, axis, pad[position], pad[position + 1], 0.0 if value is None else value)
    return padded


def _pad_axis(builder: GraphBuilder, x: SSAValue, axis: int, before: int, after: int, value: float) -> SSAValue:
    size = pt.shape_of(x)[axis]
    kept = slice_(builder, x, axis, max(0, -before), size - max(0, -after), 1)
    shape = pt.shape_of(x)
    parts: list[SSAValue] = [kept]
    for amount, place in ((before, 0), (after, len(parts) + (before > 0))):
        if amount > 0:
            filler = torch.full((*shape[:axis], amount, *shape[axis + 1 :]), value)
            parts.insert(place, builder.tensor(filler, builder.result_element))
    return cat(builder, parts, axis)
