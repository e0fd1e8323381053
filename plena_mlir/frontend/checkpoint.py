"""Checkpoint folders: safetensors files, memory-mapped, checked whole before anything is read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from torch import nn

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.sources import to_float32, upcast_note
from plena_mlir.frontend.store import Float32Array

INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
FLOAT_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor sits. `dtype` is the safetensors spelling (BF16, F32, ...)."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint folder holds, from the headers of its files."""

    folder: Path
    tensors: Mapping[str, StoredTensor]

    @staticmethod
    def open(folder: Path) -> Checkpoint:
        """Read the headers of one or several safetensors files in `folder`.

        Raises:
            ModelImportError: no weights, a missing or truncated file, a damaged index.
        """
        index = folder / INDEX_NAME
        if index.exists():
            files = _shard_files(index)
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
        return Checkpoint(folder, tensors)

    def match(self, shapes: Mapping[str, tuple[int, ...]], aliases: Mapping[str, str], prefix: str = "") -> CheckpointSource:
        """Find a tensor for every parameter of `shapes`, of its shape and a float type.

        A parameter shared under several names (`aliases`: further name to canonical name) may be stored under any of them, and what
        lies below the module `prefix` also without it: the checkpoint is then one of that module alone.

        Raises:
            ModelImportError: a tensor is missing or does not fit, or shared names hold different values.
        """
        names: dict[str, list[str]] = {name: [name] for name in shapes}
        for alias, name in aliases.items():
            names[name].append(alias)
        keys: dict[str, str] = {}
        for name, expected in shapes.items():
            present = [key for key in names[name] if key in self.tensors]
            if not present and prefix and name.startswith(f"{prefix}."):
                present = [key for key in (name.removeprefix(f"{prefix}."),) if key in self.tensors]
            if not present:
                raise ModelImportError(
                    f"tensor {name} is missing: expected shape {expected}, found none of that name among {len(self.tensors)}",
                    where=str(self.folder),
                    hint="the configuration and the weights do not belong together, or the checkpoint is incomplete",
                )
            for key in present:
                self._check_tensor(key, expected)
            keys[name] = present[0]
            for other in present[1:]:
                self._check_equal(present[0], other)
        return CheckpointSource(self, keys)

    def read(self, key: str) -> Float32Array:
        """The stored tensor `key` as float32."""
        file = self.tensors[key].file
        try:
            with safetensors.safe_open(file, framework="pt") as handle:
                return to_float32(handle.get_tensor(key))
        except (OSError, safetensors.SafetensorError) as error:
            raise ModelImportError(f"cannot read tensor {key}: {error}", where=str(file)) from error

    def load_buffers(self, module: nn.Module) -> None:
        """Give the persistent buffers of `module` their stored values."""
        parameters = dict(module.named_parameters(remove_duplicate=False))
        for name, buffer in module.state_dict().items():
            if name in self.tensors and name not in parameters:
                if self.tensors[name].shape != tuple(buffer.shape):
                    raise ModelImportError(
                        f"buffer {name}: expected shape {tuple(buffer.shape)} from the configuration, "
                        f"found {self.tensors[name].shape}",
                        where=str(self.tensors[name].file),
                    )
                buffer.copy_(torch.from_numpy(self.read(name)))

    def notes(self, keys: Iterable[str], known: Iterable[str]) -> list[str]:
        """What a user should know about the tensors `keys` that are used, and about those that are not among `known`."""
        notes = upcast_note({FLOAT_TYPES[self.tensors[key].dtype] for key in keys})
        unknown = sorted(set(self.tensors) - set(known))
        if unknown:
            notes.append(
                f"{len(unknown)} tensors of the checkpoint have no place in the model and are not used, {unknown[0]} first"
            )
        return notes

    def _check_tensor(self, key: str, expected: tuple[int, ...]) -> None:
        stored = self.tensors[key]
        if stored.shape != expected:
            raise ModelImportError(
                f"tensor {key}: expected shape {expected} from the configuration, found {stored.shape}", where=str(stored.file)
            )
        if stored.dtype not in FLOAT_TYPES:
            raise ModelImportError(
                f"tensor {key}: expected one of {', '.join(FLOAT_TYPES)}, found {stored.dtype}",
                where=str(stored.file),
                hint="quantised checkpoints are not read: save the model in float16, bfloat16 or float32",
            )

    def _check_equal(self, key: str, other: str) -> None:
        if not np.array_equal(self.read(key), self.read(other)):
            raise ModelImportError(
                f"the configuration ties {key} and {other}, but the checkpoint holds different values for them",
                where=str(self.folder),
                hint="set tie_word_embeddings to false in config.json",
            )


@dataclass(frozen=True)
class CheckpointSource:
    """The tensors of a checkpoint under the parameter names of a model."""

    checkpoint: Checkpoint
    keys: Mapping[str, str]

    def read(self, name: str) -> Float32Array:
        return self.checkpoint.read(self.keys[name])


def _shard_files(index: Path) -> list[Path]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_text())["weight_map"]
        files = sorted({index.parent / file for file in weight_map.values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelImportError(f"damaged index: {type(error).__name__}: {error}", where=str(index)) from error
    for file in files:
        if not file.exists():
            missing = [name for name, shard in weight_map.items() if shard == file.name]
            raise ModelImportError(
                f"this file of the checkpoint is missing; it holds {len(missing)} tensors, {missing[0]} first", where=str(file)
            )
    return files


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
