"""The engine: one dispatch loop over the words of a program (machine specification, sections 6 and 7)."""

from __future__ import annotations

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.branch import branch, deadline
from plena_mlir.emulator.kernels.state import I64, State
from plena_mlir.emulator.kernels.step import step
from plena_mlir.emulator.kernels.transfer_cycles import transfer_cycles
from plena_mlir.emulator.kernels.traps import LOOP_LIMIT, OK, TOO_MANY_INSTRUCTIONS
from plena_mlir.numerics.compile import kernel

# Positions in `progress`.
PC = 0
EXECUTED = 1
CLOCK = 2


@kernel
def run(
    words: I64, state: State, progress: I64, costs: I64, counts: I64, transfers: I64, measured: bool, max_instructions: int
) -> int:
    """Execute from progress[PC] until the program ends, traps, or asks for HBM pages; returns a status of `traps`.

    counts[pc] collects the executions of each instruction, progress[EXECUTED] those of all. progress[CLOCK] is the current cycle:
    an instruction takes costs[pc] and, when transfers are `measured`, the HBM cycles that transfers[pc] collects. On any status
    but OK the instruction at progress[PC] has not been counted.
    """
    pc, executed, clock = progress[PC], progress[EXECUTED], progress[CLOCK]
    last = deadline(state)
    status = OK
    while pc < words.shape[0]:
        word = words[pc]
        code = word & op.OPCODE_MASK
        following = pc + 1
        if executed + 1 > last:
            status = LOOP_LIMIT
        elif executed + 1 > max_instructions:
            status = TOO_MANY_INSTRUCTIONS
        elif code == op.C_LOOP_END or code == op.C_LOOP_START or code == op.C_BREAK:
            status, following = branch(word, state, following, executed + 1)
            last = deadline(state)
        else:
            status = step(word, state)
            is_transfer = code == op.H_PREFETCH_M or code == op.H_PREFETCH_V or code == op.H_STORE_V
            if is_transfer and measured and status == OK:
                cycles = transfer_cycles(word, state, clock)
                transfers[pc] += cycles
                clock += cycles
        if status != OK:
            break
        executed += 1
        counts[pc] += 1
        clock += costs[pc]
        pc = following
    progress[PC], progress[EXECUTED], progress[CLOCK] = pc, executed, clock
    return status
