"""From a PyTorch model to `plena_tensor` IR: export, graph import, and the parameter store.

The names below load on first use, because they bring torch with them and tools that only handle IR or machine code must not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plena_mlir.frontend.importer import ImportedModel, import_model
    from plena_mlir.frontend.store import ParameterStore

__all__ = ["ImportedModel", "ParameterStore", "import_model"]


def __getattr__(name: str) -> object:
    if name == "ParameterStore":
        from plena_mlir.frontend.store import ParameterStore

        return ParameterStore
    if name in __all__:
        from plena_mlir.frontend import importer

        return getattr(importer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
