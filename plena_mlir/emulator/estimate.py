"""What a program costs, without its weights: instructions, HBM traffic and cycles of a run that computes no values.

Loops and addresses depend on the integer registers alone, so executing the integer and control instructions is enough to know every
other instruction that runs and every address it transfers. Only what V_TOPK would choose is not known: routed transfers go where
INT SRAM says at first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plena_mlir.dialects.plena_isa.formats import OPCODE_MASK, Unit
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.dialects.plena_isa.vector_ops import VTopkOp
from plena_mlir.emulator.engine import PROGRESS_STEP
from plena_mlir.emulator.execution import Execution
from plena_mlir.emulator.kernels.survey import survey
from plena_mlir.emulator.kernels.traps import OK
from plena_mlir.emulator.machine import Machine
from plena_mlir.emulator.result import RunResult
from plena_mlir.target import Target


@dataclass(frozen=True)
class Estimate:
    """The cost of a program.

    Attributes:
        result: as of a run, but for its memories, which are as they were at first.
        sampled: whether some transfers were priced by others that the model of the DRAM has seen.
        routed: whether addresses depend on what V_TOPK would choose.
    """

    result: RunResult
    sampled: bool
    routed: bool

    @property
    def exact(self) -> bool:
        """Whether the cycles are those of a run."""
        return not self.sampled and not self.routed


def estimate_program(
    words: Sequence[int] | NDArray[Any],
    target: Target,
    *,
    intsram: NDArray[Any] | None = None,
    timing: str = "both",
    locations: Sequence[str | None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Estimate:
    """Count what a program executes and moves, and price it.

    Instruction counts, HBM bytes and the cycles of profiles that price transfers are exact. Of every 16,384
    executions of a transfer the model of the DRAM sees the first 64; the others take the mean of those it has seen.

    Args:
        words: instruction words.
        intsram: first entries of the INT SRAM, u32: token ids.
        timing: a profile's name, "both" or "none".
        locations: [pc] source locations that traps mention.
        progress: called now and then with the instructions counted so far.

    Raises:
        Trap: the program's loops or addresses do what the machine forbids.
    """
    machine = Machine(target)
    if intsram is not None:
        machine.load_intsram(intsram)
    survey_ = _Survey(machine, words, locations, timing=timing)
    while not survey_.finished:
        survey_.advance(survey_.executed + PROGRESS_STEP)
        if progress is not None:
            progress(survey_.executed)
    return Estimate(survey_.result(), survey_.sampled, survey_.routed)


class _Survey(Execution):
    """An execution that performs integer and control instructions only."""

    def __init__(
        self, machine: Machine, words: Sequence[int] | NDArray[Any], locations: Sequence[str | None] | None, *, timing: str
    ) -> None:
        super().__init__(machine, words, locations, timing=timing)
        units = (Unit.SCALAR_INT, Unit.CONTROL)
        opcodes = [spec.opcode for spec in INSTRUCTIONS if spec.unit in units]
        self._performed = np.isin(self._words & OPCODE_MASK, opcodes).astype(np.uint8)
        self._samples = np.zeros((2, self._words.size), np.int64)

    @property
    def sampled(self) -> bool:
        """Whether a transfer was priced by others."""
        return bool(self._measured) and bool((self._samples[0] != self._counts)[self._transfers > 0].any())

    @property
    def routed(self) -> bool:
        """Whether a transfer is priced after a choice that was not made."""
        chooses = (self._words & OPCODE_MASK) == VTopkOp.spec().opcode
        return bool(self._measured) and bool(self._counts[chooses].any())

    def advance(self, until: int) -> None:
        status = survey(
            self._words,
            self._performed,
            self.machine.state,
            self._position,
            self._costs,
            self._counts,
            self._transfers,
            self._samples,
            self._measured,
            until,
        )
        if status != OK:
            raise self.trap(status)
