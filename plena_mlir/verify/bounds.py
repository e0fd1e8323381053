"""The chain of comparisons from PyTorch to the machine, and the bound that each link must keep.

    hf_vs_tensor_fp32    HF module == tensor interpreter in fp32:          max_rel <= 1e-4
    golden_vs_emulator   hardware golden ~ machine, at most two layers:    rel_rms <= 0.05 and <= 0.4 x golden_vs_hf
                         hardware golden ~ machine, deeper:                rel_rms <= 0.5 x golden_vs_hf
    tile_vs_emulator     tile interpreter == machine:                      every bit
    isa_vs_emulator      isa interpreter == engine:                        every bit
    routing              golden's choices ~ the machine's:                 those that differ nearly tie

`golden_vs_hf` and `hf_vs_emulator` measure what the number formats cost, which is no error of the compiler, and have
no bound of their own. Two equally valid placements of bf16 rounding differ by 2 to 4 % after two layers, because
quantising K and V doubles any difference of one unit in the last place: a tighter bound on `golden_vs_emulator` could
only be met by bending the golden.

Where rows choose experts, the golden of `golden_vs_emulator` is given the machine's choices, and its own are compared by
themselves: one may differ where two logits nearly tie, no farther apart than four times what a value may be off in RMS.
"""

from __future__ import annotations

from collections.abc import Mapping

from plena_mlir.verify.compare import Comparison
from plena_mlir.verify.routing import RoutingAgreement

COMPARISONS: tuple[str, ...] = (
    "hf_vs_tensor_fp32",
    "golden_vs_hf",
    "golden_vs_emulator",
    "hf_vs_emulator",
    "tile_vs_emulator",
    "isa_vs_emulator",
)
"""The names a report may hold. The reference is HF where HF takes part, else the side named first."""

IMPORT_MAX_REL = 1e-4
GOLDEN_REL_RMS = 0.05
GOLDEN_RATIO_SHALLOW = 0.4
GOLDEN_RATIO_DEEP = 0.5
SHALLOW_LAYERS = 2
ROUTING_GAP = 4 * GOLDEN_REL_RMS


def broken_bounds(
    comparisons: Mapping[str, Comparison],
    *,
    layers: int,
    hardware_golden: bool = True,
    routing: Mapping[str, RoutingAgreement] | None = None,
) -> tuple[str, ...]:
    """One sentence per bound that `comparisons` breaks; empty if all hold.

    A bound that needs a comparison which is not there is not checked.

    Args:
        comparisons: from the names of `COMPARISONS`.
        layers: depth of the model, which decides how much rounding may accumulate.
        routing: how the choices of experts agree, by the name of the level that the machine is compared with.
        hardware_golden: whether the golden imitates all of the machine; one that does not differs from it by intent.
    """
    broken: list[str] = []
    imported = comparisons.get("hf_vs_tensor_fp32")
    if imported is not None and imported.max_rel > IMPORT_MAX_REL:
        broken.append(f"hf_vs_tensor_fp32: max_rel {imported.max_rel:.3g} exceeds {IMPORT_MAX_REL:g}")

    golden = comparisons.get("golden_vs_emulator")
    if golden is not None and hardware_golden:
        shallow = layers <= SHALLOW_LAYERS
        if shallow and golden.rel_rms > GOLDEN_REL_RMS:
            broken.append(f"golden_vs_emulator: rel_rms {golden.rel_rms:.3g} exceeds {GOLDEN_REL_RMS:g}")
        formats = comparisons.get("golden_vs_hf")
        ratio = GOLDEN_RATIO_SHALLOW if shallow else GOLDEN_RATIO_DEEP
        if formats is not None and golden.rel_rms > ratio * formats.rel_rms:
            broken.append(
                f"golden_vs_emulator: rel_rms {golden.rel_rms:.3g} exceeds {ratio:g} of golden_vs_hf ({formats.rel_rms:.3g})"
            )

    choices = None if routing is None else routing.get("golden")
    if choices is not None and hardware_golden and choices.widest_gap > ROUTING_GAP:
        broken.append(
            f"routing: {choices.choices - choices.equal} of {choices.choices} choices of experts differ from the golden's, "
            f"one although its logits are {choices.widest_gap:.3g} of their RMS apart (limit {ROUTING_GAP:g})"
        )

    for name in ("tile_vs_emulator", "isa_vs_emulator"):
        execution = comparisons.get(name)
        if execution is not None and not execution.bit_exact:
            broken.append(f"{name}: not bit exact, max_abs {execution.max_abs:.3g}")
    return tuple(broken)
