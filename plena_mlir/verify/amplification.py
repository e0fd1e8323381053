"""How far the machine may be from its golden by rounding alone: what the difference of every single stage grows to on the way.

Two executions that round in other places differ a little at every stage, and what comes after may make much of it: a key next to
the edge between two MX codes takes the other code, a layer norm of a nearly constant row divides by a small deviation. How much
depends on the model and not on the machine, so it is measured on the golden: the value of each stage gets noise as large as that
stage's isolated difference, and the run with noise is compared with the one without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation

from plena_mlir.backend.staging import arrays_of
from plena_mlir.dialects.plena import stage_of
from plena_mlir.verify.compare import rms
from plena_mlir.verify.stage_checks import StageCheck

if TYPE_CHECKING:
    from plena_mlir.program import CompiledProgram

F32: TypeAlias = NDArray[np.float32]
Checks = Sequence[StageCheck]

DRAWS = 4
"""Runs with noise. For a model of many rows they come to much the same; in one of a few keys a single code decides, and it takes
more of them to meet it."""

UNEXPECTED = 2.0
"""A difference this many times the largest expected one is no rounding."""


def expect_accumulated(program: CompiledProgram, checks: Checks, *, draws: int = DRAWS) -> tuple[StageCheck, ...]:
    """The checks of `check_program` with their `expected` differences: the largest relative RMS of any draw.

    Scores and probabilities are parts of an attention; they get no noise of their own, and nothing is expected of them.
    """
    right = _noisy_golden(program, checks, None)
    expected: dict[int, float] = {}
    for draw in range(draws):
        noisy = _noisy_golden(program, checks, np.random.default_rng(draw))
        for index, value in right.items():
            scale = rms(value)
            found = rms(noisy[index] - value) / scale if scale else 0.0
            expected[index] = max(expected.get(index, 0.0), found)
    return tuple(replace(check, expected=expected.get(index)) for index, check in enumerate(checks))


def rounding_explains(checks: Checks) -> bool:
    """Whether every stage keeps its bound and the last is no farther from the golden than rounding may bring it.

    Args:
        checks: with their expected differences.
    """
    last = checks[-1]
    if last.accumulated is None or last.expected is None:
        return False
    return all(check.passed for check in checks) and last.accumulated.rel_rms <= UNEXPECTED * last.expected


def _noisy_golden(program: CompiledProgram, checks: Checks, noise: np.random.Generator | None) -> dict[int, F32]:
    """The hardware golden's value of every stage, with noise if there is some, by the place of its check."""
    from plena_mlir.interpreters.tensor import run_tensor

    of_stage: dict[str, list[int]] = {}
    for index, check in enumerate(checks):
        of_stage.setdefault(check.occurrence[0], []).append(index)
    found: dict[int, F32] = {}
    times: Counter[str] = Counter()

    def observe(op: Operation, value: NDArray[Any]) -> NDArray[Any] | None:
        stage = stage_of(op)
        if stage is None or times[stage] >= len(of_stage.get(stage, ())):
            return None
        index = of_stage[stage][times[stage]]
        times[stage] += 1
        isolated = checks[index].isolated
        if noise is not None and isolated is not None and isolated.rel_rms > 0:
            value = (value + isolated.rel_rms * rms(value) * noise.standard_normal(value.shape)).astype(value.dtype)
        found[index] = np.array(value, np.float32)
        return value

    run_tensor(
        program.stage("named"),
        arrays_of(program.inputs),
        program.source_model.store,
        precision="hardware",
        target=program.target,
        observe=observe,
    )
    return found
