"""The dialects of plena-mlir, loaded on first use."""

from __future__ import annotations

from collections.abc import Callable

from xdsl.ir import Dialect


def get_all_dialects() -> dict[str, Callable[[], Dialect]]:
    """A factory per dialect name; nothing is imported until a factory is called."""

    def get_plena() -> Dialect:
        from plena_mlir.dialects.plena import Plena

        return Plena

    def get_plena_isa() -> Dialect:
        from plena_mlir.dialects.plena_isa import PlenaIsa

        return PlenaIsa

    def get_plena_tensor() -> Dialect:
        from plena_mlir.dialects.plena_tensor import PlenaTensor

        return PlenaTensor

    def get_plena_tile() -> Dialect:
        from plena_mlir.dialects.plena_tile import PlenaTile

        return PlenaTile

    return {
        "plena": get_plena,
        "plena_isa": get_plena_isa,
        "plena_tensor": get_plena_tensor,
        "plena_tile": get_plena_tile,
    }
