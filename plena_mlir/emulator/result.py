"""What a run leaves behind: final state, counts and cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plena_mlir.emulator.kernels import opcodes
from plena_mlir.emulator.kernels.state import HBM_BYTES_READ, HBM_BYTES_WRITTEN, HBM_PAYLOAD_READ, HBM_PAYLOAD_WRITTEN
from plena_mlir.emulator.machine import Machine
from plena_mlir.errors import ExecutionError
from plena_mlir.timing import chosen_profiles, load_profile
from plena_mlir.timing.profile import TimingProfile


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
        timing: the profile or profiles that the run was to time, or "none".
        counts: [pc] executions of each instruction.
        transfer_cycles: [pc] HBM cycles of each instruction on the transactional clock; None if the run did not time transfers.
        locations: [pc] source locations, if the program has them.
    """

    machine: Machine
    words: NDArray[np.int64]
    timing: str
    counts: NDArray[np.int64]
    transfer_cycles: NDArray[np.int64] | None
    locations: Sequence[str | None] | None = None

    @cached_property
    def instructions(self) -> int:
        """Dynamic instructions."""
        return int(self.counts.sum())

    @property
    def cycles(self) -> int | None:
        """Total cycles by the first profile that the run was to time."""
        profiles = chosen_profiles(self.timing)
        return self.cycles_by(profiles[0]).total if profiles else None

    def cycles_by(self, profile: str | TimingProfile) -> Cycles:
        """Cycles of the run by any profile, as `cycles_per_pc`."""
        per_pc = self.cycles_per_pc(profile)
        transfers = np.isin(self.words & opcodes.OPCODE_MASK, (opcodes.H_PREFETCH_M, opcodes.H_PREFETCH_V, opcodes.H_STORE_V))
        return Cycles(int(per_pc.sum()), int(per_pc[transfers].sum()))

    def cycles_per_pc(self, profile: str | TimingProfile) -> NDArray[np.int64]:
        """[pc] cycles spent in each instruction.

        Raises:
            ExecutionError: the profile needs measured transfers, and the run did not time them.
        """
        chosen = load_profile(profile) if isinstance(profile, str) else profile
        cycles = chosen.cycles_per_word(self.words, self.machine.target) * self.counts
        if not chosen.measured_transfers:
            return cycles
        if self.transfer_cycles is None:
            raise ExecutionError(f"the run did not time the transfers that {chosen.name} counts", hint="run with timing")
        return cycles + self.transfer_cycles

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
