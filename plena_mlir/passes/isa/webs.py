"""Webs: the values that must share one register because a loop carries them or an instruction reads and writes one register.

Where such values are alive at the same time (an init value that is used again, a yielded value computed before the last use of
the argument), a copy separates them.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects.plena_isa import LoopOp, PlenaIsaInstruction, SLdIntOp, YieldOp
from plena_mlir.passes.isa.liveness import Liveness, LiveValue
from plena_mlir.passes.isa.rematerialisation import Rematerialisation


@dataclass(eq=False)
class Web:
    """Values of one register, and the positions at which they occupy it: disjoint intervals in ascending order."""

    members: list[LiveValue]
    segments: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    @property
    def is_spilled_counter(self) -> bool:
        return len(self.segments) > 1


@dataclass(frozen=True)
class _Tie:
    """`value`, an operand of `user`, must be in the register of `partner`."""

    user: Operation
    operand: int
    partner: SSAValue


def insert_copies(live: Liveness, rematerialisation: Rematerialisation) -> int:
    """Copy each tied operand that cannot share the register it is tied to; the number of copies."""
    builder = _WebBuilder(live)
    for tie in builder.conflicts:
        value = tie.user.operands[tie.operand]
        copies = rematerialisation.copy(value)
        insert_before(tail_anchor(tie.user, live.counter_reloads), copies, tie.user)
        tie.user.operands[tie.operand] = copies[-1].results[0]
    return len(builder.conflicts)


def insert_before(anchor: Operation, new: Sequence[Operation], source: Operation) -> None:
    """Insert operations that serve `source`, with its location, before `anchor`."""
    block = anchor.parent_block()
    assert block is not None
    for op in new:
        op.location = source.location
        block.insert_op_before(op, anchor)


def build_webs(live: Liveness) -> list[Web]:
    """The webs of a program in which no copy is missing, by ascending start."""
    builder = _WebBuilder(live)
    assert not builder.conflicts, "insert_copies left a conflict"
    webs: dict[LiveValue, list[LiveValue]] = {}
    for value in live.values.values():
        webs.setdefault(builder.root(value), []).append(value)
    return sorted((_web(members, live) for members in webs.values()), key=lambda web: web.segments[0])


def _web(members: list[LiveValue], live: Liveness) -> Web:
    first = members[0].value.owner
    if len(members) == 2 and members[1].value.owner in live.counter_reloads:
        return Web(members, [(value.start, value.end) for value in members])
    assert first not in live.counter_reloads
    return Web(members, [(min(value.start for value in members), max(value.end for value in members))])


def tail_anchor(op: Operation, counter_reloads: AbstractSet[Operation]) -> Operation:
    """What to insert before so as to come before `op`, and before the reload of a spilled counter if `op` ends a loop body."""
    if isinstance(op, YieldOp) and op.prev_op in counter_reloads:
        assert op.prev_op is not None
        return op.prev_op
    return op


class _WebBuilder:
    """Union-find over live values that refuses to join values alive at the same time."""

    def __init__(self, live: Liveness) -> None:
        self.live = live
        self.conflicts: list[_Tie] = []
        self._parent: dict[LiveValue, LiveValue] = {}
        self._ranges: dict[LiveValue, list[tuple[int, int]]] = {}
        for op in live.ops:
            if isinstance(op, LoopOp):
                self._tie_loop(op)
            elif isinstance(op, PlenaIsaInstruction) and (tied := op.tied_values()) is not None:
                operand = next(i for i, value in enumerate(op.operands) if value is tied[0])
                self._tie(op, operand, tied[1])

    def root(self, value: LiveValue) -> LiveValue:
        """The representative of the web of a value."""
        parent = self._parent.get(value, value)
        if parent is value:
            return value
        root = self.root(parent)
        self._parent[value] = root
        return root

    def _tie_loop(self, op: LoopOp) -> None:
        last = op.yield_op.prev_op
        if last in self.live.counter_reloads:
            assert isinstance(last, SLdIntOp)
            self._join(op.counter, last.rd)
        if op.extra is not None and isinstance(op.extra.type, self.live.register) and self._is_needed_later(op):
            self.conflicts.append(_Tie(op, len(op.iter_args), op.extra))
        for position, (_, argument, _, result) in enumerate(op.tied_groups()):
            if not isinstance(argument.type, self.live.register):
                continue
            joined = self._join(argument, result)
            assert joined, "a loop result meets its own argument"
            self._tie(op, position, argument)
            self._tie(op.yield_op, position, argument)

    def _is_needed_later(self, op: LoopOp) -> bool:
        """Whether the loop destroys an `extra` operand that is used elsewhere or that is fixed."""
        assert op.extra is not None
        extra = self.live.values.get(op.extra)
        if extra is None or extra.loop is not self.live.loop_at[self.live.index[op]]:
            return True
        start = self.live.index[op]
        return any(use.index > start or (use.index == start and use.operand != len(op.iter_args)) for use in extra.uses)

    def _tie(self, user: Operation, operand: int, partner: SSAValue) -> None:
        value = user.operands[operand]
        if isinstance(partner.type, self.live.register) and not self._join(value, partner):
            self.conflicts.append(_Tie(user, operand, partner))

    def _join(self, value: SSAValue, partner: SSAValue) -> bool:
        a, b = self.live.values.get(value), self.live.values.get(partner)
        if a is None or b is None:
            return False
        a, b = self.root(a), self.root(b)
        if a is b:
            return True
        ranges_a, ranges_b = self._range(a), self._range(b)
        if _overlap(ranges_a, ranges_b):
            return False
        self._parent[b] = a
        self._ranges[a] = sorted([*ranges_a, *ranges_b])
        return True

    def _range(self, root: LiveValue) -> list[tuple[int, int]]:
        return self._ranges.setdefault(root, [(root.start, root.end)])


def _overlap(a: Sequence[tuple[int, int]], b: Sequence[tuple[int, int]]) -> bool:
    i = j = 0
    while i < len(a) and j < len(b):
        if a[i][1] < b[j][0]:
            i += 1
        elif b[j][1] < a[i][0]:
            j += 1
        else:
            return True
    return False
