"""Choosing evictions: while somewhere more values are alive than registers exist, give up the cheapest one there.

The most frequently executed places go first, since what is freed for an inner loop is often free outside of it as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.evictions import Eviction, Gap, Interval, find_eviction
from plena_mlir.passes.isa.liveness import Liveness
from plena_mlir.passes.isa.rematerialisation import Rematerialisation
from plena_mlir.passes.isa.webs import Web


def plan_evictions(live: Liveness, webs: list[Web], rematerialisation: Rematerialisation) -> list[Eviction]:
    """Evictions that bring the register pressure of one file down, each web at most once.

    The result may have to be applied and planned again on the changed program; it is empty when every place has enough registers.

    Raises:
        LoweringError: one operation needs more registers than the file has.
    """
    return _Planner(live, webs, rematerialisation).run()


class _Planner:
    def __init__(self, live: Liveness, webs: list[Web], rematerialisation: Rematerialisation) -> None:
        self.live = live
        self.webs = webs
        self.rematerialisation = rematerialisation
        self.registers = len(live.register.allocatable_registers())
        spans = [(start, end, number) for number, web in enumerate(webs) for start, end in web.segments]
        self.starts, self.ends, self.numbers = (np.array(column, np.int64) for column in zip(*spans, strict=True))
        self.pressure: NDArray[np.int64] = np.zeros(2 * len(live.ops) + 2, np.int64)
        for start, end, _ in spans:
            self.pressure[start : end + 1] += 1
        self.frequency = np.repeat([live.frequency(loop) for loop in live.loop_at] + [1.0], 2)
        self.taken: set[int] = set()
        self.evicted: set[SSAValue] = set()
        self.pinned: set[SSAValue] = set()

    def run(self) -> list[Eviction]:
        evictions: list[Eviction] = []
        hopeless = np.zeros(self.pressure.shape, np.bool_)
        while True:
            excess = np.where(hopeless, 0, self.pressure - self.registers)
            if not (excess > 0).any():
                break
            hottest = np.where(excess > 0, self.frequency, -1.0)
            candidates = np.flatnonzero(hottest == hottest.max())
            position = int(candidates[excess[candidates].argmax()])
            eviction = self._cheapest(position)
            if eviction is None:
                hopeless[position] = True
            else:
                evictions.append(eviction)
        if hopeless.any() and not evictions:
            self._fail(int(hopeless.argmax()))
        return sorted(evictions, key=lambda eviction: eviction.order)

    def _cheapest(self, position: int) -> Eviction | None:
        here = self.numbers[(self.starts <= position) & (position <= self.ends)]
        best: Eviction | None = None
        best_number, best_key = -1, (0.0, 0)
        for number in sorted(set(here.tolist()) - self.taken):
            web = self.webs[number]
            if any(member.value in self.pinned for member in web.members):
                continue
            eviction = find_eviction(web, position, self.live, self.rematerialisation, self.evicted)
            if eviction is None:
                continue
            key = (eviction.cost, -self._freed(web.segments, eviction.remainder))
            if best is None or key < best_key:
                best, best_number, best_key = eviction, number, key
        if best is not None:
            self._take(best, best_number)
        return best

    def _take(self, eviction: Eviction, number: int) -> None:
        self.taken.add(number)
        self.evicted.update(member.value for member in eviction.web.members)
        if isinstance(eviction, Gap) and eviction.base is not None:
            self.pinned.add(eviction.base)
        for start, end in self.webs[number].segments:
            self.pressure[start : end + 1] -= 1
        for start, end in eviction.remainder:
            self.pressure[start : end + 1] += 1

    @staticmethod
    def _freed(before: list[Interval], after: tuple[Interval, ...]) -> int:
        return sum(end - start + 1 for start, end in before) - sum(end - start + 1 for start, end in after)

    def _fail(self, position: int) -> None:
        op = self.live.ops[position // 2]
        raise LoweringError(
            f"`{op.name}` needs {int(self.pressure[position])} registers of type {self.live.register.name}, "
            f"the machine has {self.registers}",
            where=module_path(op) or None,
            hint="nothing that is live here can be spilled: a bug of the compiler, unless the IR was written by hand",
        )
