"""Running a program step by step or in one go, with traps as errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plena_mlir.backend.asm_encoder import machine_view
from plena_mlir.backend.asm_instruction import Instruction
from plena_mlir.dialects.plena_isa.formats import OperandKind, Unit
from plena_mlir.emulator.kernels import opcodes
from plena_mlir.emulator.kernels.run import EXECUTED, PC, run
from plena_mlir.emulator.kernels.state import SCALE_REG, STRIDE_REG, Registers
from plena_mlir.emulator.kernels.traps import BATCHED_RD, GROW_HBM, OK, TOO_MANY_INSTRUCTIONS, TRAP_TEXT
from plena_mlir.emulator.machine import Machine
from plena_mlir.emulator.result import RunResult
from plena_mlir.errors import Trap
from plena_mlir.timing import chosen_profiles


class Execution:
    """A program somewhere between its first and its last instruction.

    Args:
        machine: a machine whose memories are loaded.
        words: instruction words.
        locations: [pc] source locations that traps mention.
        timing: which cycles the run is to tell; HBM transfers pass through the model of the DRAM only if one of them needs it.

    Raises:
        ExecutionError: there is no such timing.
        Trap: the machine refuses to decode the program.
    """

    def __init__(
        self,
        machine: Machine,
        words: Sequence[int] | NDArray[Any],
        locations: Sequence[str | None] | None = None,
        *,
        timing: str = "transactional",
    ) -> None:
        self.machine = machine
        self._words = np.asarray(words, dtype=np.int64)
        self._locations = locations
        profiles = chosen_profiles(timing)
        measured = [profile for profile in profiles if profile.measured_transfers]
        self._counts = np.zeros(self._words.size, np.int64)
        self._transfers = np.zeros(self._words.size, np.int64)
        self._position = np.zeros(3, np.int64)
        # What a transfer takes depends on when it starts, by the clock that asks for it.
        self._timing = timing
        self._measured = bool(measured)
        self._costs = measured[0].cycles_per_word(self._words, machine.target) if measured else np.zeros(self._words.size, np.int64)
        # The machine decodes the whole program first, and finds one mistake there: a batched product with rd set.
        rd = (self._words >> opcodes.RD_SHIFT) & opcodes.FIELD_MASK
        batched = np.isin(self._words & opcodes.OPCODE_MASK, (opcodes.M_BMM, opcodes.M_BTMM))
        wrong = np.flatnonzero(batched & (rd != 0))
        if wrong.size:
            self._position[PC] = wrong[0]
            raise self.trap(BATCHED_RD)

    @property
    def pc(self) -> int:
        """Index of the instruction that runs next."""
        return int(self._position[PC])

    @property
    def executed(self) -> int:
        """Instructions executed so far."""
        return int(self._position[EXECUTED])

    @property
    def finished(self) -> bool:
        """Whether the program has run past its last word."""
        return self.pc >= self._words.size

    def advance(self, until: int) -> None:
        """Run to the end of the program, or until `until` instructions have been executed in all.

        Raises:
            Trap: the program did what the machine forbids.
        """
        while True:
            status = run(
                self._words, self.machine.state, self._position, self._costs, self._counts, self._transfers, self._measured, until
            )
            if status == OK or status == TOO_MANY_INSTRUCTIONS:
                return
            if status != GROW_HBM:
                raise self.trap(status)
            self.machine.grow_hbm(4 * self.machine.target.writeback_v_rows)

    def step(self, pc: int) -> None:
        """Run the one instruction at `pc`; afterwards `self.pc` is the one that would follow.

        Raises:
            Trap: as for `advance`.
        """
        self._position[PC] = pc
        self.advance(self.executed + 1)

    def trap(self, status: int, more: str = "") -> Trap:
        """The error for a status of `kernels.traps` at the current instruction; `more` goes on with its text."""
        word = int(self._words[self.pc])
        view = machine_view(word)
        text = f".word 0x{word:08X}" if view is None else view.text()
        where = None if self._locations is None else self._locations[self.pc]
        values = {} if view is None else _register_values(view, self.machine.state.registers)
        return Trap(TRAP_TEXT[status] + more, pc=self.pc, text=text, values=values, where=where)

    def result(self) -> RunResult:
        """What the execution has left behind so far."""
        transfers = self._transfers if self._measured else None
        return RunResult(self.machine, self._words, self._timing, self._counts, transfers, self._locations)


def _register_values(instruction: Instruction, registers: Registers) -> dict[str, int | float]:
    """What the registers hold that an instruction names, and those that every transfer reads; by name."""
    files = {OperandKind.GP: registers.gp, OperandKind.FP: registers.fp, OperandKind.ADDR: registers.addr}
    values: dict[str, int | float] = {}
    for spec, index in zip(instruction.spec.operands, instruction.operands, strict=True):
        file = files.get(spec.kind)
        if file is not None and index < file.size:
            values[f"{spec.kind}{index}"] = file[index].item()
    if instruction.spec.unit is Unit.HBM:
        values |= {"SCALE_REG": registers.config[SCALE_REG].item(), "STRIDE_REG": registers.config[STRIDE_REG].item()}
    return values
