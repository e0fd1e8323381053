"""Convolutions: the windows of the image become rows, and the kernel a matrix."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.aten.movement import cat, slice_
from plena_mlir.frontend.aten.registry import imports
from plena_mlir.frontend.builder import GraphBuilder, Operand

Pair = tuple[int, int]


@imports("conv2d.default", "conv1d.default", "conv2d.padding", "conv1d.padding")
def convolution(
    builder: GraphBuilder,
    input: Operand,
    weight: Operand,
    bias: Operand | None,
    stride: Sequence[int],
    padding: Sequence[int] | str,
    dilation: Sequence[int],
    groups: int,
) -> SSAValue:
    """linear(windows [B, h * w, K], kernel [O, K]), as [B, O, h, w]. A convolution of one dimension is one of two, of height 1."""
    x, kernel = builder.tensor(input), builder.tensor(weight)
    outputs, channels, *sizes = pt.shape_of(kernel)
    if groups != 1:
        raise ModelImportError(
            f"a convolution in {groups} groups is not supported",
            where=builder.path,
            hint="convolutions that mix all channels are; a convolution of each channel alone has no matrix form",
        )
    batch, _, *extents = pt.shape_of(x)
    size, extent, step, spread = (_pair(values, 1) for values in (sizes, extents, stride, dilation))
    margins = _margins(padding, size, spread)
    x = _padded(builder, builder.reshape(x, (batch, channels, *extent)), margins)
    height, width = ((extent[axis] + sum(margins[axis]) - spread[axis] * (size[axis] - 1) - 1) // step[axis] + 1 for axis in (0, 1))
    if size == step and spread == (1, 1):
        x = slice_(builder, slice_(builder, x, 2, 0, height * size[0], 1), 3, 0, width * size[1], 1)
        apart = builder.reshape(x, (batch, channels, height, size[0], width, size[1]))
        windows = builder.emit(pt.PermuteOp(apart, (0, 2, 4, 1, 3, 5)))
        matrix = kernel
    else:
        parts: list[SSAValue] = []
        for row in range(size[0]):
            for column in range(size[1]):
                part = _every(
                    builder, _every(builder, x, 2, row * spread[0], step[0], height), 3, column * spread[1], step[1], width
                )
                moved = builder.emit(pt.PermuteOp(part, (0, 2, 3, 1)))
                parts.append(builder.reshape(moved, (batch, height * width, channels)))
        windows = cat(builder, parts, 2)
        matrix = builder.emit(pt.PermuteOp(kernel, (0, 2, 3, 1) if len(sizes) == 2 else (0, 2, 1)))
    features = channels * size[0] * size[1]
    rows = builder.reshape(windows, (batch, height * width, features))
    shift = None if bias is None else builder.tensor(bias)
    product = builder.emit(pt.LinearOp(rows, builder.reshape(matrix, (outputs, features)), shift))
    return builder.reshape(builder.emit(pt.PermuteOp(product, (0, 2, 1))), builder.result_shape)


def _pair(values: Sequence[int], default: int) -> Pair:
    """Sizes of height and width; one alone is the width, or both if it stands for all dimensions."""
    return (default, values[0]) if len(values) == 1 else (values[0], values[1])


def _margins(padding: Sequence[int] | str, size: Pair, spread: Pair) -> tuple[Pair, Pair]:
    """(before, after) of height and width."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        totals = [spread[axis] * (size[axis] - 1) for axis in (0, 1)]
        return (totals[0] // 2, totals[0] - totals[0] // 2), (totals[1] // 2, totals[1] - totals[1] // 2)
    assert not isinstance(padding, str)
    height, width = _pair(padding, 0)
    return (height, height), (width, width)


def _padded(builder: GraphBuilder, x: SSAValue, margins: tuple[Pair, Pair]) -> SSAValue:
    """x with zeros around it."""
    for axis, (before, after) in zip((2, 3), margins, strict=True):
        parts = [x]
        shape = pt.shape_of(x)
        for amount, place in ((before, 0), (after, 1)):
            if amount:
                zeros = builder.expand(builder.emit(pt.splat(0.0)), (*shape[:axis], amount, *shape[axis + 1 :]))
                parts.insert(place * len(parts), zeros)
        x = parts[0] if len(parts) == 1 else cat(builder, parts, axis)
    return x


def _every(builder: GraphBuilder, x: SSAValue, axis: int, first: int, step: int, count: int) -> SSAValue:
    """`count` places of a dimension from `first` on, `step` apart."""
    return slice_(builder, x, axis, first, first + step * (count - 1) + 1, step)
