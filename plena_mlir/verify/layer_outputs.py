"""Where the layers of a model end: the ops of plena_tensor whose values leave a layer, and the layer of each time they run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.ir import Operation, OpResult

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import main_function, module_path

LAYER = re.compile(r"^(?P<stem>[^,]*?)\.(?P<index>\d+|\{\})(?=[.,]|$)")
"""The first number in a module path, or the `{}` that a rolled layer has in its place."""


def layer_of(path: str) -> str | None:
    """The layer that a module path lies in, as `model.layers.3` or `model.layers.{}`; None outside of layers."""
    found = LAYER.match(path)
    return None if found is None else f"{found['stem']}.{found['index']}"


class LayerOutputs:
    """The last op on activations of each layer of a module, rolled or not, whose value is what the layer hands on."""

    def __init__(self, module: ModuleOp) -> None:
        # Two loops may hold layers of one stack, before and after a layer that is unlike the others.
        last: dict[tuple[str, Operation | None], Operation] = {}
        for op in main_function(module).walk():
            if isinstance(op, pt.TensorOp) and not isinstance(op, pt.QuantizeOp) and not pt.is_weight(op.result):
                layer = layer_of(module_path(op))
                if layer is not None:
                    last[layer, op.parent_op()] = op
        self._layers: Mapping[Operation, str] = {op: layer for (layer, _), op in last.items()}
        self._times: Counter[Operation] = Counter()

    def leaves(self, op: Operation) -> str | None:
        """The layer whose output `op` has just computed; None for any other op. Call it for every op that runs, in order."""
        layer = self._layers.get(op)
        if layer is None:
            return None
        time = self._times[op]
        self._times[op] += 1
        return layer.replace("{}", str(first_layer(op) + time))


def first_layer(op: Operation) -> int:
    """The index of the layer that the outermost loop around an op starts with; 0 without a loop."""
    outermost: scf.ForOp | None = None
    parent = op.parent_op()
    while parent is not None:
        outermost = parent if isinstance(parent, scf.ForOp) else outermost
        parent = parent.parent_op()
    if outermost is not None and isinstance(outermost.lb, OpResult) and isinstance(outermost.lb.op, arith.ConstantOp):
        value = outermost.lb.op.value
        return value.value.data if isinstance(value, IntegerAttr) else 0
    return 0
