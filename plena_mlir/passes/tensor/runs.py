"""Numbers as runs: what a slice can take at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def runs(numbers: Iterable[int], is_step: Callable[[int], bool]) -> list[tuple[int, int, int]]:
    """The numbers in order as runs (first, step, count), each as long as it can be, with the steps that `is_step` allows.

    The step of a single number is 1.
    """
    found: list[tuple[int, int, int]] = []
    for number in numbers:
        if found:
            first, step, count = found[-1]
            if count == 1 and is_step(number - first):
                found[-1] = (first, number - first, 2)
                continue
            if count > 1 and number == first + step * count:
                found[-1] = (first, step, count + 1)
                continue
        found.append((number, 1, 1))
    return found
