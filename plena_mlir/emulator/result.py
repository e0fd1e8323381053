"""What a run leaves behind: final state, counts and cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.dialects.plena_isa.formats import OPCODE_BITS, InstructionSpec
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.emulator.kernels import opcodes
from plena_mlir.emulator.kernels.state import HBM_BYTES_READ, HBM_BYTES_WRITTEN, HBM_PAYLOAD_READ, HBM_PAYLOAD_WRITTEN
from plena_mlir.emulator.machine import Machine
from plena_mlir.errors import ExecutionError
from plena_mlir.timing import PROFILES, TimingProfile

Timing: TypeAlias = Literal["transactional", "analytic", "none"]

_SPECS: Mapping[int, InstructionSpec] = {spec.opcode: spec for spec in INSTRUCTIONS}
_OPCODE_MASK = (1 << OPCODE_BITS) - 1


@dataclass(frozen=True)
class Cycles:
    """Cycles of one run: all of them, and how many of those HBM transfers took."""

    total: int
    dma: int

    @property
    def compute(self) -> int:
        """Cycles outside of HBM transfers."""
        return self.total - self.dma


@dataclass(frozen=True)
class RunResult:
    """What a finished program left behind.

    Attributes:
        machine: the final state.
        words: the program.
        timing: the profile that `cycles` means, or "none".
        counts: [pc] executions of each instruction.
        transfer_cycles: [pc] HBM cycles of each instruction on the transactional clock; None if the run did not time transfers.
    """

    machine: Machine
    words: NDArray[np.int64]
    timing: Timing
    counts: NDArray[np.int64]
    transfer_cycles: NDArray[np.int64] | None

    @cached_property
    def instructions(self) -> int:
        """Dynamic instructions."""
        return int(self.counts.sum())

    @property
    def cycles(self) -> int | None:
        """Total cycles by the run's own profile."""
        return None if self.timing == "none" else self.cycles_by(self.timing).total

    def cycles_by(self, profile: str | TimingProfile) -> Cycles:
        """Cycles of the run by any profile: only counts are recorded, so one run has them all."""
        per_pc = self.cycles_per_pc(profile)
        transfers = np.isin(self.words & _OPCODE_MASK, (opcodes.H_PREFETCH_M, opcodes.H_PREFETCH_V, opcodes.H_STORE_V))
        return Cycles(int(per_pc.sum()), int(per_pc[transfers].sum()))

    def cycles_per_pc(self, profile: str | TimingProfile) -> NDArray[np.int64]:
        """[pc] cycles spent in each instruction.

        Raises:
            ExecutionError: the profile needs measured transfers, and the run did not time them.
        """
        chosen = PROFILES[profile] if isinstance(profile, str) else profile
        cycles = chosen.cycles_per_word(self.words, self.machine.target) * self.counts
        if not chosen.measured_transfers:
            return cycles
        if self.transfer_cycles is None:
            raise ExecutionError(f"the run did not time the transfers that {chosen.name} counts", hint="run with timing")
        return cycles + self.transfer_cycles

    def counts_by_mnemonic(self) -> dict[str, int]:
        """Dynamic instructions per mnemonic, most frequent first."""
        codes = np.bincount(self.words & _OPCODE_MASK, weights=self.counts, minlength=1 << OPCODE_BITS)
        counted = {_SPECS[code].mnemonic: int(codes[code]) for code in np.flatnonzero(codes).tolist()}
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def counts_by_unit(self) -> dict[str, int]:
        """Dynamic instructions per unit of the machine."""
        units = {spec.mnemonic: spec.unit.value for spec in INSTRUCTIONS}
        result: dict[str, int] = {}
        for mnemonic, count in self.counts_by_mnemonic().items():
            result[units[mnemonic]] = result.get(units[mnemonic], 0) + count
        return result

    @property
    def hbm_bytes(self) -> dict[str, int]:
        """Bytes on the HBM bus, 64 per access, and the bytes among them that instructions asked for."""
        totals = self.machine.state.hbm.totals
        return {
            "read": int(totals[HBM_BYTES_READ]),
            "written": int(totals[HBM_BYTES_WRITTEN]),
            "payload_read": int(totals[HBM_PAYLOAD_READ]),
            "payload_written": int(totals[HBM_PAYLOAD_WRITTEN]),
        }
