"""An independent check of the HBM image: every element of every weight is where the machine will look for it.

It shares no code with the packing. From the layout of a tensor and the shape of its buffer follows the byte of each element (r, c)
and the byte of its scale (machine specification, section 8.4); what is decoded there must be what quantising the weight gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import target_of
from plena_mlir.errors import ImageError
from plena_mlir.numerics import mx_decode, mx_quantize
from plena_mlir.numerics.mx_format import MxFormat
from plena_mlir.target import MX_BLOCK
from plena_mlir.target.layout import GlobalData, Layout
from plena_mlir.verify.execution import Store

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


def check_image(module: ModuleOp, data: Mapping[str, GlobalData], store: Store) -> None:
    """Every weight of a plena_tile module decodes from its bytes to what it is when it is quantised.

    Raises:
        ImageError: a tensor is missing, has bytes of another number, or holds something else.
    """
    from plena_mlir.interpreters.tensor import evaluate_weight
    from plena_mlir.interpreters.tile_memory import layout_of, precision_of, storage_format

    functions = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, func.FuncOp)}
    for op in module.body.block.ops:
        if not isinstance(op, tile.GlobalOp) or op.init is None or op.role.data != tile.WEIGHT:
            continue
        where, layout = f"global {op.sym_name.data}", layout_of(op)
        if op.sym_name.data not in data or layout is None:
            raise ImageError("the image does not hold it, or its layout is not known", where=where)
        found = data[op.sym_name.data]
        assert tile.is_buffer(op.type)
        shape = op.type.get_shape()
        if found.elements.size != math.prod(shape) or 8 * found.scales.size != math.prod(shape):
            raise ImageError(f"it has {found.elements.size} elements and {found.scales.size} scales for shape {shape}", where=where)
        fmt = storage_format(target_of(module), precision_of(op.type))
        body = functions[op.init.string_value()].body.block
        assert body.last_op is not None
        layers, inner = (shape[0], shape[1:]) if layout.stacked else (1, shape)
        count = math.prod(inner)
        for layer in range(layers):
            weight = evaluate_weight(body.last_op.operands[0], store, layer if body.args else None)
            part = GlobalData(
                found.elements[layer * count : (layer + 1) * count],
                found.scales[layer * count // MX_BLOCK : (layer + 1) * count // MX_BLOCK],
            )
            _check_layer(part, np.atleast_2d(weight), layout, inner, fmt, f"{where}, layer {layer}" if layout.stacked else where)


def _check_layer(data: GlobalData, weight: F32, layout: Layout, shape: tuple[int, ...], fmt: MxFormat, where: str) -> None:
    rows = _spread(np.arange(weight.shape[0]), layout.rows)
    columns = _spread(np.arange(weight.shape[1]), layout.cols)
    # A block of eight lanes shares a scale, padding between groups included.
    padded = np.zeros((weight.shape[0], -(-(int(columns[-1]) + 1) // fmt.block) * fmt.block), np.float32)
    padded[:, columns] = weight
    term_shape = shape[1:] if layout.terms > 1 else shape
    places = _places(rows, np.arange(padded.shape[1]), layout, term_shape)
    size = math.prod(term_shape)
    for term in range(layout.terms):
        expected = mx_quantize(padded, fmt, variant="staging")
        at = places + term * size
        codes, factors = data.elements[at], data.scales[at[:, :: fmt.block] // fmt.block]
        actual = mx_decode(codes, factors, fmt) * np.float32(2.0**-layout.scale_shift)
        wrong = np.argwhere(actual[:, columns] != expected[:, columns])
        if wrong.size:
            row, column = (int(index) for index in wrong[0])
            lane = columns[column]
            raise ImageError(
                f"element {(row, column)} is {actual[row, lane]:.9g} in the image and {expected[row, lane]:.9g} quantised; "
                f"{len(wrong)} of {weight.size} differ",
                where=where,
                hint="this is a bug; please report it",
            )
        padded = padded - expected


def _spread(index: I64, groups: tuple[int, int]) -> I64:
    """Where rows or columns lie when each group of them is padded."""
    size, padded = groups
    return index // size * padded + index % size


def _places(rows: I64, columns: I64, layout: Layout, shape: tuple[int, ...]) -> I64:
    """The element [row, column] of a padded matrix, as an offset into one term of a buffer whose rows are shape[-1] apart."""
    r, c, pitch = rows[:, None], columns[None, :], shape[-1]
    lanes = layout.lanes or pitch
    match layout.packing:
        case "tiles":
            return ((r // shape[2] * shape[1] + c // lanes) * shape[2] + r % shape[2]) * pitch + c % lanes
        case "rows":
            return (r * shape[1] + c // lanes) * pitch + c % lanes
        case "column_blocks":
            return (c // lanes * shape[1] + r) * pitch + c % lanes
