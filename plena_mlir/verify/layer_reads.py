"""An independent check of rolled layers, in the form that the machine runs: iteration i reads the parameters of layer i.

roll-layers itself is checked by a value numbering of plena_tensor. What a loop over layers became in plena_tile is checked here:
each iteration reads the part of a stacked weight that belongs to its layer and no other, all iterations read the same elements of
it, and no layer of the imported model is left out. It shares no code with the lowering.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
from xdsl.dialects import arith, func
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import BlockArgument

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError
from plena_mlir.interpreters.tile_memory import layout_of
from plena_mlir.verify.transfers import I64, Transfer, globals_by_name, integer, iterations, remote_of, tensor_of, transfers_of

_BUG = "this is a bug; please report it"


def check_layer_reads(imported: ModuleOp, module: ModuleOp) -> None:
    """Every loop over layers of a plena_tile module reads each layer's parameters in that layer's iteration.

    Args:
        imported: the program as it was imported, where every layer has operations of its own.
        module: the plena_tile form.

    Raises:
        LoweringError: an iteration reads another layer, or another part of its layer than the first did, or a layer is left out.
    """
    tensors = globals_by_name(module)
    functions = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, func.FuncOp)}
    parameters = {name: list(_parameters(functions, op)) for name, op in tensors.items() if _is_stacked(op)}
    # What is stacked by blocks of rows (rope tables, positions) has no parameter of a layer.
    layers: dict[str, set[int]] = {
        name: set() for name, found in parameters.items() if any(first is not None for _, first in found)
    }
    for op in transfers_of(module):
        stack = tensor_of(remote_of(op), tensors)
        if stack.sym_name.data in layers:
            layers[stack.sym_name.data].update(_layers_read(op, stack))
    _check_all_read(imported, module, layers)


def _is_stacked(op: tile.GlobalOp) -> bool:
    layout = layout_of(op)
    return op.role.data == tile.WEIGHT and layout is not None and layout.stacked


def _layers_read(op: Transfer, stack: tile.GlobalOp) -> list[int]:
    """The layers whose parameters a transfer reads, one per iteration of the loop over them."""
    assert tile.is_buffer(stack.type)
    size = math.prod(stack.type.get_shape()[1:])
    access = tile.resolve(remote_of(op))
    columns = iterations(op, {value for value, _ in access.terms if isinstance(value, BlockArgument)})
    place: I64 = np.full(max((len(column) for column in columns.values()), default=1), access.constant, np.int64)
    for value, factor in access.terms:
        # A row that the input names, of an expert for instance, counts from the first.
        place = place + factor * (columns[value] if value in columns else integer(value) or 0)
    if not columns:
        return [int(place[0]) // size]
    layer, within = next(iter(columns.values())), place % size
    wrong = np.flatnonzero(place // size != layer)
    if wrong.size:
        raise LoweringError(
            f"iteration {int(layer[wrong[0]])} of the loop over layers reads layer {int(place[wrong[0]]) // size} of "
            f"{stack.sym_name.data}, in {wrong.size} of {place.size} transfers",
            where=module_path(op) or None,
            hint=_BUG,
        )
    found = list(dict.fromkeys(layer.tolist()))
    parts = {number: np.sort(within[layer == number]) for number in found}
    for number in found[1:]:
        if not np.array_equal(parts[number], parts[found[0]]):
            raise LoweringError(
                f"layers {found[0]} and {number} read different elements of {stack.sym_name.data}",
                where=module_path(op) or None,
                hint=_BUG,
            )
    return found


def _check_all_read(imported: ModuleOp, module: ModuleOp, layers: dict[str, set[int]]) -> None:
    """A parameter that is stacked for some layers is read for every layer in which the imported program names it."""
    named = {op.parameter_name.data for op in imported.walk() if isinstance(op, tensor.ParameterOp)}
    read: dict[str, set[str]] = defaultdict(set)
    functions = {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, func.FuncOp)}
    alone: set[str] = set()
    for name, op in globals_by_name(module).items():
        for parameter, first in _parameters(functions, op):
            if first is None:
                alone.add(parameter)
            elif name in layers:
                read[parameter] |= {parameter.format(first + index) for index in layers[name]}
    for parameter, found in read.items():
        stem, _, rest = parameter.partition("{}")
        missing = sorted(
            name
            for name in named - found - alone
            if name.startswith(stem) and name.endswith(rest) and name[len(stem) : len(name) - len(rest)].isdigit()
        )
        if missing:
            raise LoweringError(f"no iteration reads {missing[0]}; {len(missing)} layers are left out", where=parameter, hint=_BUG)


def _parameters(functions: dict[str, func.FuncOp], op: tile.GlobalOp) -> Iterator[tuple[str, int | None]]:
    """The parameters that a tensor in HBM is made of, and the layer whose parameter lies first; None for one of no layer."""
    if op.init is None:
        return
    for inner in functions[op.init.string_value()].walk():
        if isinstance(inner, tensor.ParameterOp):
            layer = inner.layer
            index = tensor.defined_by(layer, arith.AddiOp)
            yield inner.parameter_name.data, None if layer is None else 0 if index is None else integer(index.rhs) or 0
