"""Activations, and rows of weights, joined by rows and by features."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.dialects import plena_tensor as pt
from tests.tensor_programs import TensorProgram, assert_exact, exact, execute, normal

TARGETS = ["8x4x4", "16x4x16"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("rows", "features"), [(4, 16), (7, 20), (20, 12)])
def test_rows_follow_a_row_of_weights(target: str, rows: int, features: int) -> None:
    """Also where the rows then start in the middle of a block."""

    def build(program: TensorProgram):
        token = program.table("token", exact(1, features))
        x = program.hidden(rows, features)
        last = program.add(pt.SliceOp(x, 0, rows - 1, rows)).result
        return program.add(pt.ConcatOp([token, x, last], 0)).result

    assert_exact(build, target, exact(rows, features))


@pytest.mark.parametrize("target", TARGETS)
def test_features_lie_side_by_side_for_the_product_that_reads_them(target: str) -> None:
    """Parts of 12 features, each padded to whole rows of lanes; the weight's columns are padded alike."""
    program = TensorProgram(target)
    x = program.hidden(9, 12)
    first, second = (program.add(pt.SliceOp(x, 0, start, start + 4)).result for start in (0, 5))
    joined = program.add(pt.ConcatOp([first, second], 1)).result
    parameter = program.parameter("w", normal(10, 24))
    weight = program.add(pt.QuantizeOp(parameter, pt.QuantizeFormat.WEIGHT, 1, 12)).result
    outcome = execute(program, program.add(pt.LinearOp(joined, weight)).result, normal(9, 12))
    assert outcome.tile.shape == (4, 10)
    assert outcome.error <= 0.005
    assert np.abs(outcome.tile).max() > 1
