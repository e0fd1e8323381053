"""Stage checks: the golden against the machine at every module boundary, isolated and accumulated.

Isolated, every stage of the golden is fed with what the machine itself had in its memory before that stage, so that a stage answers
for its own error only. Accumulated, the golden runs through on its own values.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from plena_mlir.dialects.plena import stage_of, target_of
from plena_mlir.errors import ComparisonError, ExecutionError
from plena_mlir.verify.compare import Comparison, compare
from plena_mlir.verify.execution import Store
from plena_mlir.verify.stages import Occurrence, stage_title

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
        problem: why the stage could not be compared; a stage that was not compared has not passed.
    """

    stage: str
    occurrence: Occurrence
    isolated: Comparison | None
    accumulated: Comparison | None
    problem: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the isolated difference is within the bound."""
        return self.problem is None and self.isolated is not None and self.isolated.rel_rms <= ISOLATED_REL_RMS

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
            "problem": self.problem,
        }


def check_stages(
    module: ModuleOp,
    inputs: NDArray[Any],
    store: Store,
    captured: Mapping[Occurrence, F32],
    expected: dict[Occurrence, F32] | None = None,
) -> tuple[StageCheck, ...]:
    """Compare every stage that the machine left a value of, in the order of execution.

    Args:
        module: plena_tensor with named stages, as it was lowered.
        captured: the values of the machine, by stage and iteration.
        expected: collects what the golden computes of every stage alone.

    Raises:
        ExecutionError: nothing was captured.
    """
    if not captured:
        raise ExecutionError("the run left no values of stages to compare")
    isolated = _run(module, inputs, store, captured, {} if expected is None else expected, feed=True)
    accumulated = _run(module, inputs, store, captured, {}, feed=False)
    checks = [
        replace(alone, accumulated=along.isolated, problem=alone.problem or along.problem)
        for alone, along in zip(isolated, accumulated, strict=True)
    ]
    seen = {check.occurrence for check in checks}
    missed = [
        StageCheck(stage_title(occurrence), occurrence, None, None, "the machine ran it more often than the golden")
        for occurrence in captured
        if occurrence not in seen
    ]
    return (*checks, *missed)


def _run(
    module: ModuleOp,
    inputs: NDArray[Any],
    store: Store,
    captured: Mapping[Occurrence, F32],
    expected: dict[Occurrence, F32],
    *,
    feed: bool,
) -> Sequence[StageCheck]:
    """Run the golden and compare as it goes; `feed` it with the values of the machine."""
    from plena_mlir.interpreters.tensor import run_tensor

    order: dict[str, list[Occurrence]] = {}
    for occurrence in sorted(captured):
        order.setdefault(occurrence[0], []).append(occurrence)
    times: Counter[str] = Counter()
    checks: list[StageCheck] = []

    def observe(op: Operation, value: NDArray[Any]) -> NDArray[Any] | None:
        stage = stage_of(op)
        if stage is None or stage not in order:
            return None
        number = times[stage]
        times[stage] += 1
        if number >= len(order[stage]):
            checks.append(StageCheck(stage, (stage, (-1,)), None, None, "the golden ran it more often than the machine"))
            return None
        occurrence = order[stage][number]
        actual = captured[occurrence]
        expected[occurrence] = np.array(value, np.float32)
        checks.append(_check(occurrence, actual, expected[occurrence]))
        return actual if feed and actual.shape == value.shape else None

    run_tensor(
        module,
        [np.asarray(inputs)],
        store,
        precision="hardware",
        precisions=target_of(module).precisions,
        observe=observe,
    )
    return checks


def _check(occurrence: Occurrence, actual: F32, expected: F32) -> StageCheck:
    title = stage_title(occurrence)
    try:
        return StageCheck(title, occurrence, compare(actual, expected, name=title), None)
    except ComparisonError as error:
        return StageCheck(title, occurrence, None, None, error.what)


def check_program(program: CompiledProgram, expected: dict[Occurrence, F32] | None = None) -> tuple[StageCheck, ...]:
    """Run a program on the emulator, on its sample inputs, and check every stage.

    Args:
        expected: collects what the golden computes of every stage alone.

    Raises:
        LoweringError: the program was not compiled to the end.
        ModelImportError: there are no weights.
        Trap: the program did what the machine forbids.
    """
    from plena_mlir.emulator.engine import load_machine
    from plena_mlir.emulator.execution import Execution
    from plena_mlir.verify.stages import StageTable, machine_stages

    machine = load_machine(
        program.target,
        hbm=program.hbm,
        fpsram=program.fpsram,
        intsram=program.intsram_for(program.inputs),
        fill=math.nan,
        strict=True,
    )
    execution = Execution(machine, program.machine_code, program.locations, timing="none")
    captured = machine_stages(program.stage("isa"), execution, StageTable(program.stage("tile")))
    return check_stages(program.stage("named"), program.inputs, program.source_model.store, captured, expected)
