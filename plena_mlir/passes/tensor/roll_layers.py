"""roll-layers: repeated layers become one loop whose parameters take the layer index."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import ArrayAttr, FusedLoc, IndexType, LocationAttr, ModuleOp, NameLoc
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import name_location
from plena_mlir.errors import LoweringError
from plena_mlir.passes.tensor.layers import Layer, Run, find_layers, find_runs
from plena_mlir.passes.tensor.value_numbers import ValueNumbers


def _general_location(location: LocationAttr, layer: Layer) -> LocationAttr:
    """The location with `{}` in place of the layer's index."""
    match location:
        case NameLoc():
            return name_location(layer.general_name(location.desc.data))
        case FusedLoc():
            assert isinstance(location.locations, ArrayAttr)
            parts = [_general_location(part, layer) for part in location.locations]
            return FusedLoc(ArrayAttr(parts), location.metadata)
        case _:
            return location


def _body(run: Run, carried: list[SSAValue]) -> Block:
    """The loop body: a copy of the first layer on block arguments (layer index, carried values)."""
    layer = run.layers[0]
    block = Block(arg_types=[IndexType(), *(value.type for value in carried)])
    block.args[0].name_hint = "layer"
    arguments = dict(zip(run.slots, block.args[1:], strict=True))
    for slot, value in arguments.items():
        value.name_hint = layer.ops[slot].result.name_hint
    copies: dict[SSAValue, SSAValue] = {}
    for position, op in enumerate(layer.ops):
        operands = [
            arguments[run.places[position, number]] if (position, number) in run.places else copies.get(value, value)
            for number, value in enumerate(op.operands)
        ]
        copy = _copy(op, operands, layer, block.args[0])
        copy.location = _general_location(op.location, layer)
        copy.result.name_hint = op.result.name_hint
        copies[op.result] = copy.result
        block.add_op(copy)
    block.add_op(scf.YieldOp(*(copies[layer.ops[slot].result] for slot in run.slots)))
    return block


def _copy(op: pt.TensorOp, operands: list[SSAValue], layer: Layer, index: SSAValue) -> pt.TensorOp:
    """The op on other operands; a parameter of the layer becomes the parameter of the layer `index`."""
    if isinstance(op, pt.ParameterOp):
        name = layer.general_name(op.parameter_name.data)
        return pt.ParameterOp(name, pt.type_of(op.result), index if name != op.parameter_name.data else None)
    return type(op).create(operands=operands, result_types=[op.result.type], properties=dict(op.properties))


def _roll(run: Run) -> None:
    """Replace the layers of a run by a loop, where the last of their ops stands."""
    carried = run.initial_values()
    assert carried is not None
    first, last = run.layers[0], run.layers[-1]
    body = _body(run, carried)
    lower, upper, step = bounds = [
        arith.ConstantOp.from_int_and_width(value, IndexType()) for value in (first.index, last.index + 1, 1)
    ]
    for bound, hint in zip(bounds, ("first_layer", "layers_end", "one"), strict=True):
        bound.result.name_hint = hint
    loop = scf.ForOp(lower, upper, step, carried, Region(body))
    last_op, block = last.ops[-1], last.ops[-1].parent
    assert block is not None
    location = name_location(f"{first.stem}.{{}}")
    for op in (*bounds, loop, body.last_op):
        assert isinstance(op, Operation)
        op.location = location
    block.insert_ops_after([*bounds, loop], last_op)
    for slot, result in zip(run.slots, loop.results, strict=True):
        result.name_hint = last.ops[slot].result.name_hint
        last.ops[slot].result.replace_all_uses_with(result)
    for layer in reversed(run.layers):
        for op in reversed(layer.ops):
            op.detach()
            op.erase()


@dataclass(frozen=True)
class RollLayersPass(ModulePass):
    """Turn runs of layers that differ in nothing but the layer index of their parameters into `scf.for` over that index.

    Layers are told apart by the module paths of their ops and compared op by op; whatever differs stays as it is. An independent
    value numbering checks that the function still computes the same.

    Args:
        most_elements: the largest stack of one parameter over the layers of a loop, beyond which the layers become several loops.
            Offsets into a tensor in HBM are 32-bit words; the default leaves room for padding.
    """

    name = "roll-layers"
    most_elements: int = 1 << 30

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for function in op.body.block.ops:
            if isinstance(function, func.FuncOp):
                self._roll_function(function)

    def _roll_function(self, function: func.FuncOp) -> None:
        numbers = ValueNumbers()
        before = numbers.of_results(function)
        for layers in find_layers(function.body.block).values():
            for run in find_runs(layers.values(), self.most_elements):
                _roll(run)
        if numbers.of_results(function) != before:
            raise LoweringError(
                "rolling the layers changed what is computed: a bug of roll-layers", where=f"@{function.sym_name.data}"
            )
