"""How a matrix lies in HBM as MX elements and scales (machine specification, section 8.4).

Free of IR: the image writer, the staging of inputs and whoever reads a tensor back share these functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from plena_mlir.errors import ImageError
from plena_mlir.numerics.mx import mx_decode, mx_encode
from plena_mlir.numerics.mx_format import MxFormat, shifted_scales
from plena_mlir.target.hardware import MX_BLOCK

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]
PackingName: TypeAlias = Literal["tiles", "rows", "column_blocks"]

NAN_ELEMENT = 0x7F
"""An element code that is NaN in every format of the machine."""

UNIT_SCALE = 127
"""The scale byte of a factor of one."""


@dataclass(frozen=True)
class GlobalData:
    """The bytes of one tensor in HBM: its element region, and its scale region of an eighth of that size. Both flat."""

    elements: U8
    scales: U8

    @staticmethod
    def filled(count: int, fill: float) -> GlobalData:
        """`count` elements that decode to `fill`, which is 0.0 or NaN."""
        if fill == 0.0:
            return GlobalData(np.zeros(count, np.uint8), np.zeros(count // MX_BLOCK, np.uint8))
        return GlobalData(np.full(count, NAN_ELEMENT, np.uint8), np.full(count // MX_BLOCK, UNIT_SCALE, np.uint8))

    def copy(self) -> GlobalData:
        return GlobalData(self.elements.copy(), self.scales.copy())


@dataclass(frozen=True)
class Layout:
    """How a tensor [n, k] becomes the elements and scales of a buffer.

    Attributes:
        packing: `tiles` [n / MLEN, k / MLEN, MLEN, MLEN], `rows` [n, k / VLEN, VLEN] or `column_blocks` [k / VLEN, n, VLEN].
        rows: (group, padded group): each group of rows is followed by rows of zeros up to the padded size.
        cols: the same for columns.
        terms: the tensor is stored as the sum of so many MX tensors, each encoding what the ones before it leave over; more than
            one make a leading dimension.
        scale_shift: added to every scale byte that is not a factor of 0, an exact factor of 2**scale_shift.
        stacked: the buffer has a leading layer dimension; `pack` and `unpack` take one layer.
        lanes: how many elements of each row of the buffer are used; its last dimension, the row pitch, may be larger so that the
            scales of a row stay within one block of HBM. 0 uses all.
    """

    packing: PackingName
    rows: tuple[int, int] = (1, 1)
    cols: tuple[int, int] = (1, 1)
    terms: int = 1
    scale_shift: int = 0
    stacked: bool = False
    lanes: int = 0

    def matrix_shape(self, shape: Sequence[int]) -> tuple[int, int]:
        """Rows and columns of the padded matrix held by one term of shape `shape`."""
        match self.packing, tuple(shape):
            case "tiles", (row_blocks, col_blocks, height, width):
                return row_blocks * height, col_blocks * width
            case "rows", (rows, blocks, width):
                return rows, blocks * width
            case "column_blocks", (blocks, rows, width):
                return rows, blocks * width
            case _:
                raise ImageError(f"a buffer of shape {tuple(shape)} cannot hold a matrix packed as {self.packing}")


def _as_matrix(tensor: F32) -> F32:
    if tensor.ndim not in (1, 2):
        raise ImageError(f"a tensor of shape {tensor.shape} is no matrix", hint="reshape it to [n, k] before it is packed")
    return tensor.reshape(1, -1) if tensor.ndim == 1 else tensor


def _groups(matrix: F32, size: tuple[int, int], layout: Layout) -> F32:
    """The places of a [n, k] tensor in the padded matrix [N, K], as a view [n / group, group, k / group, group] of it."""
    (n, k), (group, padded), (col_group, col_padded) = size, layout.rows, layout.cols
    if n % group or k % col_group:
        raise ImageError(f"a tensor of shape {size} does not divide into groups of {group} rows and {col_group} columns")
    needed = (n // group * padded, k // col_group * col_padded)
    if padded < group or col_padded < col_group or needed[0] > matrix.shape[0] or needed[1] > matrix.shape[1]:
        raise ImageError(f"a tensor of shape {size} takes {needed} with its padding, the buffer has {matrix.shape}")
    row, col = matrix.strides
    return as_strided(matrix, (n // group, group, k // col_group, col_group), (padded * row, row, col_padded * col, col))


def _padded(matrix: F32, shape: tuple[int, int], layout: Layout) -> F32:
    """`matrix` with its groups spread out and zeros in between, as a matrix of `shape`."""
    if matrix.shape == shape and layout.rows[0] == layout.rows[1] and layout.cols[0] == layout.cols[1]:
        return matrix
    result = np.zeros(shape, np.float32)
    target = _groups(result, (matrix.shape[0], matrix.shape[1]), layout)
    target[...] = matrix.reshape(target.shape)
    return result


def _arrange(matrix: U8, shape: Sequence[int], packing: PackingName, block: int) -> U8:
    """A matrix [n, k / block] of bytes in the order of a buffer of `shape`; a view."""
    width = shape[-1] // block
    if packing == "tiles":
        return matrix.reshape(shape[0], shape[2], shape[1], width).transpose(0, 2, 1, 3)
    if packing == "rows":
        return matrix.reshape(shape[0], shape[1], width)
    return matrix.reshape(shape[1], shape[0], width).transpose(1, 0, 2)


def _restore(buffer: U8, shape: Sequence[int], packing: PackingName, block: int) -> U8:
    """The inverse of `_arrange`: a matrix [n, k / block]."""
    packed = buffer.reshape(*shape[:-1], shape[-1] // block)
    if packing == "tiles":
        packed = packed.transpose(0, 2, 1, 3)
        return packed.reshape(packed.shape[0] * packed.shape[1], -1)
    if packing == "column_blocks":
        packed = packed.transpose(1, 0, 2)
    return packed.reshape(packed.shape[0], -1)


def _shifted(scales: U8, shift: int, fmt: MxFormat) -> U8:
    """Scale bytes times 2**shift; a factor of 0 stays."""
    shifted = shifted_scales(fmt, shift)[scales]
    if shifted.min() < 0:
        raise ImageError(f"a factor of 2**{shift} takes the scale of a block out of range", hint="check the tensor's magnitude")
    return shifted.astype(np.uint8)


def _term_shapes(layout: Layout, shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of one term of a layer of shape `shape`, row pitch included."""
    if layout.terms == 1:
        return tuple(shape)
    if shape[0] != layout.terms:
        raise ImageError(f"a buffer of shape {tuple(shape)} has no leading dimension for {layout.terms} terms")
    return tuple(shape[1:])


