"""The engine: one dispatch loop over the words of a program (machine specification, sections 6 and 7)."""

from __future__ import annotations

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.branch import branch, deadline
from plena_mlir.emulator.kernels.state import I64, State
from plena_mlir.emulator.kernels.step import step
from plena_mlir.emulator.kernels.transfer import transfer_cycles
from plena_mlir.emulator.kernels.traps import LOOP_LIMIT, OK, TOO_MANY_INSTRUCTIONS
from plena_mlir.numerics.compile import kernel

# Positions in `progress`.
PC = 0
EXECUTED = 1


@kernel
def run(words: I64, state: State, progress: I64, counts: I64, transfers: I64, max_instructions: int) -> int:
    """Execute from progress[PC] until the program ends, traps, or asks for HBM pages; returns a status of `traps`.

    counts[pc] and transfers[pc] collect the executions and the HBM cycles of each instruction; progress[EXECUTED] counts the
    instructions. On any status but OK the instruction at progress[PC] has not been counted.
    """
    pc, executed = progress[PC], progress[EXECUTED]
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
            if status == OK and (code == op.H_PREFETCH_M or code == op.H_PREFETCH_V or code == op.H_STORE_V):
                transfers[pc] += transfer_cycles(word, state.geometry, state.registers)
        if status != OK:
            break
        executed += 1
        counts[pc] += 1
        pc = following
    progress[PC], progress[EXECUTED] = pc, executed
    return status
