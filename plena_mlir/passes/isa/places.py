"""Places of the tile level as linear functions of iteration numbers, and the pointers that reach them.

Everything a place depends on is a `Variable`: a loop, which counts its iterations 0, 1, 2, ..., or an index loaded from INT SRAM. A
place is a constant plus a factor times each of its variables. Places with the same factors differ only by constants: they share one
pointer per variable (a loop-carried register for a loop), which starts from the pointer of the variables further out.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.ir import SSAValue

IMMEDIATE_SPAN = 1 << 18
"""An 18-bit immediate reaches the places 0..2^18-1 elements after a pointer."""

WORD = 1 << 32
"""Addresses are 32-bit words."""


@dataclass(frozen=True, eq=False)
class Variable:
    """What a place may depend on.

    Attributes:
        order: position in program order; of two variables in scope at one place the greater is the inner one.
        value: the SSA value at the tile level.
        start, step: value = start + step * iteration (0 and 1 for a loaded index, which is its own iteration number).
        trips: iterations of the loop, None when they vary at run time or for a loaded index.
    """

    order: int
    value: SSAValue
    start: int = 0
    step: int = 1
    trips: int | None = None


Terms = tuple[tuple[Variable, int], ...]
"""Factors of the variables of a place, outermost variable first, no factor zero."""


@dataclass(frozen=True)
class Place:
    """constant + sum of factor * iteration, in elements."""

    constant: int
    terms: Terms = ()

    @staticmethod
    def of(constant: int, factors: Sequence[tuple[Variable, int]]) -> Place:
        """The place with these factors, in any order; a variable may occur several times."""
        total: dict[Variable, int] = {}
        for variable, factor in factors:
            total[variable] = total.get(variable, 0) + factor
        kept = [(variable, factor) for variable, factor in total.items() if factor]
        kept.sort(key=lambda term: term[0].order)
        return Place(constant, tuple(kept))


@dataclass(frozen=True)
class Pointer:
    """A register that follows the innermost variable of `terms` and equals `base` when all variables are zero."""

    terms: Terms
    base: int

    @property
    def variable(self) -> Variable:
        return self.terms[-1][0]

    @property
    def factor(self) -> int:
        return self.terms[-1][1]

    @property
    def outer(self) -> Place:
        """The place the pointer starts from, which depends on the variables further out only."""
        return Place(self.base, self.terms[:-1])


@dataclass
class PointerPlan:
    """Which pointers a program needs: first every place is `require`d, then `close` chooses the bases."""

    _constants: dict[Terms, list[int]] = field(default_factory=dict[Terms, list[int]])
    _bases: dict[Terms, list[int]] = field(default_factory=dict[Terms, list[int]])
    _by_variable: dict[Variable, list[Pointer]] = field(default_factory=dict[Variable, list[Pointer]])

    def require(self, place: Place) -> None:
        """Say that the program uses this place."""
        if place.terms:
            constants = self._constants.setdefault(place.terms, [])
            at = bisect_right(constants, place.constant)
            if not at or constants[at - 1] != place.constant:
                insort(constants, place.constant)

    def close(self) -> None:
        """Choose the pointers, inner variables first: each asks for the place that it starts from."""
        # Terms are ordered outermost first, and what a pointer asks for lacks its innermost variable, so going through the
        # variables from the innermost outwards sees every request before it is served.
        pending = sorted(self._constants, key=_inner_order)
        known = set(pending)
        while pending:
            terms = pending.pop()
            bases: list[int] = []
            for constant in self._constants[terms]:
                if not bases or constant - bases[-1] >= IMMEDIATE_SPAN:
                    bases.append(constant)
            self._bases[terms] = bases
            for base in bases:
                pointer = Pointer(terms, base)
                self._by_variable.setdefault(pointer.variable, []).append(pointer)
                self.require(pointer.outer)
            outer = terms[:-1]
            if outer and outer not in known:
                known.add(outer)
                insort(pending, outer, key=_inner_order)

    def pointers(self, variable: Variable) -> Sequence[Pointer]:
        """The pointers that follow a variable."""
        return self._by_variable.get(variable, ())

    def pointer_for(self, place: Place) -> Pointer:
        """The pointer at or up to 2^18-1 elements before a place with at least one variable."""
        bases = self._bases[place.terms]
        return Pointer(place.terms, bases[bisect_right(bases, place.constant) - 1])


def _inner_order(terms: Terms) -> int:
    return terms[-1][0].order
