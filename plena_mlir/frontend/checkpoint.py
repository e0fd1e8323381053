"""Checkpoint folders: safetensors files, memory-mapped, checked whole before anything is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from transformers import PreTrainedModel

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.conversion import Conversion, Group, Shape, unplaced_tensors
from plena_mlir.frontend.sources import upcast_note
from plena_mlir.frontend.store import Float32Array

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
FLOAT_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
QUANTISED_HINT = "quantised checkpoints are not read: save the model in float16, bfloat16 or float32"


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor sits. `dtype` is the safetensors spelling (BF16, F32, ...)."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds, from the headers of its files.

    Attributes:
        listed: the file that should hold each tensor, as an index says.
    """

    folder: Path
    tensors: Mapping[str, StoredTensor]
    listed: Mapping[str, Path]

    @staticmethod
    def open(folder: Path) -> Checkpoint:
        """Read the headers of one or several safetensors files in `folder`.

        Raises:
            ModelImportError: no weights, a missing or truncated file, a damaged index.
        """
        index = folder / INDEX_NAME
        listed: dict[str, Path] = {}
        if index.exists():
            listed = _listed_files(index)
            files = sorted(set(listed.values()))
        elif (folder / SINGLE_NAME).exists():
            files = [folder / SINGLE_NAME]
        else:
            raise ModelImportError(
                f"no {SINGLE_NAME} and no {INDEX_NAME} in this folder",
                where=str(folder),
                hint="other weight formats are not read: save the model with save_pretrained; "
                "to import the shape alone give its config.json",
            )
        tensors: dict[str, StoredTensor] = {}
        for file in files:
            tensors.update(_read_header(file))
        return Checkpoint(folder, tensors, listed)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shape of every stored tensor."""
        return {name: tensor.shape for name, tensor in self.tensors.items()}

    def match(self, module: PreTrainedModel, shapes: Mapping[str, Shape], aliases: Mapping[str, str]) -> CheckpointSource:
        """Find the stored tensors for every parameter of `shapes`, of its shape and a float type.

        A parameter shared under several names (`aliases`: further name to canonical name) may be stored under any of them.

        Raises:
            ModelImportError: a tensor is missing or does not fit, or one parameter has different values.
        """
        source = CheckpointSource(self, Conversion.of(module, self.shapes), {name: name for name in shapes})
        groups = source.conversion.groups
        names: dict[str, list[str]] = {name: [name] for name in shapes}
        for alias, name in aliases.items():
            names[name].append(alias)
        keys: dict[str, str] = {}
        for name, expected in shapes.items():
            present = [key for key in names[name] if key in groups]
            if not present:
                raise self._missing(source.conversion, name, expected)
            for key in present:
                self._check_group(source.conversion, key, expected)
            keys[name] = present[0]
            for other in present[1:]:
                if not np.array_equal(source.read_as(present[0]), source.read_as(other)):
                    raise ModelImportError(
                        f"the configuration ties {present[0]} and {other}, but the checkpoint holds different values for them",
                        where=str(self.folder),
                        hint="set tie_word_embeddings to false in config.json",
                    )
        return CheckpointSource(self, source.conversion, keys)

    def read(self, keys: Sequence[str]) -> dict[str, torch.Tensor]:
        """The stored tensors `keys` in their own types, each file opened once."""
        found: dict[str, torch.Tensor] = {}
        for file in dict.fromkeys(self.tensors[key].file for key in keys):
            try:
                with safetensors.safe_open(file, framework="pt") as handle:
                    found |= {key: handle.get_tensor(key) for key in keys if self.tensors[key].file == file}
            except (OSError, safetensors.SafetensorError) as error:
                raise ModelImportError(f"cannot read tensors {', '.join(keys)}: {error}", where=str(file)) from error
        return found

    def notes(self, keys: Iterable[str], module: PreTrainedModel) -> list[str]:
        """What a user should know about the tensors `keys` that are used, and about those that are not in the whole `module`."""
        notes = upcast_note({FLOAT_TYPES[self.tensors[key].dtype] for key in keys})
        unknown = unplaced_tensors(module, self.shapes)
        if unknown:
            notes.append(
                f"{len(unknown)} tensors of the checkpoint have no place in the model and are not used, {unknown[0]} first"
            )
        return notes

    def _missing(self, conversion: Conversion, name: str, expected: Shape) -> ModelImportError:
        """The error for the parameter `name` of which there is nothing, or too little."""
        saved = conversion.saved(name, expected)
        missing = conversion.absent(saved, self.tensors) or [name]
        if missing == [name]:
            what = f"tensor {name} is missing: expected shape {expected}, found none of that name among {len(self.tensors)}"
        else:
            others = f" and {len(missing) - 1} more are" if len(missing) > 1 else " is"
            what = (
                f"tensor {missing[0]}{others} missing: the parameter {name} of shape {expected} is made of {len(saved)}, "
                f"found {len(saved) - len(missing)} of them among {len(self.tensors)}"
            )
        return ModelImportError(
            what,
            where=str(self.listed.get(missing[0], self.folder)),
            hint="the configuration and the weights do not belong together, or the checkpoint is incomplete",
        )

    def _check_group(self, conversion: Conversion, name: str, expected: Shape) -> None:
        """Whether what is stored makes the parameter `name` of the shape `expected`."""
        group = conversion.groups[name]
        if group.converter is None:
            self._check_one_value(group)
        for key in group.stored:
            stored = self.tensors[key]
            if group.converter is None and stored.shape != expected:
                raise ModelImportError(
                    f"tensor {key}: expected shape {expected} from the configuration, found {stored.shape}", where=str(stored.file)
                )
            if stored.dtype not in FLOAT_TYPES:
                raise ModelImportError(
                    f"tensor {key}: expected one of {', '.join(FLOAT_TYPES)}, found {stored.dtype}",
                    where=str(stored.file),
                    hint=QUANTISED_HINT,
                )
        if group.converter is None:
            return
        shape = conversion.shapes.get(name)
        suspect = shape != expected or group.is_broken
        if suspect and conversion.absent(conversion.saved(name, expected), self.tensors):
            raise self._missing(conversion, name, expected)
        if shape == expected:
            return
        result = conversion.problems.get(name, f"found shape {shape}")
        raise ModelImportError(
            f"parameter {name}: expected shape {expected} from the configuration out of the {len(group.pieces)} tensors "
            f"{group.stored[0]} to {group.stored[-1]}, {result}",
            where=str(self.tensors[group.stored[0]].file),
        )

    def _check_one_value(self, group: Group) -> None:
        first = group.stored[0]
        for other in group.stored[1:]:
            values = self.read([first, other])
            if not torch.equal(values[first], values[other]):  # nor if their shapes differ
                raise ModelImportError(
                    f"tensors {first} and {other} are both the parameter {group.first}, with different values",
                    where=str(self.tensors[other].file),
                    hint="leave one of them out of the checkpoint",
                )


@dataclass(frozen=True)
class CheckpointSource:
    """The tensors of a checkpoint under the parameter names of a model.

    Attributes:
        names: of each parameter, the one of its names under which it is stored.
    """

    checkpoint: Checkpoint
    conversion: Conversion
    names: Mapping[str, str]

    def read(self, name: str) -> Float32Array:
        return self.read_as(self.names[name])

    def read_as(self, name: str) -> Float32Array:
        """The values stored under one of a parameter's names, or those of a buffer."""
        return self.conversion.read(name, self.checkpoint.read)

    @property
    def stored(self) -> list[str]:
        """The stored tensors that the parameters are made of."""
        return [key for name in self.names.values() for key in self.conversion.groups[name].stored]

    def load_buffers(self) -> None:
        """Give the persistent buffers of the module their stored values."""
        module = self.conversion.module
        parameters = dict(module.named_parameters(remove_duplicate=False))
        for name, buffer in module.state_dict().items():
            if name in parameters or name not in self.conversion.groups:
                continue
            shape = self.conversion.shapes.get(name)
            if shape != tuple(buffer.shape):
                file = self.checkpoint.tensors[self.conversion.groups[name].stored[0]].file
                raise ModelImportError(
                    f"buffer {name}: expected shape {tuple(buffer.shape)} from the configuration, found {shape}", where=str(file)
                )
            buffer.copy_(torch.from_numpy(self.read_as(name)))


def _listed_files(index: Path) -> dict[str, Path]:
    """The file of each tensor."""
    try:
        weight_map: dict[str, str] = json.loads(index.read_text())["weight_map"]
        listed = {name: index.parent / file for name, file in weight_map.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelImportError(f"damaged index: {type(error).__name__}: {error}", where=str(index)) from error
    for file in sorted(set(listed.values())):
        if not file.exists():
            missing = [name for name, shard in weight_map.items() if shard == file.name]
            raise ModelImportError(
                f"this file of the checkpoint is missing; it holds {len(missing)} tensors, {missing[0]} first", where=str(file)
            )
    return listed


def _read_header(file: Path) -> dict[str, StoredTensor]:
    try:
        with safetensors.safe_open(file, framework="pt") as handle:
            slices = {str(name): handle.get_slice(name) for name in handle.keys()}
            return {name: StoredTensor(file, tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelImportError(
            f"cannot read this file of {file.stat().st_size} bytes: {error}",
            where=str(file),
            hint="it is truncated or not a safetensors file",
        ) from error
