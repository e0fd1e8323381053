"""Live ranges of virtual registers in structured code.

Operation i of the program, counted through all loops, uses its operands at position 2i and defines its results at 2i+1. A loop is
its own operation i, where its body arguments are defined, and the yield j that ends it, where its results are. A value that is
used in a loop it was defined outside of lives to the end of that loop, since the next iteration needs it again. With these rules
every live range is one interval, and two values can share a register exactly when their intervals do not meet.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.dialects.plena_isa import LoopOp, PlenaRegisterType, SLdIntOp
from plena_mlir.dialects.plena_isa.registers import physical_index


@dataclass(eq=False)
class LoopRange:
    """A loop: operations `start` (the loop itself) to `end` (its yield), executed `frequency` times in all."""

    op: LoopOp
    start: int
    parent: LoopRange | None
    depth: int
    frequency: float
    end: int = -1
    live_in: list[LiveValue] = field(default_factory=list["LiveValue"])

    def holds(self, position: int) -> bool:
        """Whether the body, with its arguments and its yield, is at a position."""
        return 2 * self.start < position <= 2 * self.end


@dataclass(frozen=True)
class UseAt:
    """Operand `operand` of operation number `index`."""

    op: Operation
    operand: int
    index: int
    loop: LoopRange | None


@dataclass(eq=False)
class LiveValue:
    """A value and its live range, positions `start` to `end` inclusive."""

    value: SSAValue
    start: int
    end: int
    loop: LoopRange | None
    uses: list[UseAt] = field(default_factory=list[UseAt])


class Liveness:
    """Live ranges of all values of one register file.

    Args:
        module: a flat plena_isa module with structured loops.
        register: the register file.
        counter_reloads: the loads that bring a spilled loop counter back at the end of its body; between the last use of the
            counter and the load its register is free.
    """

    def __init__(
        self,
        module: ModuleOp,
        register: type[PlenaRegisterType],
        counter_reloads: frozenset[Operation] | set[Operation] = frozenset(),
    ) -> None:
        self.register = register
        self.counter_reloads = counter_reloads
        self.ops: list[Operation] = []
        self.index: dict[Operation, int] = {}
        self.loop_at: list[LoopRange | None] = []
        self.loops: dict[LoopOp, LoopRange] = {}
        self.values: dict[SSAValue, LiveValue] = {}
        self._visit(module.body.block, None)

    def frequency(self, loop: LoopRange | None) -> float:
        """How often an operation in the body of a loop is executed."""
        return 1.0 if loop is None else loop.frequency

    def loops_at(self, position: int) -> list[LoopRange]:
        """The loops around a position, outermost first."""
        loop = self.loop_at[position // 2]
        op = self.ops[position // 2]
        if position % 2 and isinstance(op, LoopOp):
            loop = self.loops[op]
        elif position % 2 and loop is not None and position == 2 * loop.end + 1:
            loop = loop.parent
        return list(chain_of(loop))

    # --- one walk ---------------------------------------------------------------------------------------------------------------

    def _visit(self, block: Block, loop: LoopRange | None) -> None:
        for op in block.ops:
            index = len(self.ops)
            self.ops.append(op)
            self.index[op] = index
            self.loop_at.append(loop)
            for operand, value in enumerate(op.operands):
                live = self.values.get(value)
                if live is not None:
                    live.uses.append(UseAt(op, operand, index, loop))
                    self._extend(live, index, loop)
            if isinstance(op, LoopOp):
                self._visit_loop(op, index, loop)
            else:
                for result in op.results:
                    self._define(result, 2 * index + 1, loop)

    def _visit_loop(self, op: LoopOp, index: int, parent: LoopRange | None) -> None:
        trips = float(op.trips.value.data)
        if op.extra is not None and parent is not None:
            # The extra iterations of a triangular loop are half of the outer ones on average.
            trips += parent.op.trips.value.data / 2
        depth = 1 if parent is None else parent.depth + 1
        loop = LoopRange(op, index, parent, depth, self.frequency(parent) * trips)
        self.loops[op] = loop
        for argument in op.body.block.args:
            self._define(argument, 2 * index + 1, loop)
        self._visit(op.body.block, loop)
        loop.end = len(self.ops) - 1
        for live in loop.live_in:
            live.end = max(live.end, 2 * loop.end)
        held = [op.extra]
        last = op.yield_op.prev_op
        if last in self.counter_reloads:
            assert isinstance(last, SLdIntOp)
            held.append(last.rd)
        else:
            held.append(op.counter)
        for value in held:
            if value is not None and value in self.values:
                self.values[value].end = max(self.values[value].end, 2 * loop.end)
        for result in op.res:
            self._define(result, 2 * loop.end + 1, parent)

    def _define(self, value: SSAValue, position: int, loop: LoopRange | None) -> None:
        if isinstance(value.type, self.register) and physical_index(value) is None:
            self.values[value] = LiveValue(value, position, position, loop)

    def _extend(self, live: LiveValue, index: int, loop: LoopRange | None) -> None:
        live.end = max(live.end, 2 * index)
        outermost: LoopRange | None = None
        while loop is not live.loop:
            assert loop is not None, "a value is used outside the loop that defines it"
            outermost, loop = loop, loop.parent
        if outermost is not None and (not outermost.live_in or outermost.live_in[-1] is not live):
            outermost.live_in.append(live)


def chain_of(loop: LoopRange | None) -> Iterator[LoopRange]:
    """A loop and those around it, outermost first."""
    if loop is not None:
        yield from chain_of(loop.parent)
        yield loop
