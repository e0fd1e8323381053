"""An independent check of a memory plan: who owns each piece of memory is followed through the program.

It knows nothing of live intervals. Every operation that accesses a buffer claims the buffer's whole place; a buffer that comes back
to a place which another buffer has claimed in the meantime has lost its contents. Loop bodies are followed twice, so that what one
iteration leaves to the next is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from xdsl.dialects import func, scf
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation

from plena_mlir.dialects.plena import module_path, target_of
from plena_mlir.dialects.plena_tile.attributes import RefType, Space
from plena_mlir.dialects.plena_tile.memory import IDS, OUTPUT, AllocOp, AtOp, GlobalOp, ViewOp, is_buffer, owning_buffer, space_of
from plena_mlir.target import HBM_BLOCK, MX_BLOCK, Target


class MemoryFault(Enum):
    """The ways a memory plan can be wrong."""

    UNPLACED = "has no address"
    MISALIGNED = "is not aligned"
    OUT_OF_BOUNDS = "lies outside its memory"
    OVERLAP = "overlaps what is live at the same time"


@dataclass(frozen=True)
class Violation:
    """One fault of a plan."""

    error: MemoryFault
    subject: str

    def __str__(self) -> str:
        return f"{self.subject} {self.error.value}"


@dataclass(frozen=True)
class _Place:
    space: Space
    start: int
    stop: int

    def overlaps(self, other: _Place) -> bool:
        return self.space is other.space and self.start < other.stop and other.start < self.stop


def check_memory(module: ModuleOp) -> list[Violation]:
    """Everything that is wrong with the addresses of a plena_tile module; nothing for a sound plan."""
    target = target_of(module)
    violations = list(_check_globals(module, target))
    for op in module.body.block.ops:
        if isinstance(op, func.FuncOp):
            found = list(_check_places(op, target))
            # Without an address for everybody there is nothing to follow.
            violations += found or _Owners(op).run()
    return violations


def _check_globals(module: ModuleOp, target: Target) -> Iterator[Violation]:
    placed: list[tuple[int, int, str]] = []
    for op in module.body.block.ops:
        if not isinstance(op, GlobalOp):
            continue
        subject = f"global {op.sym_name.data}"
        if op.address is None:
            yield Violation(MemoryFault.UNPLACED, subject)
            continue
        assert is_buffer(op.type)
        start, count = op.address.value.data, math.prod(op.type.get_shape())
        if start % HBM_BLOCK:
            yield Violation(MemoryFault.MISALIGNED, subject)
        stop = start + count + count // MX_BLOCK
        if start < 0 or stop > target.hbm_size:
            yield Violation(MemoryFault.OUT_OF_BOUNDS, subject)
        for other_start, other_stop, other in placed:
            if start < other_stop and other_start < stop:
                yield Violation(MemoryFault.OVERLAP, f"{subject} (with {other})")
        placed.append((start, stop, subject))


def _limits(space: Space, target: Target) -> tuple[int, int]:
    """(alignment, size) of an on-chip memory in elements."""
    return {
        Space.VRAM: (target.vlen, target.vector_sram_rows * target.vlen),
        Space.MRAM: (target.tile_elements, target.matrix_sram_tiles * target.tile_elements),
        Space.FPRAM: (1, target.fp_sram_words),
        Space.INTRAM: (1, target.int_sram_words),
    }[space]


def _place(op: AllocOp) -> _Place:
    assert op.address is not None
    assert is_buffer(op.buffer.type)
    start = op.address.value.data
    return _Place(space_of(op.buffer.type), start, start + math.prod(op.buffer.type.get_shape()))


def _subject(op: AllocOp) -> str:
    name = module_path(op) or op.buffer.name_hint or "unnamed"
    return f"buffer {name} of type {op.buffer.type}"


def _check_places(main: func.FuncOp, target: Target) -> Iterator[Violation]:
    for op in main.walk():
        if not isinstance(op, AllocOp):
            continue
        if op.address is None:
            yield Violation(MemoryFault.UNPLACED, _subject(op))
            continue
        place = _place(op)
        alignment, size = _limits(place.space, target)
        if place.start % alignment:
            yield Violation(MemoryFault.MISALIGNED, _subject(op))
        if place.start < 0 or place.stop > size:
            yield Violation(MemoryFault.OUT_OF_BOUNDS, _subject(op))


class _Owners:
    """Follows a function and remembers which buffers still have their contents."""

    def __init__(self, main: func.FuncOp) -> None:
        self.main = main
        self.places: dict[AllocOp, _Place] = {op: _place(op) for op in main.walk() if isinstance(op, AllocOp)}
        self.rivals: dict[AllocOp, list[AllocOp]] = {
            op: [other for other, there in self.places.items() if other is not op and place.overlaps(there)]
            for op, place in self.places.items()
        }
        self.intact: set[AllocOp] = set()
        self.lost: set[AllocOp] = set()
        self.faults: dict[AllocOp, None] = {}

    def run(self) -> list[Violation]:
        """The buffers that lose their contents while they still need them."""
        for op in self.places:
            if op.role is not None and op.role.data == IDS:
                self._touch(op)
        self._follow(self.main.body.block)
        for op in self.places:
            if op.role is not None and op.role.data == OUTPUT:
                self._touch(op)
        return [Violation(MemoryFault.OVERLAP, _subject(op)) for op in self.faults]

    def _follow(self, block: Block) -> None:
        for op in block.ops:
            if isinstance(op, scf.ForOp):
                self._follow(op.body.block)
                self._follow(op.body.block)
            elif isinstance(op, AllocOp):
                if op.role is None or op.role.data != IDS:
                    self.intact.discard(op)
                    self.lost.discard(op)
            elif not isinstance(op, AtOp | ViewOp):
                buffers = list(_accessed(op))
                for buffer in buffers:
                    self._touch(buffer)
                # What one operand has claimed from another is lost within the operation.
                self.faults.update(dict.fromkeys(buffer for buffer in buffers if buffer in self.lost))

    def _touch(self, op: AllocOp) -> None:
        if op in self.lost:
            self.faults[op] = None
        self.lost.discard(op)
        self.intact.add(op)
        for rival in self.rivals[op]:
            if rival in self.intact:
                self.intact.discard(rival)
                self.lost.add(rival)


def _accessed(op: Operation) -> Iterator[AllocOp]:
    for operand in op.operands:
        if isinstance(operand.type, RefType) or is_buffer(operand.type):
            owner = owning_buffer(operand).owner
            if isinstance(owner, AllocOp):
                yield owner
