"""The HBM image: every global evaluated, packed, encoded and placed (machine specification, sections 8.3 and 8.4)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.hints import isa

from plena_mlir.backend.hbm_image import U8, HbmImage
from plena_mlir.dialects.plena import target_of
from plena_mlir.dialects.plena_tile.memory import CACHE, WEIGHT, Buffer, GlobalOp
from plena_mlir.errors import ImageError
from plena_mlir.interpreters.tile_memory import globals_of, layout_of, precision_of, storage_format
from plena_mlir.target import MX_BLOCK, Target
from plena_mlir.target.layout import GlobalData, pack_into

if TYPE_CHECKING:
    from plena_mlir.interpreters.tensor import Store


def _initializer(op: GlobalOp, module: ModuleOp) -> func.FuncOp:
    """The function that computes what a global holds."""
    assert op.init is not None
    name = op.init.string_value()
    for candidate in module.body.block.ops:
        if isinstance(candidate, func.FuncOp) and candidate.sym_name.data == name:
            return candidate
    raise ImageError(f"there is no function @{name}", where=f"global {op.sym_name.data}")


def encode_global(op: GlobalOp, module: ModuleOp, target: Target, store: Store) -> GlobalData:
    """Evaluate and encode one global that has an init function, one layer at a time."""
    # Only this needs torch: an image can be written without it.
    from plena_mlir.interpreters.tensor import evaluate_weight

    where = f"global {op.sym_name.data}"
    layout = layout_of(op)
    if layout is None:
        raise ImageError("a global with an init function needs a layout", where=where)
    function = _initializer(op, module)
    terminator = function.body.block.last_op
    assert isinstance(terminator, func.ReturnOp)
    assert isa(op.type, Buffer)
    shape = op.type.get_shape()
    fmt = storage_format(target, precision_of(op.type))
    layers, layer_shape = (shape[0], shape[1:]) if layout.stacked else (1, shape)
    count = math.prod(layer_shape)
    data = GlobalData(np.empty(layers * count, np.uint8), np.empty(layers * count // fmt.block, np.uint8))
    for layer in range(layers):
        elements = slice(layer * count, (layer + 1) * count)
        scales = slice(layer * count // fmt.block, (layer + 1) * count // fmt.block)
        tensor = evaluate_weight(terminator.operands[0], store, layer if function.body.block.args else None)
        try:
            pack_into(GlobalData(data.elements[elements], data.scales[scales]), tensor, layout, layer_shape, fmt)
        except ImageError as error:
            raise ImageError(error.what, where=f"{where}, layer {layer}" if layout.stacked else where, hint=error.hint) from error
    return data


def encode_globals(module: ModuleOp, store: Store) -> dict[str, GlobalData]:
    """The bytes of every global of a plena_tile module that the image fills: weights, and caches, which start as zeros; by name.

    Args:
        module: carries its target.
        store: the parameters and constants that init functions read.

    Raises:
        ImageError: a tensor does not fit its global, or holds values that are not finite.
        LoweringError: a parameter has another shape than the IR says, or an init function is no weight expression.
    """
    target = target_of(module)
    data: dict[str, GlobalData] = {}
    for op in globals_of(module):
        if op.role.data == WEIGHT:
            data[op.sym_name.data] = encode_global(op, module, target, store)
        elif op.role.data == CACHE:
            assert isa(op.type, Buffer)
            data[op.sym_name.data] = GlobalData.filled(math.prod(op.type.get_shape()), 0.0)
    return data


def write_image(data: Mapping[str, GlobalData], module: ModuleOp) -> HbmImage:
    """The image of the globals that have data (those with an init function, and staged inputs), at their addresses.

    Raises:
        ImageError: a global has no address yet, or data of another size.
    """
    segments: list[tuple[int, U8]] = []
    for op in globals_of(module):
        found = data.get(op.sym_name.data)
        if found is None:
            continue
        where = f"global {op.sym_name.data}"
        assert isa(op.type, Buffer)
        count = math.prod(op.type.get_shape())
        if op.address is None:
            raise ImageError("it has no address", where=where, hint="run plan-memory first")
        if found.elements.size != count or found.scales.size != count // MX_BLOCK:
            raise ImageError(f"{found.elements.size} elements are given, it has {count}", where=where)
        address = op.address.value.data
        segments += [(address, found.elements), (address + count, found.scales)]
    return HbmImage(tuple(sorted(segments, key=lambda segment: segment[0])))
