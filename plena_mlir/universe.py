"""What plena-mlir offers to xDSL's own tools: its dialects, passes and output targets.

The entry point `plena_mlir` of the group `xdsl.universe` names PLENA_UNIVERSE, so that `xdsl-opt` and `plena-opt` find
the same things in the same place.
"""

from __future__ import annotations

from collections.abc import Callable

from xdsl.universe import Universe
from xdsl.utils.target import Target

from plena_mlir.dialects import get_all_dialects
from plena_mlir.passes import get_all_passes


def _get_plena_asm() -> type[Target]:
    from plena_mlir.backend.asm_target import PlenaAsmTarget

    return PlenaAsmTarget


def get_all_targets() -> dict[str, Callable[[], type[Target]]]:
    """A factory per output format."""
    return {"plena-asm": _get_plena_asm}


PLENA_UNIVERSE = Universe(
    all_dialects=get_all_dialects(),
    all_passes=get_all_passes(),
    all_targets=get_all_targets(),
)
