"""The output of a machine beside those of the levels above it: the links of the chain from PyTorch down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from plena_mlir.backend.staging import Array, Inputs, quantized_inputs
from plena_mlir.golden_precision import GoldenPrecision
from plena_mlir.phases import Phases
from plena_mlir.verify.routing import Router, RoutingAgreement, TileChoices, has_routing

if TYPE_CHECKING:
    from plena_mlir.program import CompiledProgram


@dataclass(frozen=True)
class Links:
    """The results to be compared.

    Attributes:
        pairs: by the name of a comparison, a result [rows, features] and its reference.
        routing: how far the experts that a level chooses are those of the machine, by the name of the level.
    """

    pairs: dict[str, tuple[Array, Array]] = field(default_factory=dict[str, tuple[Array, Array]])
    routing: dict[str, RoutingAgreement] = field(default_factory=dict[str, RoutingAgreement])


def run_levels(
    program: CompiledProgram, output: Array, inputs: Inputs, levels: Sequence[str], precision: GoldenPrecision, phases: Phases
) -> Links:
    """Run those of the levels `hf`, `golden` and `tile` that are named, on the `inputs` of the machine's `output` [rows, features].

    Raises:
        ModelImportError: there is no model to run.
        ComparisonError: the levels choose experts for different numbers of rows.
    """
    links = Links()
    routed = has_routing(program.stage("tensor")) and bool(levels)
    choices = TileChoices()
    tile = golden = reference = None
    if "tile" in levels or routed:
        with phases.phase("tile"):
            tile = program.run_tile(inputs, fill=float("nan"), watcher=choices if routed else None)

    def run_tensor(level: str, inputs: Inputs, precision: str | GoldenPrecision, *, force: bool) -> Array:
        """The output of the tensor level; with `force` its rows go to the experts that the machine chose."""
        router = Router(choices.chosen, force=force) if routed else None
        result = program.golden_for(inputs, precision, observe=router)
        if router is not None:
            links.routing[level] = router.agreement
        return result

    own: list[int] = []
    if "hf" in levels:
        with phases.phase("reference"):
            staged = quantized_inputs(program.stage("tile"), inputs)
            reference = program.source_model.reference(staged)
            # After the tensor passes, so that this link answers for them as well as for the import.
            fp32 = run_tensor("hf", staged, "fp32", force=False)
        reference = reference.reshape(-1, reference.shape[-1])
        own, theirs = program.source_model.compared_rows(output.shape[0], reference.shape[0])
        reference = reference[theirs]
        links.pairs["hf_vs_tensor_fp32"] = (fp32[own], reference)
    if "golden" in levels:
        with phases.phase("golden"):
            golden = run_tensor("golden", inputs, precision, force=True)
        if reference is not None:
            links.pairs["golden_vs_hf"] = (golden[own], reference)
        links.pairs["golden_vs_emulator"] = (output, golden)
    if reference is not None:
        links.pairs["hf_vs_emulator"] = (output[own], reference)
    if tile is not None and "tile" in levels:
        links.pairs["tile_vs_emulator"] = (output, tile)
    return links
