"""Sums of rows, and rows taken at a step."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.dialects import plena_tensor as pt
from tests.tensor_programs import TensorProgram, assert_exact, exact, execute, normal

TARGETS = ["8x4x4", "16x4x16"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("sequences", "rows"), [(1, 2), (1, 7), (1, 20), (3, 5), (10, 2)])
def test_rows_of_each_sequence_are_added_up(target: str, sequences: int, rows: int) -> None:
    """Also where a sequence starts in the middle of a block of rows; every partial sum here is exact."""

    def build(program: TensorProgram):
        return program.add(pt.SumRowsOp(program.hidden(sequences * rows, 20), sequences)).result

    assert_exact(build, target, exact(sequences * rows, 20))


def test_a_sum_of_many_rows_is_rounded_as_often_as_it_is_halved() -> None:
    program = TensorProgram("8x4x4")
    outcome = execute(program, program.add(pt.SumRowsOp(program.hidden(64, 12), 1)).result, 1 + normal(64, 12) / 4)
    np.testing.assert_allclose(outcome.tile, outcome.hardware, rtol=6 / 256)
    assert outcome.error <= 0.005


@pytest.mark.parametrize("target", TARGETS)
def test_one_row_of_every_sequence(target: str) -> None:
    """Rows 1, 6, 11: the second of each of three sequences of five."""

    def build(program: TensorProgram):
        return program.add(pt.SliceOp(program.hidden(15, 20), 0, 1, 12, 5)).result

    assert_exact(build, target, exact(15, 20))
