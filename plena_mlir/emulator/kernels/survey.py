"""What a program would execute and move, without computing any value (machine specification, sections 6 and 7)."""

from __future__ import annotations

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.branch import branch, deadline
from plena_mlir.emulator.kernels.run import CLOCK, EXECUTED, PC
from plena_mlir.emulator.kernels.state import I64, U8, State
from plena_mlir.emulator.kernels.step import step
from plena_mlir.emulator.kernels.transfer import count_transfer, row_step, transfer_addresses
from plena_mlir.emulator.kernels.transfer_cycles import transfer_cycles
from plena_mlir.emulator.kernels.traps import LOOP_LIMIT, OK
from plena_mlir.numerics.compile import kernel

SAMPLED = 64
PERIOD = 16384
"""Of every PERIOD executions of a transfer the first SAMPLED pass through the model of the DRAM: consecutive ones, since what a
transfer takes depends on which rows of the DRAM the one before it left open."""


@kernel
def survey(
    words: I64,
    performed: U8,
    state: State,
    progress: I64,
    costs: I64,
    counts: I64,
    transfers: I64,
    samples: I64,
    measured: bool,
    until: int,
) -> int:
    """Execute as `run` does, but only the instructions with performed[pc] set: those that addresses and loops depend on.

    Transfers move nothing. Their bytes are counted; when they are `measured`, samples[0, pc] and samples[1, pc] collect the
    executions and the cycles of those that the model of the DRAM has seen, and each of the others takes their mean. Returns a
    status of `traps`: OK at the end of the program, and when `until` instructions have been executed.
    """
    # The loop of `run` around other work: what they share updates all local variables, and inlined parts return few.
    pc, executed, clock = progress[PC], progress[EXECUTED], progress[CLOCK]
    last = deadline(state)
    status = OK
    while pc < words.shape[0] and executed < until:
        word = words[pc]
        code = word & op.OPCODE_MASK
        following = pc + 1
        if executed + 1 > last:
            status = LOOP_LIMIT
        elif code == op.C_LOOP_END or code == op.C_LOOP_START or code == op.C_BREAK:
            status, following = branch(word, state, following, executed + 1)
            last = deadline(state)
        elif performed[pc]:
            status = step(word, state)
        elif code == op.H_PREFETCH_M or code == op.H_PREFETCH_V or code == op.H_STORE_V:
            elements, scales = transfer_addresses(state.registers, word)
            count_transfer(state.geometry, state.hbm, code, elements, scales, row_step(state.geometry, state.registers, word))
            if measured:
                if counts[pc] % PERIOD < SAMPLED:
                    cycles = transfer_cycles(word, state, clock)
                    samples[0, pc] += 1
                    samples[1, pc] += cycles
                else:
                    cycles = (2 * samples[1, pc] + samples[0, pc]) // (2 * samples[0, pc])
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
