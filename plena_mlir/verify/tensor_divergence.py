"""The first operation of plena_tensor that computes something else, between two forms of a program that have both been run.

Passes at the tensor level fuse, fold and move operations, so that a value of one form need not exist in the other, and need not be
wrong for that. An operation is at fault if its value is found nowhere in the other form, and so is every value that depends on it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.ir import Operation, OpResult, SSAValue

from plena_mlir.backend.staging import Inputs, arrays_of
from plena_mlir.dialects.plena import module_path, target_of
from plena_mlir.dialects.plena_tensor import QuantizeOp
from plena_mlir.golden_precision import GoldenPrecision
from plena_mlir.verify.execution import F32, Store

AGREES = 1e-5
"""Relative RMS difference up to which two float32 values are one: orders of summation differ."""


@dataclass(frozen=True)
class OpValue:
    """One execution of an operation on activations.

    Attributes:
        title: `module path/op`, with the layer, and a number from the second op of a kind on.
        times: how often the operation had run before.
    """

    op: Operation
    title: str
    times: int
    value: F32

    @property
    def path(self) -> str:
        return self.title.rpartition("/")[0]


@dataclass(frozen=True)
class WrongOp:
    """An operation that computes something else. `expected` has the shape of `actual`; None if the other form has no such value."""

    found: OpValue
    expected: F32 | None


def trace(module: ModuleOp, inputs: Inputs, store: Store, *, precision: str | GoldenPrecision = "fp32") -> list[OpValue]:
    """Every value on the way from the inputs to the result, in the order of execution."""
    from plena_mlir.interpreters.tensor import run_tensor

    titles = dict(_static_titles(module))
    times: Counter[Operation] = Counter()
    values: list[OpValue] = []

    def observe(op: Operation, value: NDArray[Any]) -> None:
        if op in titles and value.dtype.kind == "f" and not isinstance(op, QuantizeOp):
            title = titles[op]
            if "{}" in title:
                title = title.replace("{}", str(_outermost_iteration(op, times[op])), 1)
            values.append(OpValue(op, title, times[op], np.array(value, np.float32)))
        times[op] += 1

    target = None if precision == "fp32" else target_of(module)
    run_tensor(module, arrays_of(inputs), store, precision=precision, target=target, observe=observe)
    return values


def _static_titles(module: ModuleOp) -> Iterator[tuple[Operation, str]]:
    seen: Counter[str] = Counter()
    for op in module.walk():
        if op.name.startswith("plena_tensor."):
            title = f"{module_path(op)}/{op.name.rpartition('.')[2]}"
            number = seen[title]
            seen[title] += 1
            yield op, f"{title}.{number}" if number else title


def _outermost_iteration(op: Operation, times: int) -> int:
    """The variable of the outermost loop around an operation, when it has run `times` times before."""
    found = times
    parent = op.parent_op()
    while parent is not None:
        if isinstance(parent, scf.ForOp):
            first, last, step = (_integer(bound) for bound in (parent.lb, parent.ub, parent.step))
            trips = max(1, -(-(last - first) // step))
            found, times = first + times % trips * step, times // trips
        parent = parent.parent_op()
    return found


def _integer(value: SSAValue) -> int:
    assert isinstance(value, OpResult) and isinstance(value.op, arith.ConstantOp) and isinstance(value.op.value, IntegerAttr)
    return value.op.value.value.data


def first_wrong_op(before: Sequence[OpValue], after: Sequence[OpValue]) -> WrongOp | None:
    """The first operation of `after` at fault, preferably one that `before` has too; None if there is none.

    Args:
        before: the values that are right.
        after: the values of the form under test; of fewer rows, if only the last ones are still computed.
    """
    known = _Known(before)
    agrees = [known.has(found) for found in after]
    dependents = _Dependents()
    fallback: WrongOp | None = None
    for number, found in enumerate(after):
        if agrees[number]:
            continue
        later = after[number + 1 :]
        if any(agrees[number + 1 + index] and dependents.depends(other, found) for index, other in enumerate(later)):
            continue
        expected = known.counterpart(found)
        if expected is not None:
            return WrongOp(found, expected)
        fallback = fallback or WrongOp(found, None)
    return fallback


def first_other_op(before: Sequence[OpValue], after: Sequence[OpValue]) -> WrongOp | None:
    """The first operation of `after` whose value is another than that of the operation of the same title in `before`."""
    titled = {(known.title, known.times): known for known in before}
    for found in after:
        known = titled.get((found.title, found.times)) or titled.get((found.title, 0))
        if known is not None and known.value.shape == found.value.shape and not agree(known.value, found.value):
            return WrongOp(found, known.value)
    return None


def agree(one: F32, other: F32) -> bool:
    """Whether two values of one shape are the same apart from float32 rounding; NaN agrees with nothing."""
    wide = one.astype(np.float64)
    difference = wide - other.astype(np.float64)
    return bool(np.sqrt(np.mean(np.square(difference))) <= AGREES * np.sqrt(np.mean(np.square(wide))))


class _Known:
    """Values by their contents. Equal values have close projections on one random direction, which is cheap to look up."""

    def __init__(self, values: Sequence[OpValue]) -> None:
        self._values = values
        self._by_size: dict[int, list[OpValue]] = defaultdict(list)
        self._directions: dict[int, NDArray[np.float64]] = {}
        for value in values:
            self._by_size[value.value.size].append(value)
        self._projections = {
            size: np.array([self._projection(value.value) for value in group]) for size, group in self._by_size.items()
        }

    def _projection(self, value: F32) -> float:
        if value.size not in self._directions:
            self._directions[value.size] = np.random.default_rng(value.size).normal(size=value.size)
        return float(self._directions[value.size] @ value.reshape(-1).astype(np.float64)) / max(1.0, value.size**0.5)

    def has(self, found: OpValue) -> bool:
        """Whether the values of an operation occur, in whatever shape, or as the last rows of a value of more rows."""
        return self._same_size(found.value) or self._last_rows(found)

    def _same_size(self, value: F32) -> bool:
        group = self._by_size.get(value.size)
        if not group:
            return False
        reach = 10 * AGREES * float(np.sqrt(np.mean(np.square(value, dtype=np.float64))))
        near = np.flatnonzero(np.abs(self._projections[value.size] - self._projection(value)) <= reach)
        return any(agree(group[number].value.reshape(value.shape), value) for number in near)

    def _last_rows(self, found: OpValue) -> bool:
        size = found.value.size
        return any(
            known.value.size > size
            and known.value.size % size == 0
            and known.value.shape[-1] == found.value.shape[-1]
            and agree(known.value.reshape(-1)[-size:].reshape(found.value.shape), found.value)
            for known in self._values
            if known.path == found.path
        )

    def counterpart(self, found: OpValue) -> F32 | None:
        """What an operation should have computed: the value of its like, or, if it is new, what its module gave on."""
        same = [known for known in self._values if known.title == found.title and known.value.size == found.value.size]
        if same:
            known = same[min(found.times, len(same) - 1)]
            alike = len(known.op.operands) == len(found.op.operands)
            return known.value.reshape(found.value.shape) if alike else None
        gave = [known for known in self._values if known.path == found.path and known.value.size == found.value.size]
        return gave[-1].value.reshape(found.value.shape) if gave else None


class _Dependents:
    """Which operations depend on which, within an iteration of the loops around them and from one to the next."""

    def __init__(self) -> None:
        self._known: dict[Operation, tuple[set[Operation], set[Operation]]] = {}

    def depends(self, later: OpValue, earlier: OpValue) -> bool:
        same, carried = self._of(earlier.op)
        if later.op in carried and later.times > earlier.times:
            return True
        together = later.op.parent_block() is earlier.op.parent_block()
        return later.op in same and (later.times == earlier.times or not together)

    def _of(self, op: Operation) -> tuple[set[Operation], set[Operation]]:
        if op not in self._known:
            same: set[Operation] = set()
            carried: set[Operation] = set()
            pending = [(result, False) for result in op.results]
            seen: set[tuple[SSAValue, bool]] = set(pending)
            while pending:
                value, crossed = pending.pop()
                for use in value.uses:
                    user, next_values = use.operation, list[tuple[SSAValue, bool]]()
                    if isinstance(user, scf.YieldOp) and isinstance(loop := user.parent_op(), scf.ForOp):
                        next_values = [(loop.results[use.index], crossed), (loop.body.block.args[use.index + 1], True)]
                    elif isinstance(user, scf.ForOp):
                        next_values = [(user.body.block.args[use.index - 2], crossed)] if use.index >= 3 else []
                    else:
                        (carried if crossed else same).add(user)
                        next_values = [(result, crossed) for result in user.results]
                    pending += [item for item in next_values if item not in seen]
                    seen.update(next_values)
            self._known[op] = same, carried
        return self._known[op]
