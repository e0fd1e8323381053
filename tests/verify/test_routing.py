"""Choices of experts compared as choices: equal ones, near ties, wrong ones, and runs that do not fit each other."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ComparisonError
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.verify.bounds import ROUTING_GAP, broken_bounds
from plena_mlir.verify.routing import Router, has_routing
from tests.tensor_programs import TensorProgram, normal

LOGITS = np.array([[4, 1, 3.5, -2], [0, 5, 1, 4.9], [1, 2, 3, 4]], np.float32)


def choose(chosen: list[list[int]], *, force: bool) -> tuple[Router, NDArray[np.float32]]:
    """Three rows choose two of four experts, whose outputs are their numbers plus one; the machine chose as given."""
    program = TensorProgram("8x4x4")
    logits = program.linear(program.hidden(3, 4), "router", np.eye(4, dtype=np.float32))
    ids = program.add(pt.TopkOp(logits, 2)).result
    weights = program.add(pt.MoeWeightsOp(logits, ids, pt.Normalised.CHOSEN)).result
    stack = program.weight("experts", np.arange(1, 5, dtype=np.float32)[:, None, None] * np.ones((4, 1, 4), np.float32))
    y = program.add(pt.ExpertLinearOp(program.hidden(3, 4), stack, ids)).result
    module = program.finish(program.add(pt.MoeCombineOp(y, weights)).result)
    assert has_routing(module)
    router = Router([np.array([*row, 7, 7]) for row in chosen], force)
    inputs = [LOGITS, np.full((3, 4), 0.25, np.float32)]
    return router, run_tensor(module, inputs, program.store, observe=router)[0][:, 0]


def test_equal_choices_in_another_order_are_equal() -> None:
    router, _ = choose([[2, 0], [1, 3], [3, 2]], force=False)
    assert (router.agreement.choices, router.agreement.equal, router.agreement.widest_gap) == (3, 3, 0.0)


@pytest.mark.parametrize("force", [False, True])
def test_a_forced_run_goes_on_with_the_choices_of_the_machine(force: bool) -> None:
    router, output = choose([[0, 2], [1, 2], [3, 2]], force=force)
    assert router.agreement.equal == 2
    # Row 1 takes experts 1 and 3, or 1 and 2 with logits 5 and 1.
    second = 3 if force else 4
    weight = 1 / (1 + np.exp(LOGITS[1, second - 1] - 5))
    assert output[1] == pytest.approx(2 * weight + second * (1 - weight), rel=1e-5)


def test_a_choice_that_is_no_near_tie_breaks_its_bound() -> None:
    near, _ = choose([[0, 2], [1, 3], [3, 2]], force=False)
    wrong, _ = choose([[0, 2], [3, 2], [3, 2]], force=False)
    assert broken_bounds({}, layers=2, routing={"golden": near.agreement}) == ()
    assert wrong.agreement.widest_gap > ROUTING_GAP
    (sentence,) = broken_bounds({}, layers=2, routing={"golden": wrong.agreement})
    assert sentence.startswith("routing: 1 of 3 choices of experts differ")


@pytest.mark.parametrize("chosen", [[[0, 2]], [[0, 2]] * 4])
def test_runs_of_different_length_do_not_compare(chosen: list[list[int]]) -> None:
    with pytest.raises(ComparisonError, match="the machine chose experts for"):
        _ = choose(chosen, force=False)[0].agreement


def test_a_program_without_choices_has_none() -> None:
    program = TensorProgram("8x4x4")
    assert not has_routing(program.finish(program.linear(program.hidden(3, 4), "proj", normal(4, 4))))
