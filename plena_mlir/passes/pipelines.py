"""The named pipelines: which passes run, in which order; `plena-opt`, the `plena` command and the Python API share them."""

from __future__ import annotations

from typing import Literal

from xdsl.passes import ModulePass

from plena_mlir.passes.isa.allocate_registers import AllocateRegistersPass
from plena_mlir.passes.isa.convert_tile_to_isa import ConvertTileToIsaPass
from plena_mlir.passes.isa.dedup_config import DedupConfigPass
from plena_mlir.passes.isa.hoist_invariants import HoistInvariantsPass
from plena_mlir.passes.isa.legalize_immediates import LegalizeImmediatesPass
from plena_mlir.passes.isa.limit_loop_instructions import LimitLoopInstructionsPass
from plena_mlir.passes.tensor.assign_precision import AssignPrecisionPass
from plena_mlir.passes.tensor.drop_unit_factors import DropUnitFactorsPass
from plena_mlir.passes.tensor.drop_unused_positions import DropUnusedPositionsPass
from plena_mlir.passes.tensor.flatten_batch import FlattenBatchPass
from plena_mlir.passes.tensor.fold_attention_scale import FoldAttentionScalePass
from plena_mlir.passes.tensor.fold_lookups import FoldLookupsPass
from plena_mlir.passes.tensor.fold_norm_weights import FoldNormWeightsPass
from plena_mlir.passes.tensor.fold_scales import FoldScalesPass
from plena_mlir.passes.tensor.masks import ConstantStore
from plena_mlir.passes.tensor.name_stages import NameStagesPass
from plena_mlir.passes.tensor.raise_activations import RaiseActivationsPass
from plena_mlir.passes.tensor.raise_attention import RaiseAttentionPass
from plena_mlir.passes.tensor.raise_eager_attention import RaiseEagerAttentionPass
from plena_mlir.passes.tensor.raise_experts import RaiseExpertsPass
from plena_mlir.passes.tensor.raise_head_norms import RaiseHeadNormsPass
from plena_mlir.passes.tensor.raise_linears import RaiseLinearsPass
from plena_mlir.passes.tensor.raise_norms import RaiseNormsPass
from plena_mlir.passes.tensor.raise_pooling import RaisePoolingPass
from plena_mlir.passes.tensor.raise_rope import RaiseRopePass
from plena_mlir.passes.tensor.raise_routing import RaiseRoutingPass
from plena_mlir.passes.tensor.raise_row_moves import RaiseRowMovesPass
from plena_mlir.passes.tensor.roll_layers import RollLayersPass
from plena_mlir.passes.tensor.simplify_arithmetic import SimplifyArithmeticPass
from plena_mlir.passes.tensor.simplify_shapes import SimplifyShapesPass
from plena_mlir.passes.tensor.split_linears import SplitLinearsPass
from plena_mlir.passes.tensor.tile_vram import TileVramPass
from plena_mlir.passes.tensor.verify_canonical import VerifyCanonicalPass
from plena_mlir.passes.tile.convert_tensor_to_tile import StrategyName
from plena_mlir.passes.tile.lower import tile_passes

Logits = Literal["all", "last"]


def tensor_pipeline(
    store: ConstantStore | None = None, *, logits: Logits = "all", roll_layers: bool = True
) -> tuple[ModulePass, ...]:
    """From imported plena_tensor to its canonical form.

    Args:
        store: where large mask constants are read; may be missing if every mask is small enough to be in the IR.
        logits: return the rows of all positions, or the last row only.
        roll_layers: turn repeated layers into a loop; off, every layer stays as it was imported.
    """
    return (
        SimplifyShapesPass(),
        RaiseLinearsPass(),
        FoldLookupsPass(store),
        RaiseNormsPass(),
        RaiseHeadNormsPass(),
        RaiseActivationsPass(),
        RaiseRopePass(),
        DropUnitFactorsPass(),
        RaiseEagerAttentionPass(),
        RaiseExpertsPass(),
        RaiseRoutingPass(),
        SimplifyShapesPass(),
        RaiseAttentionPass(store),
        RaisePoolingPass(),
        SplitLinearsPass(),
        RaiseRowMovesPass(),
        FlattenBatchPass(),
        SimplifyArithmeticPass(),
        FoldScalesPass(),
        FoldNormWeightsPass(),
        FoldAttentionScalePass(),
        *((DropUnusedPositionsPass(),) if logits == "last" else ()),
        *((RollLayersPass(),) if roll_layers else ()),
        AssignPrecisionPass(),
        VerifyCanonicalPass(),
    )


def isa_passes(*, verify: bool = False) -> tuple[ModulePass, ...]:
    """From unit-level plena_tile, its buffers placed, to plena_isa on physical registers.

    Args:
        verify: check register allocation with its independent validator.
    """
    return (
        ConvertTileToIsaPass(),
        DedupConfigPass(),
        HoistInvariantsPass(),
        AllocateRegistersPass(verify),
        LegalizeImmediatesPass(),
        LimitLoopInstructionsPass(),
    )


def tile_pipeline(*, strategy: StrategyName = "auto", verify: bool = False) -> tuple[ModulePass, ...]:
    """From canonical plena_tensor to unit-level plena_tile with addresses.

    Args:
        strategy: the matrix strategy to force wherever it is legal.
        verify: check the memory plan with its independent validator.
    """
    return (TileVramPass(strategy), NameStagesPass(), *tile_passes(strategy=strategy, verify=verify))
