"""The passes of plena-mlir, loaded on first use: one pass per file, the file named like the pass."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from xdsl.passes import ModulePass

_PASSES: dict[str, str] = {
    "simplify-shapes": "tensor.simplify_shapes:SimplifyShapesPass",
    "raise-norms": "tensor.raise_norms:RaiseNormsPass",
    "raise-rope": "tensor.raise_rope:RaiseRopePass",
    "drop-unit-factors": "tensor.drop_unit_factors:DropUnitFactorsPass",
    "raise-attention": "tensor.raise_attention:RaiseAttentionPass",
    "raise-linears": "tensor.raise_linears:RaiseLinearsPass",
    "raise-pooling": "tensor.raise_pooling:RaisePoolingPass",
    "raise-head-norms": "tensor.raise_head_norms:RaiseHeadNormsPass",
    "raise-activations": "tensor.raise_activations:RaiseActivationsPass",
    "raise-eager-attention": "tensor.raise_eager_attention:RaiseEagerAttentionPass",
    "raise-experts": "tensor.raise_experts:RaiseExpertsPass",
    "raise-routing": "tensor.raise_routing:RaiseRoutingPass",
    "raise-row-moves": "tensor.raise_row_moves:RaiseRowMovesPass",
    "split-linears": "tensor.split_linears:SplitLinearsPass",
    "fold-lookups": "tensor.fold_lookups:FoldLookupsPass",
    "fold-scales": "tensor.fold_scales:FoldScalesPass",
    "simplify-arithmetic": "tensor.simplify_arithmetic:SimplifyArithmeticPass",
    "flatten-batch": "tensor.flatten_batch:FlattenBatchPass",
    "fold-norm-weights": "tensor.fold_norm_weights:FoldNormWeightsPass",
    "fold-attention-scale": "tensor.fold_attention_scale:FoldAttentionScalePass",
    "drop-unused-positions": "tensor.drop_unused_positions:DropUnusedPositionsPass",
    "roll-layers": "tensor.roll_layers:RollLayersPass",
    "assign-precision": "tensor.assign_precision:AssignPrecisionPass",
    "verify-canonical": "tensor.verify_canonical:VerifyCanonicalPass",
    "tile-vram": "tensor.tile_vram:TileVramPass",
    "name-stages": "tensor.name_stages:NameStagesPass",
    "convert-tensor-to-tile": "tile.convert_tensor_to_tile:ConvertTensorToTilePass",
    "expand-attention": "tile.expand_attention:ExpandAttentionPass",
    "split-k": "tile.split_k:SplitKPass",
    "expand-matmul": "tile.expand_matmul:ExpandMatmulPass",
    "convert-tile-to-isa": "isa.convert_tile_to_isa:ConvertTileToIsaPass",
    "dedup-config": "isa.dedup_config:DedupConfigPass",
    "hoist-invariants": "isa.hoist_invariants:HoistInvariantsPass",
    "allocate-registers": "isa.allocate_registers:AllocateRegistersPass",
    "legalize-immediates": "isa.legalize_immediates:LegalizeImmediatesPass",
    "limit-loop-instructions": "isa.limit_loop_instructions:LimitLoopInstructionsPass",
    "plan-memory": "tile.plan_memory:PlanMemoryPass",
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
