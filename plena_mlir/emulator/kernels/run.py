"""The engine: one dispatch loop over a decoded program (machine specification, sections 4.7, 6 and 7)."""

from __future__ import annotations

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.scalar import write_gp
from plena_mlir.emulator.kernels.state import I64, Loops, State
from plena_mlir.emulator.kernels.step import step
from plena_mlir.emulator.kernels.traps import (
    BREAK_OUTSIDE,
    LOOP_DEPTH,
    LOOP_LIMIT,
    LOOP_UNMATCHED,
    LOOP_ZERO,
    OK,
    TOO_MANY_INSTRUCTIONS,
)
from plena_mlir.emulator.kernels.transfer import h_cycles
from plena_mlir.numerics.compile import inline_kernel, kernel

# Positions in `progress`.
PC = 0
EXECUTED = 1

NEVER = 1 << 62


@inline_kernel
def deadline(loops: Loops, limit: int) -> int:
    """The instruction count at which the first active loop exceeds its limit."""
    earliest = NEVER
    for index in range(loops.depth[0]):
        earliest = min(earliest, loops.mark[index])
    return earliest + limit if earliest < NEVER else NEVER


@inline_kernel
def loop_start(state: State, rd: int, count: int, body: int, executed: int) -> int:
    """C_LOOP_START: set the counter and push an entry whose body starts at pc `body`."""
    if count == 0:
        return LOOP_ZERO
    loops = state.loops
    depth = loops.depth[0]
    if depth == loops.body.shape[0]:
        return LOOP_DEPTH
    status = write_gp(state, rd, count)
    loops.body[depth], loops.counter[depth], loops.mark[depth] = body, rd, executed
    loops.depth[0] = depth + 1
    return status


@inline_kernel
def innermost(loops: Loops, rd: int) -> int:
    """The innermost active loop that counts in gp[rd], or -1."""
    index = loops.depth[0] - 1
    while index >= 0 and loops.counter[index] != rd:
        index -= 1
    return index


@inline_kernel
def remove(loops: Loops, index: int) -> None:
    """Take one entry out of the stack; the entries above it stay."""
    depth = loops.depth[0] - 1
    for above in range(index, depth):
        loops.body[above] = loops.body[above + 1]
        loops.counter[above] = loops.counter[above + 1]
        loops.mark[above] = loops.mark[above + 1]
    loops.depth[0] = depth


@kernel
def run(words: I64, state: State, progress: I64, counts: I64, transfers: I64, max_instructions: int) -> int:
    """Execute from progress[PC] until the program ends, traps, or asks for HBM pages; returns a status of `traps`.

    counts[pc] and transfers[pc] collect the executions and the HBM cycles of each instruction; progress[EXECUTED] counts the
    instructions. On any status but OK the instruction at progress[PC] has not been counted.
    """
    loops, gp = state.loops, state.registers.gp
    limit = state.geometry.max_loop_instructions
    pc, executed = progress[PC], progress[EXECUTED]
    last = deadline(loops, limit)
    status = OK
    while pc < words.shape[0]:
        word = words[pc]
        following = pc + 1
        executed += 1
        if executed > last:
            status = LOOP_LIMIT
        elif executed > max_instructions:
            status = TOO_MANY_INSTRUCTIONS
        else:
            code = word & op.OPCODE_MASK
            rd = (word >> op.RD_SHIFT) & op.FIELD_MASK
            if code == op.C_LOOP_END:
                index = innermost(loops, rd)
                if index < 0:
                    status = LOOP_UNMATCHED
                elif gp[rd] > 1:
                    gp[rd] -= 1
                    loops.mark[index] = executed
                    following = loops.body[index]
                else:
                    gp[rd] = 0
                    remove(loops, index)
                last = deadline(loops, limit)
            elif code == op.C_LOOP_START:
                status = loop_start(state, rd, word >> op.IMM22_SHIFT, following, executed)
                last = deadline(loops, limit)
            elif code == op.C_BREAK:
                if loops.depth[0] == 0:
                    status = BREAK_OUTSIDE
                else:
                    loops.depth[0] -= 1
                    gp[loops.counter[loops.depth[0]]] = 0
                    last = deadline(loops, limit)
            else:
                status = step(word, state)
                if status == OK and (code == op.H_PREFETCH_M or code == op.H_PREFETCH_V or code == op.H_STORE_V):
                    transfers[pc] += h_cycles(word, state)
        if status != OK:
            executed -= 1
            break
        counts[pc] += 1
        pc = following
    progress[PC], progress[EXECUTED] = pc, executed
    return status
