"""Every pass checked by execution: the IR before and after it runs on the same inputs and must give the same values.

What a pass may change is declared here, in one table. A pass that is not in it must not change a bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.errors import MiscompileError
from plena_mlir.verify.execution import F32, Execution, Executor, Level, level_of


@dataclass(frozen=True)
class NumericsChange:
    """How far the result after a pass may be from the one before it.

    Attributes:
        rel_rms: largest relative RMS difference; 0 demands equal bits.
        of_formats: with it, the difference may also be at most this share of what the machine's number formats cost.
        last_row: only the last row of the result before the pass remains.
        reason: why the values change.
    """

    rel_rms: float = 0.0
    of_formats: float | None = None
    last_row: bool = False
    reason: str = ""


EXACT = NumericsChange()
_REASSOCIATED = 2e-6

CHANGES: Mapping[str, NumericsChange] = MappingProxyType(
    {
        "raise-norms": NumericsChange(_REASSOCIATED, reason="x / sqrt(mean) for x * rsqrt(mean)"),
        "raise-rope": NumericsChange(_REASSOCIATED, reason="another order of operations"),
        "raise-attention": NumericsChange(_REASSOCIATED, reason="another order of operations"),
        "flatten-batch": NumericsChange(_REASSOCIATED, reason="products of other shapes"),
        "fold-norm-weights": NumericsChange(_REASSOCIATED, reason="the gain multiplies the weights"),
        "fold-attention-scale": NumericsChange(_REASSOCIATED, reason="the scale multiplies the weights"),
        "drop-unused-positions": NumericsChange(_REASSOCIATED, last_row=True, reason="products of fewer rows"),
        "tile-vram": NumericsChange(_REASSOCIATED, reason="products of fewer rows"),
        "convert-tensor-to-tile": NumericsChange(0.05, of_formats=0.4, reason="roundings in other places"),
        "expand-attention": NumericsChange(0.02, reason="online softmax rounds running sums per block of keys"),
        "split-k": NumericsChange(0.01, reason="partial sums are rounded to bfloat16"),
        "expand-matmul": NumericsChange(0.01, reason="products are summed in float32, tile by tile"),
    }
)
"""Pass name -> what it may change. All others keep every bit."""


class PassChecker:
    """Follows a pipeline: call `start` with the module, then `after` for every pass that ran on it.

    Attributes:
        skipped: passes that could not be checked, because what they work on cannot run here.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._before: Execution | None = None
        self._before_hardware: F32 | None = None
        self.skipped: list[str] = []

    def start(self, module: ModuleOp) -> None:
        """Run the module as the first pass gets it."""
        self._run(module)

    def after(self, name: str, module: ModuleOp) -> None:
        """Run the module as the pass `name` left it and compare.

        Raises:
            MiscompileError: the values differ by more than the pass declares.
        """
        before, before_hardware = self._before, self._before_hardware
        self._run(module)
        after = self._before
        if before is None or after is None:
            self.skipped.append(name)
            return
        change = CHANGES.get(name, EXACT)
        if before.level is Level.TENSOR and after.level is not Level.TENSOR:
            assert before_hardware is not None
            _compare(before_hardware, after.output, name, change, formats=before.output)
            return
        _compare(before.output, after.output, name, change)
        if before.memory is not None and after.memory is not None:
            _compare(before.memory, after.memory, name, change)
        if before_hardware is not None and self._before_hardware is not None and has_formats(module):
            _compare(before_hardware, self._before_hardware, name, change)

    def _run(self, module: ModuleOp) -> None:
        self._before = self._before_hardware = None
        if not self._executor.can_run(module):
            return
        self._before = self._executor.run(module)
        if level_of(module) is Level.TENSOR and has_formats(module):
            self._before_hardware = self._executor.run(module, hardware=True).output


def has_formats(module: ModuleOp) -> bool:
    """Whether a plena_tensor module says in which formats its values are stored, as the machine's golden needs."""
    return any(op.name == "plena_tensor.quantize" for op in module.walk())


def _compare(before: F32, after: F32, name: str, change: NumericsChange, *, formats: F32 | None = None) -> None:
    if change.last_row:
        before = before[-1:]
    if before.shape != after.shape:
        raise MiscompileError(f"the result was {before.shape} and is {after.shape}", where=name)
    if np.array_equal(before.view(np.uint32), after.view(np.uint32)) or np.array_equal(before, after, equal_nan=True):
        return
    allowed = change.rel_rms
    difference = after.astype(np.float64) - before.astype(np.float64)
    relative = _rms(difference) / _rms(before)
    if change.of_formats is not None and formats is not None:
        cost = _rms(before.astype(np.float64) - formats.astype(np.float64)) / _rms(before)
        allowed = min(allowed, max(change.of_formats * cost, 1e-3))
    # Written so that NaN, of which the difference is NaN too, is never within the bound.
    if relative <= allowed:
        return
    wrong = np.argwhere(~(np.abs(difference) <= allowed * _rms(before)))
    place = tuple(int(index) for index in (wrong[0] if wrong.size else np.unravel_index(0, before.shape)))
    raise MiscompileError(
        f"the pass changes what the program computes: rel_rms {relative:.3g} exceeds {allowed:.3g}; {len(wrong)} of "
        f"{before.size} values differ, first at {place}: {before[place]:.9g} before, {after[place]:.9g} after",
        where=name,
        hint="this is a bug; please report it",
    )


def _rms(values: F32 | np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