def _used(data: U8, layout: Layout, term_shape: Sequence[int], block: int) -> U8:
    """The bytes of a buffer that rows use: [terms, ..., lanes / block], a view; the rest of each row stays as it is."""
    lanes = layout.lanes or term_shape[-1]
    return data.reshape(layout.terms, *term_shape[:-1], -1)[..., : lanes // block]


def _used_shape(layout: Layout, term_shape: Sequence[int]) -> tuple[int, ...]:
    return (*term_shape[:-1], layout.lanes or term_shape[-1])


def pack_into(data: GlobalData, tensor: F32, layout: Layout, shape: Sequence[int], fmt: MxFormat) -> None:
    """Pack one layer into the bytes of `data`; see `pack`."""
    term_shape = _term_shapes(layout, shape)
    used = _used_shape(layout, term_shape)
    matrix = _padded(np.asarray(_as_matrix(tensor), np.float32), layout.matrix_shape(used), layout)
    if used[-1] < term_shape[-1]:
        data.elements[:] = 0
        data.scales[:] = 0
    elements = _used(data.elements, layout, term_shape, 1)
    scales = _used(data.scales, layout, term_shape, fmt.block)
    for term in range(layout.terms):
        codes, factors = mx_encode(matrix, fmt, variant="staging")
        elements[term] = _arrange(codes, used, layout.packing, 1)
        shifted = _shifted(factors, layout.scale_shift, fmt) if layout.scale_shift else factors
        scales[term] = _arrange(shifted, used, layout.packing, fmt.block)
        if term + 1 < layout.terms:
            matrix = matrix - mx_decode(codes, factors, fmt)


def pack(tensor: F32, layout: Layout, shape: Sequence[int], fmt: MxFormat) -> GlobalData:
    """The bytes of a tensor [n, k] (or [k], taken as [1, k]) in a buffer of `shape` (without the layer dimension), as HBM images
    are staged (machine specification, section 8.3).

    Raises:
        ImageError: the tensor does not fit the shape, or holds values that are not finite.
    """
    count = math.prod(shape)
    data = GlobalData(np.empty(count, np.uint8), np.empty(count // fmt.block, np.uint8))
    pack_into(data, tensor, layout, shape, fmt)
    return data


def unpack(data: GlobalData, layout: Layout, shape: Sequence[int], fmt: MxFormat, size: tuple[int, int]) -> F32:
    """The tensor of `size` [n, k] that a layer of `shape` holds: the sum of its terms, without the factor of the scale shift."""
    term_shape = _term_shapes(layout, shape)
    used = _used_shape(layout, term_shape)
    total = np.zeros(layout.matrix_shape(used), np.float32)
    all_elements = _used(data.elements, layout, term_shape, 1)
    all_scales = _used(data.scales, layout, term_shape, fmt.block)
    for elements, scales in zip(all_elements, all_scales, strict=True):
        codes = _restore(elements, used, layout.packing, 1)
        factors = _restore(scales, used, layout.packing, fmt.block)
        total += mx_decode(codes, factors, fmt) * np.float32(2.0**-layout.scale_shift)
    return _groups(total, size, layout).reshape(size)
