"""Runs of the tile interpreter: what is refused, what a run is given, both drivers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from xdsl.interpreter import OpCounter

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import name_location
from plena_mlir.errors import ExecutionError
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.passes.tile.emitter import Index
from plena_mlir.target.layout import GlobalData, Layout
from tests.tile_programs import Program, exact, run

# --- refusals -------------------------------------------------------------------------------------------------------------------


def test_an_access_outside_its_buffer_names_the_operation_and_the_module() -> None:
    program = Program()
    out = program.rows(1, 4, "output")
    with program.loop(5) as row:
        op = program.add(pt.RowShiftOp(program.at(out, 0, row, 0), program.at(out, 0, 0, 0), 8))
        op.location = name_location("model.layers.3.mlp")
    with pytest.raises(ExecutionError, match=r"model.layers.3.mlp: plena_tile.row_shift: operand 0 is at element 32 .* of 32 and"):
        run(program)


@pytest.mark.parametrize(
    ("place", "problem"),
    [((0, 0, 4), "element 4 .unit 0 of 8, . 4"), ((0, -1, 0), "element -8"), ((0, 1, 0), "of 32 and covers 32")],
)
def test_misplaced_rows_are_refused(place: tuple[int, int, int], problem: str) -> None:
    program = Program()
    source, out = program.hbm("x", (1, 4, 8), np.zeros((4, 8)), pt.Precision.ACT), program.rows(1, 4, "output")
    program.add(pt.LoadRowsOp(program.at(source, 0, 0, 0), program.at(out, *place)))
    with pytest.raises(ExecutionError, match=problem):
        run(program)


@pytest.mark.parametrize(("form", "place"), [("mm", (0, 0, 4)), ("tmm", (0, 2, 0)), ("btmm", (0, 4, 0)), ("bmm", (0, 0, 2))])
def test_matrix_places_follow_the_form(form: str, place: tuple[int, int, int]) -> None:
    program = Program()
    mram, vram = program.alloc(pt.Space.MRAM, [1, 8, 8]), program.rows(1, 8, "output")
    program.add(pt.AccumulateOp(pt.Accumulator(form), program.at(vram, 0, 0, 0), program.at(mram, *place)))
    with pytest.raises(ExecutionError, match="operand 1 is at element"):
        run(program)


def test_scale_bytes_that_straddle_a_block_are_refused() -> None:
    program = Program("48x4x4")
    source = program.hbm("x", (10, 48), np.zeros((10, 48)), pt.Precision.ACT)
    out = program.rows(1, 4, "output")
    # The scale region starts 32 bytes into a block; the six bytes of row 5 start at 62.
    program.add(pt.LoadRowsOp(program.at(source, 4, 0), program.at(out, 0, 0, 0)))
    with pytest.raises(ExecutionError, match="straddle"):
        run(program)


def test_missing_and_unknown_inputs_are_refused() -> None:
    program = Program()
    program.alloc(pt.Space.INTRAM, [3], "ids")
    module = program.finish()
    with pytest.raises(ExecutionError, match="token ids that are not given"):
        run_tile(module, {}, {})
    with pytest.raises(ExecutionError, match="4 token ids are given for a program of 3"):
        run_tile(module, {}, {"ids": np.arange(4)})
    with pytest.raises(ExecutionError, match="unknown inputs"):
        run_tile(module, {}, {"tokens": np.arange(3)})


def test_a_global_with_an_init_function_needs_data() -> None:
    program = Program()
    type = pt.buffer_type(pt.Space.HBM, pt.MxType(pt.PrecisionAttr(pt.Precision.WEIGHT)), (8, 8))
    program.module.body.block.add_op(pt.GlobalOp("w", type, "weight", init="init_w"))
    program.rows(1, 4, "output")
    module = program.finish()
    with pytest.raises(ExecutionError, match="global w: there are no data for it"):
        run_tile(module, {}, {})
    with pytest.raises(ExecutionError, match="global w: 8 elements are given, it has 64"):
        run_tile(module, {"w": GlobalData.filled(8, 0.0)}, {})


# --- drivers --------------------------------------------------------------------------------------------------------------------


def test_both_drivers_agree_and_the_xdsl_one_can_be_watched() -> None:
    program = Program()
    table = program.hbm("table", (4, 8, 8), exact((4, 8, 8)), pt.Precision.ACT)
    ids, words = program.alloc(pt.Space.INTRAM, [2], "ids"), program.alloc(pt.Space.FPRAM, [8])
    x, out = program.rows(2, 8), program.rows(2, 8, "output")
    with program.loop(2) as token:
        row = program.add(pt.LoadIndexOp(program.at(ids, token))).result
        with program.loop(8, step=4) as part:
            program.add(pt.LoadRowsOp(program.at(table, Index.of(row), part, 0), program.at(x, token, part, 0)))
    with program.loop(8) as row, program.loop(2) as block:
        total = program.reduce(pt.RowReduce.SUM, program.constant(0.5), program.at(x, block, row, 0))
        program.add(pt.StoreScalarOp(program.scalar_function(pt.ScalarUnary.EXP, total), program.at(words, row)))
        again = program.add(pt.LoadScalarOp(program.at(words, row))).result
        inner = program.slice(x, [0, row, 0], [2, 1, 8])
        program.add(pt.RowScalarOp(pt.RowScalar.MUL, program.at(out, block, row, 0), program.at(inner, block, 0, 0), again))
    module = program.finish()
    counter = OpCounter()
    inputs = {"ids": np.array([3, 1])}
    fast = run_tile(module, program.data, inputs, fill=math.nan)
    watched = run_tile(module, program.data, inputs, fill=math.nan, listeners=[counter])
    np.testing.assert_array_equal(fast.output, watched.output)
    assert counter.ops["plena_tile.row_scalar"] == 16
    assert np.isfinite(fast.output).all()


def test_a_run_leaves_the_callers_data_alone() -> None:
    program = Program()
    cache = program.hbm("cache", (4, 8), np.zeros((4, 8)), pt.Precision.KV, "cache")
    out = program.rows(1, 4, "output")
    one = program.constant(1.0)
    with program.loop(4) as row:
        program.zero_row(program.at(out, 0, row, 0))
        program.add(pt.RowScalarOp(pt.RowScalar.ADD, program.at(out, 0, row, 0), program.at(out, 0, row, 0), one))
    program.add(pt.StoreRowsOp(program.at(out, 0, 0, 0), program.at(cache, 0, 0)))
    result = run(program)
    assert (program.data["cache"].elements == 0).all()
    assert (result.globals["cache"].elements == 0x38).all()


def test_inputs_are_packed_by_the_layout_of_their_global() -> None:
    program = Program()
    layout = pt.LayoutAttr.of(pt.Packing.COLUMN_BLOCKS, rows=(1, 1), cols=(1, 1))
    type = pt.buffer_type(pt.Space.HBM, pt.MxType(pt.PrecisionAttr(pt.Precision.ACT)), (2, 4, 8))
    program.module.body.block.add_op(pt.GlobalOp("hidden", type, "input", layout=layout))
    source, out = program.add(pt.GetGlobalOp("hidden", type)).buffer, program.rows(2, 4, "output")
    with program.loop(2) as block:
        program.add(pt.LoadRowsOp(program.at(source, block, 0, 0), program.at(out, block, 0, 0)))
    values = exact((3, 16))
    result = run(program, hidden=values)
    np.testing.assert_array_equal(result.rows(3, 16), values)
    np.testing.assert_array_equal(result.output[:, 3], np.zeros((2, 8)))
    assert layout.layout == Layout("column_blocks")
