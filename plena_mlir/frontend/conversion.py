"""Stored tensors to parameters: the renames and merges that transformers declares for a model, for one parameter at a time.

A checkpoint may hold other tensors than the module has parameters: the matrices of each expert by themselves where the module has
one for all, or names of an older version. transformers declares how one becomes the other, and converts a whole checkpoint when it
loads it. Here its own functions say at once which stored tensors become which parameter, and of what shape (on tensors without
memory); the tensors themselves are read and converted when somebody asks for the parameter.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from transformers import PreTrainedModel
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.core_model_loading import (
    WeightConverter,
    WeightRenaming,
    dot_natural_key,
    rename_source_key,
    revert_weight_conversion,
)

from plena_mlir.frontend.skeleton import first_line
from plena_mlir.frontend.sources import to_float32
from plena_mlir.frontend.store import Float32Array

Shape = tuple[int, ...]
ReadTensors = Callable[[Sequence[str]], Mapping[str, torch.Tensor]]


@dataclass(frozen=True)
class Group:
    """Stored tensors that become one parameter, or several, together.

    Attributes:
        first: the name of the parameter, or of the first of them.
        pieces: (source pattern of the converter, stored name) of each tensor, in the order in which they are put together.
        converter: what makes the parameters; None if the one tensor is the parameter. Several tensors without a converter are
            several values for one parameter.
    """

    first: str
    pieces: tuple[tuple[str, str], ...]
    converter: WeightConverter | None

    @property
    def stored(self) -> list[str]:
        """The names of the stored tensors."""
        return [name for _, name in self.pieces]

    @property
    def is_broken(self) -> bool:
        """Whether the numbers of pieces that are put together in a list are others than 0, 1, 2, ..."""
        for pattern in dict.fromkeys(pattern for pattern, _ in self.pieces):
            names = [name.split(".") for source, name in self.pieces if source == pattern]
            for column in zip(*names, strict=False):
                numbers = [int(part) for part in column if part.isdigit()]
                if len(set(column)) > 1 and len(numbers) == len(column) and numbers != list(range(len(numbers))):
                    return True
        return False

    def convert(self, module: PreTrainedModel, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The parameters that the stored `tensors` make. The dictionary is emptied, so that each tensor goes when it is used."""
        if self.converter is None:
            return {self.first: tensors.pop(self.pieces[0][1])}
        converter = copy.deepcopy(self.converter)
        for pattern, name in self.pieces:
            converter.add_tensor(self.first, name, pattern, cast(Any, tensors.pop(name)))  # a tensor is what a future would give
        made: dict[str, Any] = converter.convert(self.first, model=module, config=module.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


@dataclass(frozen=True)
class Conversion:
    """Which stored tensors become which parameters and buffers of `module`.

    Attributes:
        groups: by the name of every parameter and persistent buffer that they make.
        shapes: of what they make, by the same names, where the conversion succeeds.
        problems: why it does not, by the name of the first parameter.
        unplaced: stored tensors that are not in the module, with the names they would have there.
    """

    module: PreTrainedModel
    groups: Mapping[str, Group]
    shapes: Mapping[str, Shape]
    problems: Mapping[str, str]
    unplaced: Mapping[str, str]

    @staticmethod
    def of(module: PreTrainedModel, stored: Mapping[str, Shape]) -> Conversion:
        """The conversion of tensors with the names and shapes `stored` for a module whose parameters may be on the meta device."""
        groups: dict[str, Group] = {}
        shapes: dict[str, Shape] = {}
        problems: dict[str, str] = {}
        collected, unplaced = _collect(module, stored)
        for group in collected:
            empty = {name: torch.empty(stored[name], device="meta") for name in group.stored}
            try:
                made = {name: tuple(tensor.shape) for name, tensor in group.convert(module, empty).items()}
            except Exception as error:  # what the operations of transformers raise on tensors that do not fit together
                problems[group.first] = f"{type(error).__name__}: {first_line(error)}"
                made = {}
            groups |= dict.fromkeys(made or [group.first], group)
            shapes |= made
        return Conversion(module, groups, shapes, problems, unplaced)

    def read(self, name: str, read: ReadTensors) -> Float32Array:
        """The parameter `name` as float32, from the stored tensors that make it and no others.

        They are put together in their stored type, so that only the result takes four bytes for each element.
        """
        group = self.groups[name]
        value = group.convert(self.module, dict(read(group.stored)))[name]
        if value.untyped_storage().nbytes() > value.nbytes:  # part of a tensor: the rest of it need not stay
            value = value.clone()
        return to_float32(value.contiguous())

    def saved(self, name: str, shape: Shape) -> list[str]:
        """The tensors as which transformers would save the parameter `name` of `shape`."""
        try:
            return list(revert_weight_conversion(self.module, {name: torch.empty(shape, device="meta")}))
        except Exception:  # not every conversion is undone for one parameter of several
            return [name]

    def absent(self, saved: Sequence[str], stored: Container[str]) -> list[str]:
        """Those of the `saved` names that are not among the `stored`, with or without the prefix of the model below the head."""
        prefix = f"{self.module.base_model_prefix}."
        return [key for key in saved if not any(form in stored for form in (key, key.removeprefix(prefix), prefix + key))]


def unplaced_tensors(module: PreTrainedModel, stored: Mapping[str, Shape]) -> list[str]:
    """The stored tensors that are neither in `module` nor one of the buffers that it computes."""
    buffers = {name for name, _ in module.named_buffers()}
    prefix = f"{module.base_model_prefix}."
    buffers |= {name.removeprefix(prefix) for name in buffers}
    return sorted(key for key, name in _collect(module, stored)[1].items() if name not in buffers)


def _collect(module: PreTrainedModel, stored: Mapping[str, Shape]) -> tuple[list[Group], dict[str, str]]:
    """The groups of stored tensors, and those without a place, in the order and by the rules by which transformers loads them."""
    mapping = get_model_conversion_mapping(module)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    converter_of = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    present: dict[str, torch.Tensor] = module.state_dict()
    prefix = module.base_model_prefix
    pieces: dict[str, list[tuple[str, str]]] = {}
    unplaced: dict[str, str] = {}
    for key in sorted(stored, key=dot_natural_key):
        name, pattern = rename_source_key(key, renamings, converters, prefix, present)
        if name not in present and key in present:  # as it is already called, which a rename took for an older name
            name, pattern = rename_source_key(key, [], [], prefix, present)
        if name in present:
            pieces.setdefault(name, []).append((pattern or "", key))
        else:
            unplaced[key] = name
    groups: list[Group] = []
    for name, found in pieces.items():
        converted = all(pattern for pattern, _ in found)
        groups.append(Group(name, tuple(found), converter_of[found[0][0]] if converted else None))
    return groups, unplaced
