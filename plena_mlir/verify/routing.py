"""The choices of a mixture of experts, on the machine and above it.

A choice is discrete: where two logits nearly tie, one rounding more or less sends a row to another expert, and what comes out
has nothing to do with rounding any more. So the choices are compared as choices, and the golden is asked what it computes with
those of the machine: its error then is that of arithmetic, and a choice that differs though nothing nearly ties is an error itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor, plena_tile
from plena_mlir.errors import ComparisonError

if TYPE_CHECKING:
    from xdsl.dialects import scf

    from plena_mlir.interpreters.tile_memory import TileMemory

Array = NDArray[Any]


def has_routing(module: ModuleOp) -> bool:
    """Whether a plena_tensor module chooses anything."""
    return any(isinstance(op, plena_tensor.TopkOp) for op in module.walk())


@dataclass(frozen=True)
class RoutingAgreement:
    """How far two levels choose alike.

    Attributes:
        choices: rows times routers.
        equal: how many of them are the same experts, in whatever order.
        widest_gap: where they differ, the largest distance in the reference's own logits, relative to the RMS of the row's logits,
            between an expert that it chose and one that the machine took instead; 0 if all are equal.
    """

    choices: int
    equal: int
    widest_gap: float

    def to_json(self) -> dict[str, float]:
        return asdict(self)


class TileChoices:
    """A watcher of `run_tile` that records what every V_TOPK leaves in INT SRAM, in the order of execution.

    The engine's choices are the same as long as the two agree in every bit of the output.
    """

    def __init__(self) -> None:
        self.chosen: list[Array] = []
        self._memory: TileMemory | None = None

    def starts(self, memory: TileMemory) -> None:
        self._memory = memory

    def runs(self, op: Operation, operands: Sequence[Any]) -> None:
        pass

    def ran(self, op: Operation, operands: Sequence[Any]) -> None:
        if isinstance(op, plena_tile.RowTopkOp):
            assert self._memory is not None
            first = operands[2]
            _, width = plena_tensor.TOPK_POLICIES[op.policy.value.data]
            self.chosen.append(self._memory.array_at(op.lanes)[first : first + width].astype(np.int64))

    def iterates(self, op: scf.ForOp) -> None:
        pass


@dataclass
class Router:
    """Follows a run of the tensor level (as its `observe`), compares its choices with those of the machine, and may give it them.

    Args:
        chosen: those of the machine, row by row.
        force: go on with the machine's choices; else with its own.
    """

    chosen: Sequence[Array]
    force: bool
    _used: int = 0
    _equal: int = 0
    _widest: float = 0.0
    _logits: dict[SSAValue, Array] = field(default_factory=dict[SSAValue, Array])

    def __call__(self, op: Operation, value: Array) -> Array | None:
        if isinstance(op, plena_tensor.TopkOp):
            return self._compare(op, value)
        if any(isinstance(use.operation, plena_tensor.TopkOp) for use in op.results[0].uses):
            self._logits[op.results[0]] = np.array(value)
        return None

    def _compare(self, op: plena_tensor.TopkOp, value: Array) -> Array | None:
        rows, k = value.shape
        part = self.chosen[self._used : self._used + rows]
        if len(part) != rows:
            raise ComparisonError(f"the machine chose experts for {len(self.chosen)} rows, fewer than the tensor level")
        self._used += rows
        machine = np.stack([row[:k] for row in part])
        for own, taken, logits in zip(value, machine, self._logits[op.x], strict=True):
            missed, instead = np.setdiff1d(own, taken), np.setdiff1d(taken, own)
            if not missed.size:
                self._equal += 1
                continue
            scale = float(np.sqrt(np.mean(np.square(logits, dtype=np.float64))))
            gap = float(logits[missed].max() - logits[instead].min())
            self._widest = max(self._widest, gap / scale if scale else float("inf"))
        return machine if self.force else None

    @property
    def agreement(self) -> RoutingAgreement:
        """What was found, once the run is over.

        Raises:
            ComparisonError: the machine chose for more rows.
        """
        if self._used != len(self.chosen):
            raise ComparisonError(f"the machine chose experts for {len(self.chosen)} rows, the tensor level for {self._used}")
        return RoutingAgreement(self._used, self._equal, self._widest)
