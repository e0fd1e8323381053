"""Hardware loops: the instructions that decide what runs next (machine specification, sections 4.7 and 6)."""

from __future__ import annotations

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.scalar import write_gp
from plena_mlir.emulator.kernels.state import Loops, State
from plena_mlir.emulator.kernels.traps import BREAK_OUTSIDE, LOOP_DEPTH, LOOP_UNMATCHED, LOOP_ZERO, OK
from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import inline_kernel

NEVER = 1 << 62


@inline_kernel
def deadline(state: State) -> Integer:
    """The last instruction count at which no active loop exceeds MAX_LOOP_INSTRUCTIONS."""
    loops = state.loops
    earliest = NEVER
    for index in range(loops.depth[0]):
        earliest = min(earliest, loops.mark[index])
    return earliest + state.geometry.max_loop_instructions if earliest < NEVER else NEVER


@inline_kernel
def loop_start(state: State, rd: Integer, count: Integer, body: Integer, executed: Integer) -> int:
    """C_LOOP_START: set the counter and push an entry whose body starts at pc `body`."""
    if count == 0:
        return LOOP_ZERO
    loops = state.loops
    depth = loops.depth[0]
    if depth == loops.body.shape[0]:
        return LOOP_DEPTH
    loops.body[depth], loops.counter[depth], loops.mark[depth] = body, rd, executed
    loops.depth[0] = depth + 1
    return write_gp(state.registers, state.geometry.strict, rd, count)


@inline_kernel
def innermost(loops: Loops, rd: Integer) -> Integer:
    """The innermost active loop that counts in gp[rd], or -1."""
    index = loops.depth[0] - 1
    while index >= 0 and loops.counter[index] != rd:
        index -= 1
    return index


@inline_kernel
def remove(loops: Loops, index: Integer) -> None:
    """Take one entry out of the stack; the entries above it stay."""
    depth = loops.depth[0] - 1
    for above in range(index, depth):
        loops.body[above] = loops.body[above + 1]
        loops.counter[above] = loops.counter[above + 1]
        loops.mark[above] = loops.mark[above + 1]
    loops.depth[0] = depth


@inline_kernel
def branch(word: Integer, state: State, following: Integer, executed: Integer) -> tuple[int, Integer]:
    """Execute C_LOOP_START, C_LOOP_END or C_BREAK as the instruction number `executed`.

    Returns:
        A status of `traps`, and the pc that runs next: `following` or the start of a body.
    """
    loops, gp = state.loops, state.registers.gp
    code = word & op.OPCODE_MASK
    rd = (word >> op.RD_SHIFT) & op.FIELD_MASK
    if code == op.C_LOOP_START:
        return loop_start(state, rd, word >> op.IMM22_SHIFT, following, executed), following
    if code == op.C_LOOP_END:
        index = innermost(loops, rd)
        if index < 0:
            return LOOP_UNMATCHED, following
        if gp[rd] > 1:
            gp[rd] -= 1
            loops.mark[index] = executed
            return OK, loops.body[index]
        gp[rd] = 0
        remove(loops, index)
        return OK, following
    if loops.depth[0] == 0:
        return BREAK_OUTSIDE, following
    loops.depth[0] -= 1
    gp[loops.counter[loops.depth[0]]] = 0
    return OK, following
