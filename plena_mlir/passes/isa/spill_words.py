"""Words of the scalar memories for spilled values.

Register allocation gives every spilled value a word of its own. Here values that are never in memory at the same time get the same
word: a word is in use from its first store to its last access, and to the end of a loop that accesses it but was entered after
that store.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TypeAlias

from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.ir import Block

from plena_mlir.dialects.plena_isa import LoopOp, SLdFpOp, SLdIntOp, SStFpOp, SStIntOp
from plena_mlir.dialects.plena_isa.abstract_ops import ui18
from plena_mlir.dialects.plena_isa.registers import physical_index
from plena_mlir.errors import LoweringError

Access: TypeAlias = SStIntOp | SLdIntOp | SStFpOp | SLdFpOp


@dataclass(eq=False)
class _Word:
    """A spilled value in memory: in use at positions `start` to `end`; `loops` are the loops around its first store."""

    start: int
    end: int
    loops: tuple[LoopOp, ...]
    accesses: list[Access]


def assign_spill_words(module: ModuleOp, first_word: int, capacity: int, accesses: tuple[type[Access], ...]) -> int:
    """Renumber the spilled words of one memory.

    Args:
        first_word: words from here on are spilled values, those below belong to the program.
        capacity: words of the memory.
        accesses: the instructions that access the memory.

    Returns:
        The first word after those in use.

    Raises:
        LoweringError: more values are spilled at once than the memory has room for.
    """
    words = _words_in_use(module, first_word, accesses)
    end = first_word
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    for word in sorted(words, key=lambda word: word.start):
        while busy and busy[0][0] < word.start:
            heappush(free, heappop(busy)[1])
        if not free:
            if end >= capacity:
                memory = "FP" if SLdFpOp in accesses else "INT"
                raise LoweringError(
                    f"no room to spill registers: all {capacity} words of the {memory} SRAM are used",
                    hint="use shorter inputs or fewer live values",
                )
            heappush(free, end)
            end += 1
        number = heappop(free)
        heappush(busy, (word.end, number))
        for access in word.accesses:
            access.imm = IntegerAttr(number, ui18)
    return end


def _words_in_use(module: ModuleOp, first_word: int, accesses: tuple[type[Access], ...]) -> list[_Word]:
    words: dict[int, _Word] = {}
    position = 0
    open_words: dict[LoopOp, list[_Word]] = {}

    def access(op: Access, loops: tuple[LoopOp, ...]) -> None:
        number = op.imm.value.data
        if number < first_word or physical_index(op.rs1) != 0:
            return
        word = words.setdefault(number, _Word(position, position, loops, []))
        word.end = position
        word.accesses.append(op)
        if len(loops) > len(word.loops):
            open_words[loops[len(word.loops)]].append(word)

    def visit(block: Block, loops: tuple[LoopOp, ...]) -> None:
        nonlocal position
        for op in block.ops:
            position += 1
            if isinstance(op, accesses):
                access(op, loops)
            elif isinstance(op, LoopOp):
                open_words[op] = []
                visit(op.body.block, (*loops, op))
                for word in open_words.pop(op):
                    word.end = position

    visit(module.body.block, ())
    return list(words.values())


INT_ACCESSES: tuple[type[Access], ...] = (SStIntOp, SLdIntOp)
FP_ACCESSES: tuple[type[Access], ...] = (SStFpOp, SLdFpOp)
