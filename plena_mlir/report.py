"""What a compilation or a run has to say, as data: the one object that `--json` prints and the API returns.

    {"schema": "plena.report/1", "target": "64x16x64",
     "model": {"name", "layers", "seq", "scope", "logits"},
     "instructions": {"static", "dynamic"},
     "cycles": {"transactional": {"total", "compute", "dma"}, "analytic": {"total"}},
     "hbm_bytes": {"read", "written", "payload_read", "payload_written"},
     "vram_rows_peak", "mram_tiles_peak",
     "seconds": {"import", "lower", "image", "emulate"},
     "compare": {<name>: {"max_abs", "max_rel", "ref_rms", "rel_rms", "cosine", "allclose_0_2", "elements", "bit_exact", "sqnr_db",
                         "allclose": [{"atol", "rtol", "share"}], "worst": [{"index", "actual", "reference", "error"}]}},
     "routing": {"golden"|"hf": {"choices", "equal", "widest_gap"}},
     "golden_precision",
     "notes": [<sentence>]}

A section that was not asked for, or that does not apply, is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

from plena_mlir.timing import chosen_profiles
from plena_mlir.verify.compare import Comparison
from plena_mlir.verify.routing import RoutingAgreement

if TYPE_CHECKING:
    from plena_mlir.emulator import RunResult

SCHEMA = "plena.report/1"
"""Changes when a reader of the previous form would misread the new one; a further section is no such change."""

Json: TypeAlias = "bool | int | float | str | Mapping[str, Json] | list[Json] | None"


@dataclass(frozen=True)
class ModelSummary:
    """What was compiled: the model's name, its decoder layers, the length and number of sequences, and the ends of the program."""

    name: str
    layers: int
    seq: int
    scope: str
    logits: str | None = None
    batch: int = 1


@dataclass(frozen=True)
class CycleCounts:
    """Cycles by one timing profile. `total` is `compute` plus `dma`, which are there where transfers are measured: nothing overlaps
    a transfer.
    """

    total: int
    compute: int | None = None
    dma: int | None = None


@dataclass(frozen=True)
class HbmBytes:
    """HBM traffic in bytes: whole 64-byte blocks as the memory moves them, and the payload that was asked for."""

    read: int
    written: int
    payload_read: int
    payload_written: int


@dataclass(frozen=True)
class Report:
    """Everything that is known about one program; `None` and empty mean not asked for.

    Attributes:
        target: the target's name.
        model: what was compiled.
        static_instructions: instructions in the program text.
        dynamic_instructions: instructions executed.
        cycles: by timing profile.
        hbm: HBM traffic.
        vram_rows_peak: Vector SRAM rows of VLEN elements that the memory plan uses.
        mram_tiles_peak: Matrix SRAM tiles that the memory plan uses.
        seconds: wall time by phase.
        comparisons: by the names of `plena_mlir.verify.bounds.COMPARISONS`.
        routing: how the choices of experts agree with those of the golden and of HF, if there are any.
        golden_precision: what the golden of the comparisons imitates, by name.
        notes: what a user should know and no number says, one sentence each.
    """

    target: str
    model: ModelSummary | None = None
    static_instructions: int | None = None
    dynamic_instructions: int | None = None
    cycles: Mapping[str, CycleCounts] = field(default_factory=dict[str, CycleCounts])
    hbm: HbmBytes | None = None
    vram_rows_peak: int | None = None
    mram_tiles_peak: int | None = None
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    comparisons: Mapping[str, Comparison] = field(default_factory=dict[str, Comparison])
    routing: Mapping[str, RoutingAgreement] = field(default_factory=dict[str, RoutingAgreement])
    golden_precision: str | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Json]:
        """The object of the module docstring, in its order."""
        sections: dict[str, Json] = {
            "schema": SCHEMA,
            "target": self.target,
            "model": _present(asdict(self.model)) if self.model is not None else None,
            "instructions": _present({"static": self.static_instructions, "dynamic": self.dynamic_instructions}),
            "cycles": {profile: _present(asdict(counts)) for profile, counts in self.cycles.items()},
            "hbm_bytes": asdict(self.hbm) if self.hbm is not None else None,
            "vram_rows_peak": self.vram_rows_peak,
            "mram_tiles_peak": self.mram_tiles_peak,
            "seconds": {phase: round(value, 3) for phase, value in self.seconds.items()},
            "compare": {name: result.to_json() for name, result in self.comparisons.items()},
            "routing": {name: agreement.to_json() for name, agreement in self.routing.items()},
            "golden_precision": self.golden_precision,
            "notes": list(self.notes),
        }
        return _present(sections)


def with_execution(report: Report, result: RunResult) -> Report:
    """`report` with what the run `result` adds: dynamic instructions, HBM traffic and the cycles that it was to tell."""
    cycles: dict[str, CycleCounts] = {}
    for profile in chosen_profiles(result.timing):
        found = result.cycles_by(profile)
        measured = profile.measured_transfers
        cycles[profile.name] = CycleCounts(found.total, found.compute, found.dma) if measured else CycleCounts(found.total)
    return replace(report, dynamic_instructions=result.instructions, cycles=cycles, hbm=HbmBytes(**result.hbm_bytes))


def _present(sections: Mapping[str, Json]) -> dict[str, Json]:
    """`sections` without those that say nothing. A count of zero says something."""
    return {name: value for name, value in sections.items() if value is not None and value != {} and value != []}
