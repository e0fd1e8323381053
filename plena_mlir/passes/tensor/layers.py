"""Which ops form the layers of a function, and which layers are copies of each other up to their parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

from xdsl.ir import Attribute, Block, Operation, OpResult, SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path

INDEXED = re.compile(r"^(?P<stem>.*?)\.(?P<index>\d+)(?=[.,]|$)")
"""The first number in a module path: `model.layers.3.mlp.up_proj` is layer 3 of `model.layers`."""

Place: TypeAlias = tuple[int, int]
"""Operand `place[1]` of the op at position `place[0]` of a layer."""


@dataclass
class Layer:
    """The ops of one layer in program order.

    Attributes:
        position: where in the layer an op stands.
    """

    stem: str
    index: int
    ops: list[pt.TensorOp] = field(default_factory=list[pt.TensorOp])
    position: dict[Operation, int] = field(default_factory=dict[Operation, int])

    def add(self, op: pt.TensorOp) -> None:
        """Append an op."""
        self.position[op] = len(self.ops)
        self.ops.append(op)

    def where(self, value: SSAValue) -> int | None:
        """The position of the op that defines `value`, or None if it comes from outside."""
        return self.position.get(value.op) if isinstance(value, OpResult) else None

    def general_name(self, name: str) -> str:
        """A parameter or module name with the layer's index replaced by `{}`."""
        prefix = f"{self.stem}.{self.index}"
        if name == prefix or name.startswith(f"{prefix}."):
            return f"{self.stem}.{{}}{name[len(prefix) :]}"
        return name

    def most_together(self, elements: int) -> int:
        """How many layers like this one can be stacked so that no parameter of the stack has more than `elements` elements."""
        own = [op for op in self.ops if isinstance(op, pt.ParameterOp) and self._owns(op.parameter_name.data)]
        return elements // max((prod(pt.type_of(op.result).get_shape()) for op in own), default=1)

    def _owns(self, name: str) -> bool:
        return self.general_name(name) != name

    def kind(self, op: pt.TensorOp) -> tuple[object, ...]:
        """Everything about an op but its operands, with parameter names made general."""
        properties: dict[str, Attribute | str] = {**op.attributes, **op.properties}
        if isinstance(op, pt.ParameterOp):
            properties["name"] = self.general_name(op.parameter_name.data)
        return (type(op), op.result.type, len(op.operands), frozenset(properties.items()))


def _key(op: pt.TensorOp, known: Mapping[Operation, tuple[str, int] | None]) -> tuple[str, int] | None:
    """The stem and index of the layer an op belongs to: an activation by its module path, a weight by the one layer that uses it.

    A weight's own path does not count: a rope table that all layers share carries the path of the first.
    """
    if pt.is_weight(op.result):
        keys = {known.get(use.operation) for use in op.result.uses}
        return keys.pop() if len(keys) == 1 else None
    match = INDEXED.match(module_path(op))
    return None if match is None else (match["stem"], int(match["index"]))


def find_layers(block: Block) -> dict[str, dict[int, Layer]]:
    """The layers of a block by stem and index."""
    keys: dict[Operation, tuple[str, int] | None] = {}
    for op in reversed(list(block.ops)):
        keys[op] = _key(op, keys) if isinstance(op, pt.TensorOp) else None
    found: dict[str, dict[int, Layer]] = {}
    for op in block.ops:
        key = keys[op]
        if key is not None and isinstance(op, pt.TensorOp):
            found.setdefault(key[0], {}).setdefault(key[1], Layer(*key)).add(op)
    return found


def carried_places(layer: Layer, following: Layer) -> dict[Place, int] | None:
    """How `following` continues `layer`, if the two do the same.

    Returns the operands of `following` that read `layer`, each with the position it reads; all other operands from outside must
    be the same value in both. None if the layers differ in any op, property, type or operand.
    """
    if len(layer.ops) != len(following.ops):
        return None
    places: dict[Place, int] = {}
    for position, (op, next_op) in enumerate(zip(layer.ops, following.ops, strict=True)):
        if layer.kind(op) != following.kind(next_op):
            return None
        for number, (value, next_value) in enumerate(zip(op.operands, next_op.operands, strict=True)):
            source, next_source = layer.where(value), following.where(next_value)
            if source is not None or next_source is not None:
                if source != next_source:
                    return None
                continue
            carried = layer.where(next_value)
            if carried is not None:
                places[position, number] = carried
            elif value is not next_value:
                return None
    return places


@dataclass(frozen=True)
class Run:
    """Consecutive layers that one loop can do.

    Attributes:
        layers: at least two, in order.
        places: the operands that take a loop-carried value, with the position in the layer that yields it.
    """

    layers: tuple[Layer, ...]
    places: dict[Place, int]

    @property
    def slots(self) -> list[int]:
        """Positions whose results are carried from layer to layer."""
        return sorted(set(self.places.values()))

    def initial_values(self) -> list[SSAValue] | None:
        """What the first layer reads in place of each slot; None if two of its operands disagree."""
        first, found = self.layers[0], dict[int, SSAValue]()
        for (position, number), slot in self.places.items():
            value = first.ops[position].operands[number]
            if found.setdefault(slot, value) is not value:
                return None
        return [found[slot] for slot in self.slots]

    def is_closed(self) -> bool:
        """Whether nothing outside reads the layers, but for the last one's carried results, after all layers."""
        last = self.layers[-1]
        inside: dict[Operation, int] = {op: number for number, layer in enumerate(self.layers) for op in layer.ops}
        for number, layer in enumerate(self.layers):
            for position, op in enumerate(layer.ops):
                for use in op.result.uses:
                    user = inside.get(use.operation)
                    if user == number or (user == number + 1 and position in self.slots):
                        continue
                    if user is not None or layer is not last or position not in self.slots:
                        return False
                    if not last.ops[-1].is_before_in_block(use.operation):
                        return False
        return True


def find_runs(layers: Iterable[Layer], most_elements: int) -> list[Run]:
    """The longest runs of equal consecutive layers that a loop can replace, from the first layer on.

    A parameter of all layers of a run becomes one tensor: no run is longer than lets it have `most_elements` elements.
    """
    runs: list[Run] = []
    current: list[Layer] = []
    places: dict[Place, int] = {}
    for layer in sorted(layers, key=lambda layer: layer.index):
        found = None
        if current and layer.index == current[-1].index + 1:
            found = carried_places(current[-1], layer)
        if found is not None and (len(current) == 1 or found == places) and len(current) < layer.most_together(most_elements):
            current.append(layer)
            places = found
            continue
        runs += [Run(tuple(current), places)]
        current, places = [layer], {}
    runs += [Run(tuple(current), places)]
    return [run for run in runs if len(run.layers) > 1 and run.initial_values() is not None and run.is_closed()]
