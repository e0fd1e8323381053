"""The passes from canonical plena_tensor to unit-level plena_tile, in order."""

from __future__ import annotations

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from plena_mlir.passes.tile.convert_tensor_to_tile import ConvertTensorToTilePass, StrategyName
from plena_mlir.passes.tile.expand_attention import ExpandAttentionPass
from plena_mlir.passes.tile.expand_matmul import ExpandMatmulPass
from plena_mlir.passes.tile.plan_memory import PlanMemoryPass
from plena_mlir.passes.tile.split_k import SplitKPass


def tile_passes(*, strategy: StrategyName = "auto", verify: bool = False) -> tuple[ModulePass, ...]:
    """From canonical plena_tensor to unit-level plena_tile with addresses.

    Args:
        strategy: the matrix strategy to force wherever it is legal.
        verify: check the memory plan with its independent validator.
    """
    return (
        ConvertTensorToTilePass(strategy),
        ExpandAttentionPass(),
        SplitKPass(),
        ExpandMatmulPass(),
        PlanMemoryPass(verify=verify),
    )


def lower_to_tiles(context: Context, module: ModuleOp, *, strategy: StrategyName = "auto") -> None:
    """Run the passes on a module."""
    for step in tile_passes(strategy=strategy):
        step.apply(context, module)
