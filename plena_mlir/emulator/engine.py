"""Running a program: words in, state, counts and cycles out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.backend.asm_encoder import machine_view
from plena_mlir.backend.hbm_image import HbmImage, load_image
from plena_mlir.dialects.plena_isa.formats import OPCODE_BITS, InstructionSpec
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.emulator.kernels import opcodes
from plena_mlir.emulator.kernels.run import EXECUTED, PC, run
from plena_mlir.emulator.kernels.state import (
    HBM_BYTES_READ,
    HBM_BYTES_WRITTEN,
    HBM_PAYLOAD_READ,
    HBM_PAYLOAD_WRITTEN,
)
from plena_mlir.emulator.kernels.traps import BATCHED_RD, GROW_HBM, OK, TOO_MANY_INSTRUCTIONS, TRAP_TEXT
from plena_mlir.emulator.machine import Bytes, Machine, Segment
from plena_mlir.errors import Trap
from plena_mlir.target import Target
from plena_mlir.timing import PROFILES, TimingProfile

HbmContent: TypeAlias = "HbmImage | Bytes | str | os.PathLike[str] | Iterable[Segment]"
Timing: TypeAlias = Literal["transactional", "analytic", "none"]
Progress: TypeAlias = Callable[[int], None]

DEFAULT_MAX_INSTRUCTIONS = 1 << 60
_PROGRESS_STEP = 20_000_000
"""Instructions between two calls of a progress callback."""

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
        transfer_cycles: [pc] HBM cycles of each instruction on the transactional clock.
    """

    machine: Machine
    words: NDArray[np.int64]
    timing: Timing
    counts: NDArray[np.int64]
    transfer_cycles: NDArray[np.int64]

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
        """[pc] cycles spent in each instruction."""
        chosen = PROFILES[profile] if isinstance(profile, str) else profile
        target = self.machine.target
        unique, inverse = np.unique(self.words, return_inverse=True)
        costs = np.zeros(unique.size, np.int64)
        for index, word in enumerate(unique.tolist()):
            # Words that are no instruction have trapped, or never ran.
            if word & _OPCODE_MASK in _SPECS:
                costs[index] = chosen.cycles(_SPECS[word & _OPCODE_MASK], word, target)
        cycles = costs[inverse] * self.counts
        return cycles + self.transfer_cycles if chosen.measured_transfers else cycles

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
        totals = self.machine.state.totals
        return {
            "read": int(totals[HBM_BYTES_READ]),
            "written": int(totals[HBM_BYTES_WRITTEN]),
            "payload_read": int(totals[HBM_PAYLOAD_READ]),
            "payload_written": int(totals[HBM_PAYLOAD_WRITTEN]),
        }


def run_program(
    words: Sequence[int] | NDArray[Any],
    target: Target,
    *,
    hbm: HbmContent | None = None,
    fpsram: NDArray[Any] | None = None,
    intsram: NDArray[Any] | None = None,
    vram: NDArray[Any] | None = None,
    fill: float = 0.0,
    strict: bool = False,
    max_instructions: int = DEFAULT_MAX_INSTRUCTIONS,
    timing: Timing = "transactional",
    locations: Sequence[str | None] | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run a program from reset to its end.

    Args:
        words: instruction words.
        hbm: an image, bytes from address 0, the path of a (sparse) file, or (address, bytes) segments.
        fpsram: first entries of the FP SRAM, as float values.
        intsram: first entries of the INT SRAM, u32.
        vram: rows [n, vlen] of the Vector SRAM from row 0.
        fill: what all memories hold at first, 0 or NaN; outputs must not depend on it.
        strict: also trap where the hardware goes on but no sound program may: writes to gp0 and f0, HBM reads past the end, NaN in
            an f register, poison of the INT SRAM in a gp register.
        timing: the profile of `RunResult.cycles`.
        locations: [pc] source locations that traps mention.
        progress: called now and then with the instructions executed so far.

    Raises:
        Trap: the program did what the machine forbids.
        ImageError: an image does not fit the machine.
    """
    machine = Machine(target, fill=fill, strict=strict)
    if hbm is not None:
        machine.load_hbm(_segments(hbm))
    if fpsram is not None:
        machine.load_fpsram(fpsram)
    if intsram is not None:
        machine.load_intsram(intsram)
    if vram is not None:
        machine.load_vram(vram)
    return execute(machine, words, max_instructions=max_instructions, timing=timing, locations=locations, progress=progress)


def execute(
    machine: Machine,
    words: Sequence[int] | NDArray[Any],
    *,
    max_instructions: int = DEFAULT_MAX_INSTRUCTIONS,
    timing: Timing = "transactional",
    locations: Sequence[str | None] | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run a program on a machine that is loaded already; see `run_program`."""
    program = np.asarray(words, dtype=np.int64)
    _check_decode(program, locations)
    counts = np.zeros(program.size, np.int64)
    transfers = np.zeros(program.size, np.int64)
    position = np.zeros(2, np.int64)
    while True:
        pause = max_instructions if progress is None else min(max_instructions, int(position[EXECUTED]) + _PROGRESS_STEP)
        status = run(program, machine.state, position, counts, transfers, pause)
        if progress is not None:
            progress(int(position[EXECUTED]))
        if status == GROW_HBM:
            machine.grow_hbm(4 * machine.target.writeback_v_rows)
        elif status == OK:
            return RunResult(machine, program, timing, counts, transfers)
        elif status != TOO_MANY_INSTRUCTIONS or pause == max_instructions:
            raise _trap(status, int(position[PC]), program, locations)


def _check_decode(program: NDArray[np.int64], locations: Sequence[str | None] | None) -> None:
    """The machine decodes the whole program first, and one mistake is found there: a batched product with rd set."""
    rd = (program >> opcodes.RD_SHIFT) & opcodes.FIELD_MASK
    wrong = np.flatnonzero(np.isin(program & _OPCODE_MASK, (opcodes.M_BMM, opcodes.M_BTMM)) & (rd != 0))
    if wrong.size:
        raise _trap(BATCHED_RD, int(wrong[0]), program, locations)


def _trap(status: int, pc: int, program: NDArray[np.int64], locations: Sequence[str | None] | None) -> Trap:
    word = int(program[pc])
    view = machine_view(word)
    text = f".word 0x{word:08X}" if view is None else view.text()
    return Trap(TRAP_TEXT[status], pc=pc, text=text, where=None if locations is None else locations[pc])


def _segments(hbm: HbmContent) -> Iterable[Segment]:
    if isinstance(hbm, HbmImage):
        return hbm.segments
    if isinstance(hbm, str | os.PathLike):
        return load_image(Path(hbm)).segments
    if isinstance(hbm, bytes | np.ndarray):
        return [(0, hbm)]
    return hbm
