"""When each on-chip buffer of a plena_tile program is live, over its structured loops."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from xdsl.dialects import func
from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.dialects.plena_tile.attributes import Space
from plena_mlir.dialects.plena_tile.memory import IDS, OUTPUT, AllocOp, AtOp, ViewOp, is_buffer, space_of


@dataclass(frozen=True)
class LiveBuffer:
    """A buffer and the program points, in the order of the text, between which its contents matter.

    Attributes:
        alloc: where it comes from.
        space: its memory.
        elements: its size.
        start: the point of its first use; a loop that uses it counts as a whole, unless the alloc is in that loop.
        stop: the last point of its last use.
    """

    alloc: AllocOp
    space: Space
    elements: int
    start: int
    stop: int


def _number(block: Block, points: dict[Operation, tuple[int, int]], first: int) -> int:
    """Give every operation its first and last point; what comes next."""
    for op in block.ops:
        last = first + 1
        for region in op.regions:
            for inner in region.blocks:
                last = _number(inner, points, last)
        points[op] = (first, last - 1)
        first = last
    return first


def _users(buffer: SSAValue) -> Iterator[Operation]:
    """The operations that access a buffer, through views and places too."""
    for use in buffer.uses:
        op = use.operation
        if isinstance(op, AtOp | ViewOp):
            yield from _users(op.results[0])
        else:
            yield op


def _points_of_use(alloc: AllocOp, points: dict[Operation, tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last point of every operation in the block of `alloc` that accesses its buffer, or holds one that does."""
    block = alloc.parent_block()
    assert block is not None
    spans: list[tuple[int, int]] = []
    for user in _users(alloc.buffer):
        op = block.find_ancestor_op_in_block(user)
        assert op is not None, "SSA dominance: a use is nested in the block of its definition"
        spans.append(points[op])
    return spans


def live_buffers(main: func.FuncOp) -> list[LiveBuffer]:
    """Every alloc of a function, in program order.

    An alloc in a loop body lives within one iteration; one outside lives through every loop that uses it. A buffer with the role
    "ids" is live from the start of the program, one with the role "output" to its end.
    """
    points: dict[Operation, tuple[int, int]] = {}
    end = _number(main.body.block, points, 0)
    result: list[LiveBuffer] = []
    for op in main.walk():
        if not isinstance(op, AllocOp):
            continue
        type = op.buffer.type
        assert is_buffer(type)
        spans = _points_of_use(op, points) or [points[op]]
        role = None if op.role is None else op.role.data
        start = 0 if role == IDS else min(first for first, _ in spans)
        stop = end if role == OUTPUT else max(last for _, last in spans)
        result.append(LiveBuffer(op, space_of(type), math.prod(type.get_shape()), start, stop))
    return result
