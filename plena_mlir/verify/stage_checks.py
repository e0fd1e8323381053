"""Stage checks: the golden against the machine at every module boundary, isolated and accumulated.

Isolated, every stage of the golden is fed with what the machine itself had in its memory before that stage, so that a stage answers
for its own error only. Accumulated, the golden runs through on its own values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from plena_mlir.backend.staging import Inputs, arrays_of
from plena_mlir.dialects.plena import stage_of, target_of
from plena_mlir.dialects.plena_tensor import AttentionOp
from plena_mlir.errors import ComparisonError, ExecutionError
from plena_mlir.golden_precision import GoldenPrecision
from plena_mlir.passes.tile.lowering.stages import PROBABILITIES_PART, SCORES_PART
from plena_mlir.verify.attention_parts import AttentionSteps, part_occurrence
from plena_mlir.verify.compare import Comparison, compare
from plena_mlir.verify.execution import Store
from plena_mlir.verify.stages import Occurrence, PartRows, stage_title

if TYPE_CHECKING:
    from plena_mlir.program import CompiledProgram

F32: TypeAlias = NDArray[np.float32]

ISOLATED_REL_RMS = 0.01
"""Bound on a single stage: bfloat16 roundings in other places."""


@dataclass(frozen=True)
class StageCheck:
    """One stage in one iteration of the loops around it.

    Attributes:
        stage: `module path/op`; the loop over layers has filled in the layer.
        isolated: the machine against the golden on the machine's own inputs.
        accumulated: the machine against the golden on the golden's own inputs.
        expected: the relative RMS that `accumulated` may have of the isolated differences before it, if that was measured.
        problem: why the stage could not be compared; a stage that was not compared has not passed.
        zero: alone, golden and machine are zero everywhere, as a relu of few elements may be: alike, and no evidence of more.
    """

    stage: str
    occurrence: Occurrence
    isolated: Comparison | None
    accumulated: Comparison | None
    problem: str | None = None
    expected: float | None = None
    zero: bool = False

    @property
    def passed(self) -> bool:
        """Whether the isolated difference is within the bound."""
        close = self.isolated is not None and self.isolated.rel_rms <= ISOLATED_REL_RMS
        return self.problem is None and (self.zero or close)

    @property
    def failure(self) -> str | None:
        """What is wrong, for a stage that did not pass."""
        if self.passed:
            return None
        if self.problem is not None or self.isolated is None:
            return self.problem or "not compared"
        return f"isolated rel_rms {self.isolated.rel_rms:.3g} exceeds {ISOLATED_REL_RMS:g}"

    def to_json(self) -> dict[str, Any]:
        return {
            "stage": self.stage,
            "passed": self.passed,
            "isolated": None if self.isolated is None else self.isolated.to_json(),
            "accumulated": None if self.accumulated is None else self.accumulated.to_json(),
            "expected": self.expected,
            "problem": self.problem,
            "zero": self.zero,
        }


@dataclass(frozen=True)
class StageValues:
    """What was compared, by stage and iteration."""

    golden: dict[Occurrence, F32] = field(default_factory=dict[Occurrence, F32])
    machine: dict[Occurrence, F32] = field(default_factory=dict[Occurrence, F32])


def check_stages(
    module: ModuleOp,
    inputs: Inputs,
    store: Store,
    captured: Mapping[Occurrence, F32],
    values: StageValues | None = None,
    parts: Mapping[Occurrence, PartRows] | None = None,
    *,
    precision: str | GoldenPrecision = "hardware",
) -> tuple[StageCheck, ...]:
    """Compare every stage that the machine left a value of, in the order of execution.

    Args:
        module: plena_tensor with named stages, as it was lowered.
        captured: the values of the machine, by stage and iteration.
        values: collects what was compared of every stage alone.
        parts: the scores and probabilities of the machine, which every attention must have; without, they are not compared.
        precision: what of the machine the golden imitates.

    Raises:
        ExecutionError: nothing was captured.
    """
    if not captured:
        raise ExecutionError("the run left no values of stages to compare")
    run = _GoldenRun(captured, parts, target_of(module).mlen, precision)
    isolated = run.checks(module, inputs, store, StageValues() if values is None else values, feed=True)
    accumulated = run.checks(module, inputs, store, StageValues(), feed=False)
    checks = [
        replace(alone, accumulated=along.isolated, problem=alone.problem or along.problem)
        for alone, along in zip(isolated, accumulated, strict=True)
    ]
    if checks and checks[-1].zero:
        checks[-1] = replace(checks[-1], problem="the result is zero everywhere, so agreement with it shows nothing")
    seen = {check.occurrence for check in checks}
    missed = [
        StageCheck(stage_title(occurrence), occurrence, None, None, "the machine ran it more often than the golden")
        for occurrence in captured
        if occurrence not in seen
    ]
    return (*checks, *missed)


class _GoldenRun:
    """Runs the golden and compares as it goes."""

    def __init__(
        self,
        captured: Mapping[Occurrence, F32],
        parts: Mapping[Occurrence, PartRows] | None,
        edge: int,
        precision: str | GoldenPrecision,
    ) -> None:
        self._captured = captured
        self._precision = precision
        self._steps = None if parts is None else AttentionSteps(parts, edge)
        self._order: dict[str, list[Occurrence]] = {}
        for occurrence in sorted(captured):
            self._order.setdefault(occurrence[0], []).append(occurrence)
        self._begin(StageValues(), feed=False)

    def _begin(self, values: StageValues, *, feed: bool) -> None:
        self._feed = feed
        self._values = values
        self._times: Counter[str] = Counter()
        self._checks: list[StageCheck] = []

    def checks(self, module: ModuleOp, inputs: Inputs, store: Store, values: StageValues, *, feed: bool) -> Sequence[StageCheck]:
        """One check per stage, the golden on its own values or, to `feed` it, on those of the machine."""
        from plena_mlir.interpreters.tensor import run_tensor

        self._begin(values, feed=feed)
        run_tensor(
            module,
            arrays_of(inputs),
            store,
            precision=self._precision,
            target=target_of(module),
            observe=self._observe,
            observe_steps=None if self._steps is None else self._observe_step,
        )
        return self._checks

    def _occurrence(self, stage: str | None) -> Occurrence | None:
        """The next occurrence of a stage that the machine left a value of."""
        if stage is None or stage not in self._order or self._times[stage] >= len(self._order[stage]):
            return None
        return self._order[stage][self._times[stage]]

    def _observe(self, op: Operation, value: NDArray[Any]) -> NDArray[Any] | None:
        stage = stage_of(op)
        if stage is None or stage not in self._order:
            return None
        occurrence = self._occurrence(stage)
        self._times[stage] += 1
        if occurrence is None:
            self._checks.append(StageCheck(stage, (stage, (-1,)), None, None, "the golden ran it more often than the machine"))
            return None
        actual = self._captured[occurrence]
        expected = np.array(value, np.float32)
        self._values.golden[occurrence], self._values.machine[occurrence] = expected, actual
        if expected.any():
            self._checks.append(_check(occurrence, lambda: compare(actual, expected, name=stage_title(occurrence))))
        else:
            self._checks.append(self._check_zeros(occurrence, actual, expected.shape))
        return actual if self._feed and actual.shape == value.shape else None

    def _check_zeros(self, occurrence: Occurrence, actual: F32, shape: tuple[int, ...]) -> StageCheck:
        """A stage whose golden is zero everywhere; on values of its own that is no measure of how far the machine is off."""
        check = StageCheck(stage_title(occurrence), occurrence, None, None)
        if not self._feed:
            return check
        if actual.any() or actual.shape != shape:  # NaN counts as any
            return replace(check, problem=f"the golden is zero everywhere {shape}, and the machine is not {actual.shape}")
        return replace(check, zero=True)

    def _observe_step(self, op: Operation, step: str, value: F32) -> F32 | None:
        """Scores and exponentials of an attention, on the way to its result."""
        attention = self._occurrence(stage_of(op))
        if self._steps is None or attention is None or not isinstance(op, AttentionOp):
            return None
        try:
            part = self._steps.values(op, step, value, attention)
        except ComparisonError as error:
            name = part_occurrence(attention, SCORES_PART if step == "masked score" else PROBABILITIES_PART)
            self._checks.append(StageCheck(stage_title(name), name, None, None, error.what))
            return None
        if part is None:
            return None
        self._values.golden[part.occurrence] = part.expected
        self._values.machine[part.occurrence] = part.machine.astype(np.float32)
        self._checks.append(_check(part.occurrence, part.compared))
        if step != "masked score" or not self._feed:
            return None
        return np.where(part.seen, part.machine, part.golden).astype(np.float32)


def _check(occurrence: Occurrence, compared: Callable[[], Comparison]) -> StageCheck:
    title = stage_title(occurrence)
    try:
        return StageCheck(title, occurrence, compared(), None)
    except ComparisonError as error:
        return StageCheck(title, occurrence, None, None, error.what)


def check_program(program: CompiledProgram, values: StageValues | None = None) -> tuple[StageCheck, ...]:
    """Run a program on the emulator, on its sample inputs, and check every stage.

    Args:
        values: collects what was compared of every stage alone.

    Raises:
        LoweringError: the program was not compiled to the end.
        ModelImportError: there are no weights.
        Trap: the program did what the machine forbids.
    """
    from plena_mlir.emulator.engine import load_machine
    from plena_mlir.emulator.execution import Execution
    from plena_mlir.verify.machine_stages import machine_stages
    from plena_mlir.verify.stages import StageTable

    machine = load_machine(
        program.target,
        hbm=program.hbm,
        fpsram=program.fpsram,
        intsram=program.intsram_for(program.inputs),
        fill=math.nan,
        strict=True,
    )
    execution = Execution(machine, program.machine_code, program.locations, timing="none")
    parts: dict[Occurrence, PartRows] = {}
    captured = machine_stages(program.stage("isa"), execution, StageTable(program.stage("tile")), parts=parts)
    return check_stages(program.stage("named"), program.inputs, program.source_model.store, captured, values, parts)
