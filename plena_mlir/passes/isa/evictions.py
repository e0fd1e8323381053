"""The ways to free a register where too many values are alive, and what each of them costs.

Every eviction frees the register of a web at one position. What the program then executes more often, loads, stores and repeated
computations, weighted by how often, is its cost; the intervals at which the web still needs a register are its remainder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from xdsl.ir import Operation, OpResult, SSAValue

from plena_mlir.dialects.plena_isa import LoopOp, SAddiIntOp
from plena_mlir.passes.isa.liveness import Liveness, LiveValue, LoopRange, UseAt, chain_of
from plena_mlir.passes.isa.rematerialisation import Rematerialisation
from plena_mlir.passes.isa.spill_code import SpillCode
from plena_mlir.passes.isa.webs import Web, insert_before

Interval = tuple[int, int]


@dataclass(eq=False)
class Piece:
    """A stretch of the program that needs an evicted value back: uses that one load before `anchor` can serve."""

    frequency: float
    anchor: Operation
    first: int
    end: int
    uses: list[UseAt] = field(default_factory=list[UseAt])

    @property
    def interval(self) -> Interval:
        return 2 * self.first - 1, self.end


@dataclass(frozen=True)
class Eviction(ABC):
    """One way to free the register of `web`."""

    web: Web
    cost: float
    remainder: tuple[Interval, ...]

    @property
    @abstractmethod
    def order(self) -> int:
        """Evictions of one round are applied by ascending order."""

    @abstractmethod
    def apply(self, code: SpillCode) -> None:
        """Change the program; loops keep their operands until `SpillCode.finish`."""


def find_eviction(
    web: Web, position: int, live: Liveness, rematerialisation: Rematerialisation, evicted: AbstractSet[SSAValue]
) -> Eviction | None:
    """The way to free the register of a web at a position; None when it is needed there. Nothing new may read `evicted` values."""
    eviction = _find(web, position, live, rematerialisation, evicted)
    if eviction is None or any(start <= position <= end for start, end in eviction.remainder):
        return None
    return eviction


def _find(
    web: Web, position: int, live: Liveness, rematerialisation: Rematerialisation, evicted: AbstractSet[SSAValue]
) -> Eviction | None:
    if web.is_spilled_counter:
        return None
    values = {member.value for member in web.members}
    for loop in reversed(live.loops_at(position)):
        if loop.op.counter in values:
            return CounterSpill.plan(web, loop)
        for number, argument in enumerate(loop.op.carried):
            if argument in values:
                return Demotion.plan(web, position, live, loop, number)
    for member in web.members:
        if member.start <= position <= member.end and isinstance(member.value, OpResult):
            return Gap.plan(web, position, live, member, rematerialisation, evicted)
    return None


def pieces_around(
    live: Liveness, uses: Sequence[UseAt], position: int, home: LoopRange | None, in_register: bool
) -> tuple[list[Piece], int]:
    """How the uses of a value that is given up at a position get it back.

    Uses fall into groups by the innermost loop they share with the position and by the side they are on; each group reloads the
    value once, before the first operation of that loop's body that leads to one of them. Uses before the position in `home`, the
    loop that defines the value, still find it in its register if it starts `in_register`.

    Returns the pieces, and the last position at which the value is found in its register (-1 if at none).
    """
    around = live.loops_at(position)
    groups: dict[tuple[int, bool], Piece] = {}
    kept_until = -1
    for use in uses:
        path = list(chain_of(use.loop))
        depth = 0
        while depth < len(around) and depth < len(path) and around[depth] is path[depth]:
            depth += 1
        shared = around[depth - 1] if depth else None
        if depth < len(path):
            anchor, first, end = path[depth].op, path[depth].start, 2 * path[depth].end
        else:
            anchor, first, end = use.op, use.index, 2 * use.index
            if isinstance(use.op, LoopOp) and use.operand >= len(use.op.iter_args):
                end = 2 * live.loops[use.op].end
        before = 2 * use.index <= position
        if in_register and before and shared is home:
            kept_until = max(kept_until, end)
            continue
        piece = groups.setdefault((depth, before), Piece(live.frequency(shared), anchor, first, end))
        if first < piece.first:
            piece.anchor, piece.first = anchor, first
        piece.end = max(piece.end, end)
        piece.uses.append(use)
    return list(groups.values()), kept_until


def _others(web: Web, position: int, without: Sequence[LiveValue]) -> list[Interval]:
    """Where the rest of a web needs a register, once the members at a position are gone: before it and after it."""
    rest = [member for member in web.members if member not in without]
    before = [member for member in rest if member.end < position]
    after = [member for member in rest if member.end >= position]
    return [(min(m.start for m in side), max(m.end for m in side)) for side in (before, after) if side]


@dataclass(frozen=True)
class Gap(Eviction):
    """A value that is defined once leaves its register between two uses: it is computed again, or was stored when defined."""

    value: LiveValue
    pieces: tuple[Piece, ...]
    stored: bool
    base: SSAValue | None

    @property
    def order(self) -> int:
        return 0

    @staticmethod
    def plan(
        web: Web,
        position: int,
        live: Liveness,
        member: LiveValue,
        rematerialisation: Rematerialisation,
        evicted: AbstractSet[SSAValue],
    ) -> Gap | None:
        pieces, kept = pieces_around(live, member.uses, position, member.loop, in_register=True)
        reloads = sum(piece.frequency for piece in pieces)
        remainder = (
            (member.start, max(kept, member.start)),
            *(piece.interval for piece in pieces),
            *_others(web, position, [member]),
        )
        again = rematerialisation.cost(member.value)
        if again is not None:
            return Gap(web, reloads * again, remainder, member, tuple(pieces), False, None)
        base = _derived_from(member.value)
        if base is not None and base in live.values and base not in evicted:
            alive = live.values[base]
            if all(alive.start < piece.interval[0] and piece.interval[0] < alive.end for piece in pieces):
                return Gap(web, reloads, remainder, member, tuple(pieces), False, base)
        if not SpillCode.can_store(live.register):
            return None
        return Gap(web, reloads + live.frequency(member.loop), remainder, member, tuple(pieces), True, None)

    def apply(self, code: SpillCode) -> None:
        value = self.value.value
        assert isinstance(value, OpResult)
        slot = code.store_after(value.op, value) if self.stored else None
        for piece in self.pieces:
            if slot is not None:
                new = [code.load(slot, value)]
            elif self.base is not None:
                assert isinstance(value.op, SAddiIntOp)
                new: list[Operation] = [SAddiIntOp(self.base, value.op.imm.value.data)]
            else:
                new = code.recompute(value)
            code.serve(piece.anchor, new, piece.uses)


def _derived_from(value: SSAValue) -> SSAValue | None:
    """The pointer that a place was derived from."""
    return value.op.rs1 if isinstance(value, OpResult) and isinstance(value.op, SAddiIntOp) else None


@dataclass(frozen=True)
class Demotion(Eviction):
    """A loop-carried value lives in memory: stored before the loop and when its next value is known, loaded where it is used."""

    loop: LoopRange
    number: int
    pieces: tuple[Piece, ...]
    store_next_at_end: bool

    @property
    def order(self) -> int:
        # An inner loop stores its init value, which must be what the outer loop has made of it.
        return self.loop.depth

    @staticmethod
    def plan(web: Web, position: int, live: Liveness, loop: LoopRange, number: int) -> Demotion | None:
        if not SpillCode.can_store(live.register):
            return None
        argument = live.values[loop.op.carried[number]]
        following = loop.op.yield_op.arguments[number]
        uses = [use for use in argument.uses if not (use.op is loop.op.yield_op and following is argument.value)]
        pieces, _ = pieces_around(live, uses, position, loop, in_register=False)
        outer = live.frequency(loop.parent)
        cost = outer + sum(piece.frequency for piece in pieces)
        remainder = [piece.interval for piece in pieces]
        gone = [argument]
        store_at_end = False
        if following is not argument.value:
            cost += loop.frequency
            next_value = live.values[following]
            other_uses = [use for use in next_value.uses if not (use.op is loop.op.yield_op and use.operand == number)]
            defined = isinstance(following, OpResult) and following.op.parent_block() is loop.op.body.block
            store_at_end = not defined or any(2 * use.index > next_value.start for use in argument.uses)
            until = max([2 * use.index for use in other_uses], default=next_value.start)
            remainder.append((next_value.start, next_value.end if store_at_end or not defined else max(until, next_value.start)))
            gone.append(next_value)
        if loop.op.res[number].uses:
            cost += outer
        remainder += _others(web, position, gone)
        return Demotion(web, cost, tuple(remainder), loop, number, tuple(pieces), store_at_end)

    def apply(self, code: SpillCode) -> None:
        op, number = self.loop.op, self.number
        argument, following, result = op.carried[number], op.yield_op.arguments[number], op.res[number]
        slot = code.store_before(op, op.iter_args[number])
        for piece in self.pieces:
            code.serve(piece.anchor, [code.load(slot, argument)], piece.uses)
        if following is not argument:
            # Evictions applied before this one may have replaced the value.
            following = op.yield_op.arguments[number]
            if self.store_next_at_end or not isinstance(following, OpResult):
                code.store_before(op.yield_op, following, slot)
            else:
                code.store_after(following.op, following, slot)
        if result.uses:
            load = code.load(slot, result)
            result.replace_all_uses_with(load.results[0])
            code.insert_after(op, load)
        code.drop_carried(op, number)


@dataclass(frozen=True)
class CounterSpill(Eviction):
    """A loop counter is stored at the start of the body and reloaded into the same register at its end."""

    loop: LoopRange

    @property
    def order(self) -> int:
        return 0

    @staticmethod
    def plan(web: Web, loop: LoopRange) -> CounterSpill | None:
        first, last = 2 * loop.start + 1, 2 * loop.end
        if last - first <= 2:
            return None
        return CounterSpill(web, 2 * loop.frequency, ((first, first), (last - 1, last)), loop)

    def apply(self, code: SpillCode) -> None:
        body = self.loop.op.body.block
        first, last = body.first_op, body.last_op
        assert first is not None
        assert last is not None
        slot = code.store_before(first, self.loop.op.counter)
        load = code.load(slot, self.loop.op.counter)
        insert_before(last, [load], self.loop.op)
        code.counter_reloads.add(load)
