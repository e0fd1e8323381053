"""Emission of virtual-register code: instructions at the end of a block, values that are computed once per scope."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from xdsl.dialects.builtin import LocationAttr, UnknownLoc
from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.dialects import plena_isa as isa
from plena_mlir.passes.isa.places import IMMEDIATE_SPAN, WORD, Place, Pointer, PointerPlan

OpT = TypeVar("OpT", bound=Operation)


@dataclass
class IsaEmitter:
    """Appends instructions to a block and remembers constants and addresses up to the end of the next loop."""

    block: Block
    plan: PointerPlan
    pointers: dict[Pointer, SSAValue] = field(default_factory=dict[Pointer, SSAValue])
    location: LocationAttr = field(default_factory=UnknownLoc)

    def __post_init__(self) -> None:
        self._known: list[dict[Hashable, SSAValue]] = [{}]
        self.zero = self.add(isa.GetGpOp()).rd
        self.fp_zero = self.add(isa.GetFpOp()).rd

    def add(self, op: OpT) -> OpT:
        """Append an operation with the current location."""
        op.location = self.location
        self.block.add_op(op)
        return op

    @contextmanager
    def body(self, block: Block) -> Generator[None]:
        """Emit into the body of a loop."""
        outer, self.block = self.block, block
        self._known.append({})
        yield
        self._known.pop()
        # A value shared across a loop would occupy a register all through it; computing it again takes one instruction.
        for scope in self._known:
            scope.clear()
        self.block = outer

    def once(self, key: Hashable, compute: Callable[[], SSAValue]) -> SSAValue:
        """The value of `compute`, shared by all users of the key that it dominates."""
        for scope in reversed(self._known):
            if key in scope:
                return scope[key]
        value = compute()
        self._known[-1][key] = value
        return value

    def constant(self, value: int) -> SSAValue:
        """A register that holds `value` modulo 2^32."""
        value %= WORD
        if not value:
            return self.zero
        return self.once(value, lambda: self.add(isa.LiOp(value)).rd)

    def address(self, place: Place) -> SSAValue:
        """A register that holds a place."""
        if not place.terms:
            return self.constant(place.constant)
        pointer = self.plan.pointer_for(place)
        offset = place.constant - pointer.base
        if not offset:
            return self.pointers[pointer]
        return self.once(place, lambda: self.add(isa.SAddiIntOp(self.pointers[pointer], offset)).rd)

    def address_and_immediate(self, place: Place) -> tuple[SSAValue, int]:
        """A register and an 18-bit immediate that add up to a place."""
        if place.terms:
            pointer = self.plan.pointer_for(place)
            return self.pointers[pointer], place.constant - pointer.base
        if 0 <= place.constant < IMMEDIATE_SPAN:
            return self.zero, place.constant
        return self.constant(place.constant), 0
