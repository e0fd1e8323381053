"""How many instructions a program and its loops execute."""

from __future__ import annotations

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Block

from plena_mlir.dialects.plena_isa import LoopOp, PlenaIsaInstruction

MOST_EXTRA_ATTRIBUTE = "most_extra"
"""Attribute of a loop with a run-time trip count: the most iterations its `extra` operand adds."""


class InstructionCounts:
    """Counts of legal, allocated code; loops are counted once and remembered."""

    def __init__(self) -> None:
        self._iterations: dict[LoopOp, int] = {}

    def block(self, block: Block) -> int:
        """Instructions of one execution of a block; an upper bound where trip counts are known at run time only."""
        return sum(self.loop(op) if isinstance(op, LoopOp) else isinstance(op, PlenaIsaInstruction) for op in block.ops)

    def iteration(self, op: LoopOp) -> int:
        """Instructions of one iteration, with its C_LOOP_END."""
        if op not in self._iterations:
            self._iterations[op] = self.block(op.body.block) + 1 + (0 if op.extra is None else 2)
        return self._iterations[op]

    def loop(self, op: LoopOp) -> int:
        """Instructions of all iterations, with the C_LOOP_START."""
        extra = op.attributes.get(MOST_EXTRA_ATTRIBUTE)
        more = extra.value.data if isinstance(extra, IntegerAttr) else 0
        return 1 + (op.trips.value.data + more) * self.iteration(op)
