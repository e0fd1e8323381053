"""The tile interpreter: each operation against its definition in numpy, transfers and fills."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.numerics import MXFP8_E4M3, mx_decode, mx_encode, round_bf16
from plena_mlir.passes.tile.emitter import Index
from tests.tile_programs import Program, exact, run

F32 = NDArray[np.float32]
BOTH_FILLS = pytest.mark.parametrize("fill", [0.0, math.nan])


def one_row(emit: Callable[[Program, SSAValue, SSAValue], None], row: F32) -> F32:
    """Load one block of rows into x, run `emit(program, x, out)` and return row 0 of the output."""
    program = Program()
    source = program.hbm("x", (1, 4, 8), np.tile(row, (4, 1)), pt.Precision.ACT)
    x, out = program.rows(1, 4), program.rows(1, 4, "output")
    program.load_block(source, x, 4)
    emit(program, x, out)
    return run(program).output[0, 0]


# --- matrix unit ----------------------------------------------------------------------------------------------------------------


def matrix_program(form: pt.Accumulator, x: F32, tile: F32, start: int, rows: int) -> F32:
    """Accumulate x [rows, 8] against the tile at `start`, twice, and write out."""
    program = Program()
    mram = program.alloc(pt.Space.MRAM, [2, 8, 8])
    vram = program.rows(1, 8)
    out = program.rows(1, 16, "output")
    program.load_block(program.hbm("x", (1, 8, 8), x, pt.Precision.ACT), vram, 8)
    program.add(pt.LoadMatrixOp(program.at(program.hbm("w", (8, 8), tile), 0, 0), program.at(mram, 1, 0, 0)))
    heads = form in (pt.Accumulator.BMM, pt.Accumulator.BTMM)
    with program.loop(2):
        program.add(
            pt.AccumulateOp(form, program.at(vram, 0, rows, 0), program.at(mram, 1, 0 if heads else start, start if heads else 0))
        )
    program.add(pt.WriteOutOp(form, program.at(out, 0, 0, 0 if heads else 4)))
    return run(program).output[0]


@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize("rows", [0, 4])
def test_micro_forms_use_columns_or_rows_of_the_tile(start: int, rows: int) -> None:
    x, tile = exact((8, 8)), exact((8, 8), 1)
    mm = matrix_program(pt.Accumulator.MM, x, tile, start, rows)
    np.testing.assert_array_equal(mm[:4, 4:], 2 * x[rows : rows + 4] @ tile[:, start : start + 4])
    tmm = matrix_program(pt.Accumulator.TMM, x, tile, start, rows)
    np.testing.assert_array_equal(tmm[:4, 4:], 2 * x[rows : rows + 4] @ tile[start : start + 4].T)
    assert np.isnan(mm[:4, :4]).all(), "lanes beside the block are left alone"
    assert np.isnan(mm[4:]).all(), "and so are rows below it"


@pytest.mark.parametrize("start", [0, 4])
def test_broadcast_forms_slice_heads_contiguous_or_interleaved(start: int) -> None:
    x, tile = exact((8, 8)), exact((8, 8), 1)
    btmm = matrix_program(pt.Accumulator.BTMM, x, tile, start, 0)
    bmm = matrix_program(pt.Accumulator.BMM, x, tile, start, 0)
    for head in range(2):
        contiguous = x[:, head * 4 : (head + 1) * 4] @ tile[:, start : start + 4].T
        np.testing.assert_array_equal(btmm[head * 8 : (head + 1) * 8], 2 * 0.25 * contiguous)
        interleaved = x[:, head::2] @ tile[start : start + 4]
        np.testing.assert_array_equal(bmm[head * 8 : (head + 1) * 8], 2 * 0.25 * interleaved)


def test_write_out_clears_its_accumulator_only() -> None:
    program = Program()
    mram, vram, out = program.alloc(pt.Space.MRAM, [1, 8, 8]), program.rows(1, 8), program.rows(2, 16, "output")
    program.load_block(program.hbm("x", (1, 8, 8), np.ones((8, 8)), pt.Precision.ACT), vram, 8)
    program.add(pt.LoadMatrixOp(program.at(program.hbm("w", (8, 8), np.ones((8, 8))), 0, 0), program.at(mram, 0, 0, 0)))
    for form in (pt.Accumulator.MM, pt.Accumulator.BTMM):
        program.add(pt.AccumulateOp(form, program.at(vram, 0, 0, 0), program.at(mram, 0, 0, 0)))
    program.add(pt.WriteOutOp(pt.Accumulator.MM, program.at(out, 0, 0, 0)))
    program.add(pt.WriteOutOp(pt.Accumulator.MM, program.at(out, 0, 0, 4)))
    program.add(pt.WriteOutOp(pt.Accumulator.BTMM, program.at(out, 1, 0, 0)))
    result = run(program).output
    np.testing.assert_array_equal(result[0, :4], np.repeat(np.array([[8.0, 0.0]]), 4, axis=1).repeat(4, axis=0))
    np.testing.assert_array_equal(result[1], np.full((16, 8), 1.0))


@pytest.mark.parametrize("transposed", [True, False])
def test_a_structured_matmul_is_the_product_of_its_blocks(transposed: bool) -> None:
    x, w = exact((16, 8)), exact((24, 16), 1)
    tiles = w.reshape(3, 8, 2, 8).transpose(0, 2, 1, 3)
    program = Program()
    source = program.hbm("x", (2, 8, 8), x.reshape(2, 8, 8), pt.Precision.ACT)
    weights = program.hbm("w", (3, 2, 8, 8), tiles if transposed else tiles.transpose(0, 1, 3, 2))
    vram, out = program.rows(2, 8), program.rows(3, 8, "output")
    with program.loop(2) as block, program.loop(8, step=4) as row:
        program.add(pt.LoadRowsOp(program.at(source, block, row, 0), program.at(vram, block, row, 0)))
    program.add(pt.MatmulOp(vram, weights, out, transposed=transposed))
    program.add(pt.MatmulOp(vram, weights, out, transposed=transposed, strategy=pt.Strategy.BROADCAST, accumulate=True))
    features = np.concatenate([x[:8], x[8:]], axis=1)
    np.testing.assert_array_equal(run(program).rows(8, 24), round_bf16((1.25 * features @ w.T).astype(np.float32)))


# --- vector unit ----------------------------------------------------------------------------------------------------------------

ROW = np.array([-2.0, -0.5, 0.0, 0.25, 1.0, 1.5, 3.0, 7.0], np.float32)
SCALARS: dict[pt.RowScalar, Callable[[F32, float], F32]] = {
    pt.RowScalar.ADD: lambda x, s: x + s,
    pt.RowScalar.SUB: lambda x, s: x - s,
    pt.RowScalar.RSUB: lambda x, s: s - x,
    pt.RowScalar.MUL: lambda x, s: x * s,
    pt.RowScalar.MAX: np.maximum,
    pt.RowScalar.MIN: np.minimum,
}


@pytest.mark.parametrize("kind", list(pt.RowScalar))
def test_row_scalar(kind: pt.RowScalar) -> None:
    def emit(program: Program, x: SSAValue, out: SSAValue) -> None:
        third = program.constant(1 / 3)
        program.add(pt.RowScalarOp(kind, program.at(out, 0, 0, 0), program.at(x, 0, 1, 0), third))

    third = round_bf16(np.array([1 / 3], np.float32))[0]
    np.testing.assert_array_equal(one_row(emit, ROW), round_bf16(SCALARS[kind](ROW, third)))


@pytest.mark.parametrize(("kind", "function"), [("add", np.add), ("sub", np.subtract), ("mul", np.multiply)])
def test_row_binary(kind: str, function: Callable[[F32, F32], F32]) -> None:
    def emit(program: Program, x: SSAValue, out: SSAValue) -> None:
        program.add(pt.RowUnaryOp(pt.RowUnary.EXP, program.at(out, 0, 0, 0), program.at(x, 0, 2, 0)))
        program.add(pt.RowBinaryOp(pt.RowBinary(kind), program.at(out, 0, 0, 0), program.at(x, 0, 1, 0), program.at(out, 0, 0, 0)))

    exp = round_bf16(np.exp(ROW.astype(np.float64)).astype(np.float32))
    np.testing.assert_array_equal(one_row(emit, ROW), round_bf16(function(ROW, exp)))


def test_reciprocal_of_a_row() -> None:
    def emit(program: Program, x: SSAValue, out: SSAValue) -> None:
        program.add(pt.RowUnaryOp(pt.RowUnary.RECIPROCAL, program.at(out, 0, 0, 0), program.at(x, 0, 0, 0)))

    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(one_row(emit, ROW), round_bf16(np.float32(1.0) / ROW))


@pytest.mark.parametrize("amount", [0, 3, 8, 100])
@pytest.mark.parametrize("in_place", [True, False])
def test_row_shift_moves_towards_higher_lanes(amount: int, in_place: bool) -> None:
    def emit(program: Program, x: SSAValue, out: SSAValue) -> None:
        target = x if in_place else out
        program.add(pt.RowShiftOp(program.at(target, 0, 0, 0), program.at(x, 0, 0, 0), amount))
        if in_place:
            program.copy_row(program.at(out, 0, 0, 0), program.at(x, 0, 0, 0), program.constant(0.0))

    expected = np.zeros(8, np.float32)
    expected[amount:] = ROW[: max(8 - amount, 0)]
    np.testing.assert_array_equal(one_row(emit, ROW), expected)


@pytest.mark.parametrize(("kind", "expected"), [("sum", 100.0 + ROW.sum()), ("max", 100.0)])
def test_reductions_start_from_their_init_and_scalars_travel_through_fp_sram(kind: str, expected: float) -> None:
    def emit(program: Program, x: SSAValue, out: SSAValue) -> None:
        words = program.alloc(pt.Space.FPRAM, [16])
        reduced = program.reduce(pt.RowReduce(kind), program.constant(100.0), program.at(x, 0, 0, 0))
        with program.loop(8) as lane:
            program.add(pt.StoreScalarOp(reduced, program.at(words, lane + 8)))
        again = program.add(pt.LoadScalarOp(program.at(words, 15))).result
        program.add(pt.StoreScalarOp(program.scalar(pt.ScalarBinary.ADD, again, again), program.at(words, 8)))
        program.add(pt.RowFillOp(program.at(out, 0, 0, 0), program.at(words, 8)))

    rounded = float(round_bf16(np.array([expected], np.float32))[0])
    np.testing.assert_array_equal(one_row(emit, ROW), [2 * rounded] + [rounded] * 7)


@pytest.mark.parametrize(
    ("kind", "expected"), [("add", 3.25), ("sub", 2.75), ("mul", 0.75), ("max", 3.0), ("exp", 20.125), ("reciprocal", 0.333984375)]
)
def test_scalar_operations_round_to_bf16(kind: str, expected: float) -> None:
    def emit(program: Program, x: SSAValue, out: SSAValue) -> None:
        three, quarter = program.constant(3.0), program.constant(0.25)
        if kind in ("exp", "reciprocal"):
            value = program.scalar_function(pt.ScalarUnary(kind), three)
        else:
            value = program.scalar(pt.ScalarBinary(kind), three, quarter)
        program.zero_row(program.at(out, 0, 0, 0))
        program.add(pt.RowScalarOp(pt.RowScalar.ADD, program.at(out, 0, 0, 0), program.at(out, 0, 0, 0), value))

    np.testing.assert_array_equal(one_row(emit, ROW), np.full(8, expected))


def test_the_greatest_lanes_and_their_softmax() -> None:
    """Best first, equal lanes in order."""
    row = np.array([-1, -2, -3, 0, 3, 0, 3, -4], np.float32)
    program = Program()
    source = program.hbm("x", (1, 4, 8), np.stack([row, row - 8, row - 8, row - 8]), pt.Precision.ACT)
    numbers = program.hbm("numbers", (1, 8, 8), np.repeat(np.arange(8), 8).reshape(1, 8, 8), pt.Precision.ACT)
    x, table, out = program.rows(1, 4), program.rows(1, 8), program.rows(1, 8, "output")
    program.load_block(source, x, 4)
    program.load_block(numbers, table, 8)
    lanes, weights = program.alloc(pt.Space.INTRAM, [4]), program.alloc(pt.Space.FPRAM, [4])
    program.add(pt.RowTopkOp(program.at(weights, 0), program.at(lanes, 0), program.at(x, 0, 0, 0), 0))
    with program.loop(4) as rank:
        index = Index.of(program.add(pt.LoadIndexOp(program.at(lanes, rank))).result)
        program.copy_row(program.at(out, 0, rank, 0), program.at(table, 0, index, 0), program.constant(0.0))
        weight = program.add(pt.LoadScalarOp(program.at(weights, rank))).result
        program.zero_row(program.at(out, 0, rank + 4, 0))
        program.add(pt.RowScalarOp(pt.RowScalar.ADD, program.at(out, 0, rank + 4, 0), program.at(out, 0, rank + 4, 0), weight))
    output = run(program).output[0, :, 0]
    np.testing.assert_array_equal(output[:4], [4, 6, 3, 5])
    exponentials = np.exp(np.array([3, 3, 0, 0], np.float32) - 3)
    np.testing.assert_array_equal(output[4:], round_bf16(exponentials / exponentials.sum(dtype=np.float32)))


# --- memory ---------------------------------------------------------------------------------------------------------------------


@BOTH_FILLS
def test_rows_stored_to_hbm_come_back_quantised(fill: float) -> None:
    values = np.linspace(-3, 5, 32, dtype=np.float32).reshape(4, 8)
    program = Program()
    cache = program.hbm("cache", (8, 8), precision=pt.Precision.KV, role="cache")
    source = program.hbm("input", (1, 4, 8), precision=pt.Precision.ACT, role="input")
    x, out = program.rows(1, 4), program.rows(1, 4, "output")
    program.load_block(source, x, 4)
    third = program.constant(1 / 3)
    with program.loop(4) as row:
        program.add(pt.RowScalarOp(pt.RowScalar.MUL, program.at(x, 0, row, 0), program.at(x, 0, row, 0), third))
    program.add(pt.StoreRowsOp(program.at(x, 0, 0, 0), program.at(cache, 4, 0)))
    program.add(pt.LoadRowsOp(program.at(cache, 4, 0), program.at(out, 0, 0, 0)))
    result = run(program, fill=fill, input=values.reshape(1, 4, 8))
    staged = mx_decode(*mx_encode(values, MXFP8_E4M3, variant="staging"), MXFP8_E4M3)
    scaled = round_bf16(staged * round_bf16(np.array([1 / 3], np.float32)))
    expected = mx_decode(*mx_encode(scaled, MXFP8_E4M3), MXFP8_E4M3)
    np.testing.assert_array_equal(result.output[0], expected)
    written = result.globals["cache"]
    whole = mx_decode(written.elements.reshape(8, 8), written.scales.reshape(8, 1), MXFP8_E4M3)
    np.testing.assert_array_equal(whole[4:], expected)
    np.testing.assert_array_equal(whole[:4], np.full((4, 8), fill))


def test_token_ids_address_rows_of_a_table() -> None:
    table = exact((8, 4, 8))
    program = Program()
    source = program.hbm("table", (8, 4, 8), table, pt.Precision.ACT)
    ids = program.alloc(pt.Space.INTRAM, [3], "ids")
    out = program.rows(3, 4, "output")
    with program.loop(3) as token:
        row = program.add(pt.LoadIndexOp(program.at(ids, token))).result
        program.add(pt.LoadRowsOp(program.at(source, Index.of(row), 0, 0), program.at(out, token, 0, 0)))
    np.testing.assert_array_equal(run(program, ids=[5, 0, 7]).output, table[[5, 0, 7]])


def test_a_row_stride_may_be_that_of_a_wider_matrix() -> None:
    matrix = exact((8, 24))
    program = Program()
    source = program.view(program.hbm("w", (8, 24), matrix), [0, 8], [8, 8], [24, 1])
    mram, vram, out = program.alloc(pt.Space.MRAM, [1, 8, 8]), program.rows(1, 8), program.rows(1, 16, "output")
    program.load_block(program.hbm("i", (1, 8, 8), 4 * np.eye(8), pt.Precision.ACT), vram, 8)
    program.add(pt.LoadMatrixOp(program.at(source, 0, 0), program.at(mram, 0, 0, 0)))
    program.add(pt.AccumulateOp(pt.Accumulator.MM, program.at(vram, 0, 0, 0), program.at(mram, 0, 4, 0)))
    program.add(pt.WriteOutOp(pt.Accumulator.MM, program.at(out, 0, 0, 0)))
    np.testing.assert_array_equal(run(program).output[0, :4, :4], 4 * matrix[:4, 12:16])


@BOTH_FILLS
def test_an_alloc_in_a_loop_is_fresh_in_every_iteration(fill: float) -> None:
    program = Program()
    out = program.rows(1, 2, "output")
    with program.loop(2) as iteration:
        scratch = program.rows(1, 1)
        program.copy_row(program.at(out, 0, iteration, 0), program.at(scratch, 0, 0, 0), program.constant(0.0))
        program.zero_row(program.at(scratch, 0, 0, 0))
        program.add(
            pt.RowScalarOp(pt.RowScalar.ADD, program.at(scratch, 0, 0, 0), program.at(scratch, 0, 0, 0), program.constant(3.0))
        )
    np.testing.assert_array_equal(run(program, fill=fill).output, np.full((1, 2, 8), fill))


def test_a_loop_may_end_at_the_variable_of_an_enclosing_loop() -> None:
    program = Program()
    out = program.rows(1, 4, "output")
    one = program.constant(1.0)
    with program.loop(4) as row:
        program.zero_row(program.at(out, 0, row, 0))
    with program.loop(4, start=1) as row:
        with program.loop(row.terms[0][0]):
            program.add(pt.RowScalarOp(pt.RowScalar.ADD, program.at(out, 0, row, 0), program.at(out, 0, row, 0), one))
    np.testing.assert_array_equal(run(program).output[0, :, 0], [0.0, 1.0, 2.0, 3.0])
