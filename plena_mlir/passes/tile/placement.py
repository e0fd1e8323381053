"""Where buffers that are live at different times go in one memory: intervals in, offsets out. Free of IR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """A buffer of `size` units, live from program point `start` to `stop`, both included."""

    start: int
    stop: int
    size: int

    def meets(self, other: Interval) -> bool:
        """Whether both are live at some point."""
        return self.start <= other.stop and other.start <= self.stop


def peak(intervals: Sequence[Interval], offsets: Sequence[int]) -> int:
    """Units that a placement needs."""
    return max((offset + interval.size for interval, offset in zip(intervals, offsets, strict=True)), default=0)


def live_at_once(intervals: Sequence[Interval]) -> list[int]:
    """The indices of the buffers live at the point where they need the most units together: no placement needs fewer."""
    best: list[int] = []
    most = -1
    for point in sorted({interval.start for interval in intervals}):
        live = [index for index, interval in enumerate(intervals) if interval.start <= point <= interval.stop]
        total = sum(intervals[index].size for index in live)
        if total > most:
            best, most = live, total
    return best


def place(intervals: Sequence[Interval]) -> list[int]:
    """An offset for every buffer, such that no two that are live together overlap.

    Each buffer in turn goes to the lowest place that is free while it lives. Two orders are tried, the largest buffers first and
    the order of the program; the one with the lower peak wins.
    """
    indices = range(len(intervals))
    orders = (
        sorted(indices, key=lambda index: (-intervals[index].size, intervals[index].start, index)),
        sorted(indices, key=lambda index: (intervals[index].start, index)),
    )
    return min((_first_fit(intervals, order) for order in orders), key=lambda offsets: peak(intervals, offsets))


def _first_fit(intervals: Sequence[Interval], order: Sequence[int]) -> list[int]:
    offsets = [0] * len(intervals)
    placed: list[int] = []
    for index in order:
        interval = intervals[index]
        taken = sorted((offsets[other], intervals[other].size) for other in placed if interval.meets(intervals[other]))
        offset = 0
        for start, size in taken:
            if offset + interval.size <= start:
                break
            offset = max(offset, start + size)
        offsets[index] = offset
        placed.append(index)
    return offsets
