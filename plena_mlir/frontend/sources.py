"""Weights that are in memory or drawn on demand: the sources of a parameter store that need no checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from plena_mlir.frontend.random_weights import Law, random_tensor
from plena_mlir.frontend.store import Float32Array

if TYPE_CHECKING:
    import torch


def to_float32(tensor: torch.Tensor) -> Float32Array:
    """A torch tensor of any float type as a float32 array; a float32 tensor on the CPU is not copied."""
    return tensor.detach().float().cpu().numpy().view()


def upcast_note(dtypes: set[str]) -> list[str]:
    """The note for weights of which some are not float32 (`dtypes` spelt as torch does), or none."""
    narrow = sorted(dtypes - {"float32"})
    if not narrow:
        return []
    return [f"weights stored as {', '.join(narrow)} are upcast to float32, and the reference runs in float32"]


@dataclass(frozen=True)
class StateDictSource:
    """Tensors of a module in memory."""

    tensors: Mapping[str, torch.Tensor]

    def read(self, name: str) -> Float32Array:
        return to_float32(self.tensors[name])


@dataclass(frozen=True)
class RandomSource:
    """Tensors drawn on demand; see `random_weights`."""

    seed: int
    shapes: Mapping[str, tuple[int, ...]]
    laws: Mapping[str, Law]

    def read(self, name: str) -> Float32Array:
        return random_tensor(self.seed, name, self.shapes[name], self.laws[name])
