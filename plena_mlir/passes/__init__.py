"""The passes of plena-mlir, loaded on first use: one pass per file, the file named like the pass."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from xdsl.passes import ModulePass

_PASSES: dict[str, str] = {
    "convert-tensor-to-tile": "tile.convert_tensor_to_tile:ConvertTensorToTilePass",
    "expand-attention": "tile.expand_attention:ExpandAttentionPass",
    "split-k": "tile.split_k:SplitKPass",
    "expand-matmul": "tile.expand_matmul:ExpandMatmulPass",
}
"""Pass name -> `module:Class`, the module relative to this package."""


def _factory(place: str) -> Callable[[], type[ModulePass]]:
    def load() -> type[ModulePass]:
        module, class_name = place.split(":")
        return getattr(import_module(f"plena_mlir.passes.{module}"), class_name)

    return load


def get_all_passes() -> dict[str, Callable[[], type[ModulePass]]]:
    """A factory per pass name; nothing is imported until a factory is called."""
    return {name: _factory(place) for name, place in _PASSES.items()}
