"""convert-tile-to-isa: every unit operation gives the bits of the tile interpreter; pointers cost what they must."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from xdsl.builder import Builder
from xdsl.dialects import scf
from xdsl.dialects.builtin import IndexType, IntegerAttr, ModuleOp, i64
from xdsl.ir import Block, Region, SSAValue
from xdsl.rewriter import InsertPoint

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import module_path, name_location
from plena_mlir.dialects.plena_isa import PlenaIsaInstruction
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.convert_tile_to_isa import ConvertTileToIsaPass
from plena_mlir.passes.tile.emitter import Index
from tests.isa_programs import apply, assembly, assert_same_bits, place_buffers
from tests.tile_programs import Program


def exact(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Values whose products and sums are exact: small integers over 4."""
    return (np.random.default_rng(seed).integers(-3, 4, shape) / 4).astype(np.float32)


def loaded_rows(program: Program, blocks: int = 1, rows: int = 8, role: str | None = None) -> SSAValue:
    """A Vector SRAM buffer with known content."""
    source = program.hbm(f"x{len(program.data)}", (blocks, rows, 8), exact((blocks, rows, 8), len(program.data)), pt.Precision.ACT)
    buffer = program.rows(blocks, rows, role)
    with program.loop(blocks) as block, program.loop(rows, step=4) as row:
        program.add(pt.LoadRowsOp(program.at(source, block, row, 0), program.at(buffer, block, row, 0)))
    return buffer


def mnemonics(lowered: ModuleOp) -> Counter[str]:
    return Counter(line.split()[0] for line in assembly(lowered))


# --- unit operations --------------------------------------------------------------------------------------------------------------


def test_row_operations() -> None:
    program = Program()
    x, out = loaded_rows(program), program.rows(1, 16, "output")
    scalar = program.constant(-0.75)
    row = 0

    def target() -> SSAValue:
        nonlocal row
        row += 1
        return program.at(out, 0, row - 1, 0)

    for kind in pt.RowBinary:
        program.add(pt.RowBinaryOp(kind, target(), program.at(x, 0, 1, 0), program.at(x, 0, 2, 0)))
    for kind in pt.RowScalar:
        program.add(pt.RowScalarOp(kind, target(), program.at(x, 0, 3, 0), scalar))
    program.add(pt.RowUnaryOp(pt.RowUnary.EXP, target(), program.at(x, 0, 4, 0)))
    program.add(pt.RowScalarOp(pt.RowScalar.ADD, program.at(x, 0, 5, 0), program.at(x, 0, 5, 0), program.constant(4.0)))
    program.add(pt.RowUnaryOp(pt.RowUnary.RECIPROCAL, target(), program.at(x, 0, 5, 0)))
    for amount in (0, 3, 8):
        program.add(pt.RowShiftOp(target(), program.at(x, 0, 6, 0), amount))
    while row < 16:
        program.zero_row(target())
    assert_same_bits(program)


def test_reductions_scalars_and_words() -> None:
    program = Program()
    x, out = loaded_rows(program), program.rows(1, 8, "output")
    words = program.alloc(pt.Space.FPRAM, [8])
    with program.loop(8) as row:
        total = program.reduce(pt.RowReduce.SUM, program.constant(0.5), program.at(x, 0, row, 0))
        top = program.reduce(pt.RowReduce.MAX, program.constant(float("-inf")), program.at(x, 0, row, 0))
        value = program.scalar(pt.ScalarBinary.SUB, total, top)
        value = program.scalar(pt.ScalarBinary.MAX, value, program.scalar(pt.ScalarBinary.MUL, top, top))
        value = program.scalar(pt.ScalarBinary.ADD, value, program.constant(1.0))
        for kind in pt.ScalarUnary:
            value = program.scalar_function(kind, value)
        program.add(pt.StoreScalarOp(value, program.at(words, row)))
    with program.loop(8) as row:
        loaded = program.add(pt.LoadScalarOp(program.at(words, row))).result
        program.add(pt.RowFillOp(program.at(out, 0, row, 0), program.at(words, 0)))
        program.add(pt.RowScalarOp(pt.RowScalar.ADD, program.at(out, 0, row, 0), program.at(out, 0, row, 0), loaded))
    assert_same_bits(program)


@pytest.mark.parametrize("value", [0.0, -0.0, 1e-12, 1e30, -3.3895314e38, 1e-38, 65504.0, 1e-6, float("-inf")])
def test_constants_are_exact_whatever_half_can_hold(value: float) -> None:
    program = Program()
    out = program.rows(1, 4, "output")
    program.zero_row(program.at(out, 0, 1, 0))
    # max keeps the constant as it is, with the sign of a zero.
    low = program.constant(float("-inf"))
    program.add(pt.RowScalarOp(pt.RowScalar.MIN, program.at(out, 0, 0, 0), program.at(out, 0, 1, 0), low))
    for row in (0, 2, 3):
        program.add(pt.RowScalarOp(pt.RowScalar.MAX, program.at(out, 0, row, 0), program.at(out, 0, 0, 0), program.constant(value)))
    lowered = assert_same_bits(program)
    assert mnemonics(lowered)["S_LD_FP"] > 0


@pytest.mark.parametrize("form", [pt.Accumulator.MM, pt.Accumulator.TMM])
def test_micro_product_of_whole_tiles(form: pt.Accumulator) -> None:
    program = Program()
    x = loaded_rows(program, 2, 8)
    weights = program.hbm("w", (2, 2, 8, 8), exact((2, 2, 8, 8), 9))
    tiles, out = program.alloc(pt.Space.MRAM, [2, 8, 8]), program.rows(2, 8, "output")
    with program.loop(2) as n:
        with program.loop(2) as k:
            program.add(pt.LoadMatrixOp(program.at(weights, n, k, 0, 0), program.at(tiles, k, 0, 0)))
        with program.loop(8, step=4) as row, program.loop(8, step=4) as column:
            with program.loop(2) as k:
                program.add(pt.AccumulateOp(form, program.at(x, k, row, 0), program.at(tiles, k, column, 0)))
            program.add(pt.WriteOutOp(form, program.at(out, n, row, column)))
    assert_same_bits(program)


@pytest.mark.parametrize("form", [pt.Accumulator.BMM, pt.Accumulator.BTMM])
@pytest.mark.parametrize("target", ["8x4x4", "8x4x8"])
def test_broadcast_product(form: pt.Accumulator, target: str) -> None:
    program = Program(target)
    heads, lanes = program.target.broadcast, program.target.hlen
    x = loaded_rows(program, 2, 8)
    weights = program.hbm("w", (3, 8, 8), exact((3, 8, 8), 9))
    tiles, out = program.alloc(pt.Space.MRAM, [1, 8, 8]), program.rows(3, 8 * heads, "output")
    with program.loop(3) as n:
        program.add(pt.LoadMatrixOp(program.at(weights, n, 0, 0), program.at(tiles, 0, 0, 0)))
        with program.loop(2) as k, program.loop(heads) as part:
            program.add(pt.AccumulateOp(form, program.at(x, k, 0, 0), program.at(tiles, 0, 0, part * lanes)))
        program.add(pt.WriteOutOp(form, program.at(out, n, 0, 0)))
    assert_same_bits(program)


def test_rows_go_out_through_mx_and_come_back() -> None:
    program = Program()
    x, out = loaded_rows(program, 2, 8), program.rows(2, 8, "output")
    cache = program.hbm("cache", (8, 2, 8), precision=pt.Precision.KV, role="cache")
    with program.loop(2) as block, program.loop(8, step=4) as row:
        program.add(pt.StoreRowsOp(program.at(x, block, row, 0), program.at(cache, row, block, 0)))
        program.add(pt.StoreRowsOp(program.at(x, block, row, 0), program.at(cache, row, block, 0)))
    strided = program.view(cache, [0, 0, 0], [2, 8, 8], [8, 16, 1])
    with program.loop(2) as block, program.loop(8, step=4) as row:
        program.add(pt.StoreRowsOp(program.at(x, block, row, 0), program.at(strided, block, row, 0)))
        program.add(pt.LoadRowsOp(program.at(strided, block, row, 0), program.at(out, block, row, 0)))
    tile = program.alloc(pt.Space.MRAM, [1, 8, 8])
    with program.loop(2) as block:
        program.add(pt.LoadMatrixOp(program.at(strided, block, 0, 0), program.at(tile, 0, 0, 0)))
        with program.loop(8, step=4) as row:
            program.add(pt.AccumulateOp(pt.Accumulator.TMM, program.at(x, 0, row, 0), program.at(tile, 0, 0, 0)))
            program.add(pt.WriteOutOp(pt.Accumulator.TMM, program.at(out, block, row, 4)))
    lowered = assert_same_bits(program, hbm_base=0x1_2345_6780)
    assert any(line.endswith("1, 1") for line in assembly(lowered) if line.startswith("H_PREFETCH_M")), "strided, KV format"


def test_token_ids_select_rows_of_a_table() -> None:
    program = Program()
    ids = [5, 0, 8, 5, 2, 7]
    table = program.hbm("table", (12, 2, 8), exact((12, 2, 8)), pt.Precision.ACT)
    words, out = program.alloc(pt.Space.INTRAM, [6], "ids"), program.rows(2, 6, "output")
    scratch = program.rows(1, 4)
    with program.loop(6) as position:
        token = program.add(pt.LoadIndexOp(program.at(words, position))).result
        with program.loop(2) as block:
            program.add(pt.LoadRowsOp(program.at(table, Index.of(token), block, 0), program.at(scratch, 0, 0, 0)))
            program.copy_row(program.at(out, block, position, 0), program.at(scratch, 0, 0, 0), program.constant(0.0))
    assert_same_bits(program, ids=ids)


@pytest.mark.parametrize("policy", [0, 1])
def test_lanes_chosen_on_the_device_select_tiles(policy: int) -> None:
    """A row's greatest lanes come back as indices, and the tile of each as its row of outputs; weights come back as scalars."""
    program = Program()
    blocks, width = (4, 4) if policy == 0 else (16, 8)
    logits = np.zeros((1, 16, 8), np.float32)
    lanes = np.array([3, 0, 4, 1, 6, 2, 5, 7]) + 8 * (blocks - 1)
    logits.reshape(-1)[lanes] = np.arange(8, 0, -1) / 4
    source = program.hbm("logits", (1, 16, 8), logits, pt.Precision.ACT)
    tiles = program.hbm("tiles", (16 * 8, 1, 8, 8), exact((16 * 8, 1, 8, 8)))
    rows, x, out = program.rows(1, 16), loaded_rows(program, 1, 4), program.rows(width, 4, "output")
    program.load_block(source, rows, 16)
    chosen, weights = program.alloc(pt.Space.INTRAM, [width]), program.alloc(pt.Space.FPRAM, [width])
    matrix = program.alloc(pt.Space.MRAM, [1, 8, 8])
    places = [program.at(buffer, 0) for buffer in (weights, chosen)]
    program.add(pt.RowTopkOp(places[0], places[1], program.at(rows, 0, 0, 0), policy))
    with program.loop(width) as number:
        index = Index.of(program.add(pt.LoadIndexOp(program.at(chosen, number))).result)
        program.add(pt.LoadMatrixOp(program.at(tiles, index, 0, 0, 0), program.at(matrix, 0, 0, 0)))
        for column in (0, 4):
            program.add(pt.AccumulateOp(pt.Accumulator.TMM, program.at(x, 0, 0, 0), program.at(matrix, 0, column, 0)))
            program.add(pt.WriteOutOp(pt.Accumulator.TMM, program.at(out, number, 0, column)))
        scale = program.add(pt.LoadScalarOp(program.at(weights, number))).result
        with program.loop(4) as row:
            place = program.at(out, number, row, 0)
            program.add(pt.RowScalarOp(pt.RowScalar.MUL, place, place, scale))
    assert_same_bits(program)


# --- loops ------------------------------------------------------------------------------------------------------------------------


def test_a_causal_triangle_runs_with_run_time_trip_counts() -> None:
    program = Program()
    x, out = loaded_rows(program, 4, 8), program.rows(4, 8, "output")
    with program.loop(4) as block, program.loop(8) as row:
        program.zero_row(program.at(out, block, row, 0))
    with program.loop(5, start=1) as outer, program.loop(outer.terms[0][0]) as inner, program.loop(8) as row:
        place = program.at(out, outer + -1, row, 0)
        program.add(pt.RowBinaryOp(pt.RowBinary.ADD, place, place, program.at(x, inner, row, 0)))
    assert_same_bits(program)


def test_a_loop_up_to_an_outer_variable_with_steps_and_offsets() -> None:
    program = Program()
    x, out = loaded_rows(program, 1, 16), program.rows(1, 16, "output")
    with program.loop(16) as row:
        program.zero_row(program.at(out, 0, row, 0))
    with program.loop(14, start=5, step=4) as outer, program.loop(outer.terms[0][0], start=1, step=2) as inner:
        place = program.at(out, 0, outer, 0)
        program.add(pt.RowBinaryOp(pt.RowBinary.ADD, place, place, program.at(x, 0, inner, 0)))
    assert_same_bits(program)


def test_loops_of_no_and_one_trip_need_no_loop() -> None:
    program = Program()
    x, out, zero = loaded_rows(program, 1, 4), program.rows(1, 1, "output"), program.constant(0.0)
    emit_loop(program, 0, 0, lambda _: program.zero_row(program.at(out, 0, 0, 0)))
    emit_loop(program, 2, 3, lambda row: program.copy_row(program.at(out, 0, 0, 0), program.at(x, 0, row, 0), zero))
    lowered = assert_same_bits(program)
    assert mnemonics(lowered)["C_LOOP_START"] == 0


def emit_loop(program: Program, start: int, stop: int, body: Callable[[Index], object]) -> None:
    """An scf.for even where the emitter would leave it out."""
    block = Block(arg_types=[IndexType()])
    program.add(
        scf.ForOp(program.index_constant(start), program.index_constant(stop), program.index_constant(1), [], Region(block))
    )
    outer, program.builder = program.builder, Builder(InsertPoint.at_end(block))
    body(Index.of(block.args[0]))
    program.add(scf.YieldOp())
    program.builder = outer


# --- pointers ---------------------------------------------------------------------------------------------------------------------


def test_contiguous_nested_places_share_one_register_and_one_step() -> None:
    program = Program()
    x = loaded_rows(program, 1, 8)
    out = program.rows(4, 8, "output")
    with program.loop(4) as block, program.loop(8) as row:
        program.copy_row(program.at(out, block, row, 0), program.at(x, 0, 3, 0), program.constant(0.0))
    lines = assembly(assert_same_bits(program))
    start = next(number for number, line in enumerate(lines) if line.startswith("C_LOOP_START") and line.endswith(", 4"))
    assert [line.split()[0] for line in lines[start:]] == [
        "C_LOOP_START",
        "C_LOOP_START",
        "V_ADD_VF",
        "S_ADDI_INT",
        "C_LOOP_END",
        "C_LOOP_END",
    ]


def test_places_that_differ_by_constants_share_a_pointer() -> None:
    program = Program()
    x, out = loaded_rows(program, 2, 8), program.rows(2, 8, "output")
    with program.loop(8) as row:
        for block in range(2):
            program.copy_row(program.at(out, block, row, 0), program.at(x, block, row, 0), program.constant(0.0))
    loop = assembly(assert_same_bits(program))
    body = loop[next(i for i, line in enumerate(loop) if line.startswith("C_LOOP_START") and line.endswith(", 8")) + 1 :]
    assert Counter(line.split()[0] for line in body) == {"V_ADD_VF": 2, "S_ADDI_INT": 4, "C_LOOP_END": 1}


def test_a_pointer_that_steps_back() -> None:
    program = Program()
    x, out = loaded_rows(program, 1, 8), program.rows(1, 8, "output")
    with program.loop(8) as row:
        program.copy_row(program.at(out, 0, row, 0), program.at(x, 0, row * -1 + 7, 0), program.constant(0.0))
    assert_same_bits(program)


def test_steps_beyond_eighteen_bits() -> None:
    program = Program()
    far = program.rows(3, 40_000)
    out = program.rows(3, 4, "output")
    source = program.hbm("x", (1, 4, 8), exact((1, 4, 8)), pt.Precision.ACT)
    with program.loop(3) as block:
        program.add(pt.LoadRowsOp(program.at(source, 0, 0, 0), program.at(far, block, 39_990, 0)))
    with program.loop(3) as block, program.loop(4) as row:
        program.copy_row(program.at(out, block, row, 0), program.at(far, block, row + 39_990, 0), program.constant(0.0))
    assert_same_bits(program)


def test_more_pointers_and_scalars_than_registers() -> None:
    program = Program()
    sources = [loaded_rows(program, 1, 64) for _ in range(6)]
    out = program.rows(1, 64, "output")
    zero = program.constant(0.0)
    with program.loop(64) as row:
        program.zero_row(program.at(out, 0, row, 0))
    with program.loop(2) as i, program.loop(2) as j, program.loop(2) as k:
        scalars = [program.reduce(pt.RowReduce.SUM, zero, program.at(source, 0, i * 3 + n, 0)) for n, source in enumerate(sources)]
        scalars += [program.scalar(pt.ScalarBinary.MAX, a, b) for a, b in pairwise(scalars)]
        with program.loop(2) as m:
            for n, source in enumerate(sources):
                place = program.at(out, 0, i * (n + 2) + j * (2 * n + 1) + k * (17 - n) + m * (n + 5), 0)
                program.add(pt.RowBinaryOp(pt.RowBinary.ADD, place, place, program.at(source, 0, m * (9 + n) + k * (n + 1), 0)))
                program.add(pt.RowScalarOp(pt.RowScalar.ADD, place, place, scalars[n]))
        for n, scalar in enumerate(scalars):
            place = program.at(out, 0, k * 7 + n, 0)
            program.add(pt.RowScalarOp(pt.RowScalar.MAX, place, place, scalar))
    lowered = assert_same_bits(program)
    assert lowered.attributes["plena.int_words_used"] != IntegerAttr(0, i64), "gp registers were spilled"


# --- provenance and errors --------------------------------------------------------------------------------------------------------


def test_every_instruction_keeps_the_module_path_of_its_operation() -> None:
    program = Program()
    program.location = name_location("model.norm")
    x, out = loaded_rows(program), program.rows(1, 8, "output")
    with program.loop(8) as row:
        program.copy_row(program.at(out, 0, row, 0), program.at(x, 0, row, 0), program.constant(3.0))
    lowered = assert_same_bits(program)
    assert {module_path(op) for op in lowered.walk() if isinstance(op, PlenaIsaInstruction)} == {"model.norm"}


def refusal(program: Program, *, place: bool = True) -> str:
    module = program.finish()
    if place:
        place_buffers(module)
    with pytest.raises(LoweringError) as caught:
        apply(module, ConvertTileToIsaPass())
    return str(caught.value)


def test_buffers_need_addresses() -> None:
    program = Program()
    program.zero_row(program.at(program.rows(1, 1), 0, 0, 0))
    assert "run plan-memory first" in refusal(program, place=False)


def test_structured_operations_are_refused() -> None:
    program = Program()
    x, w = program.rows(1, 8), program.hbm("w", (1, 1, 8, 8))
    program.add(pt.MatmulOp(x, w, program.rows(1, 8), transposed=True))
    assert "`plena_tile.matmul` is no unit operation" in refusal(program)


def test_a_loop_that_may_run_zero_times_is_refused() -> None:
    program = Program()
    x = program.rows(1, 8)
    with program.loop(4) as outer, program.loop(outer.terms[0][0]) as inner:
        program.zero_row(program.at(x, 0, inner, 0))
    assert "may run zero times" in refusal(program)


@pytest.mark.parametrize("layers", [1, 40])
def test_a_tensor_whose_scales_are_out_of_reach_is_refused_wherever_its_addresses_come_from(layers: int) -> None:
    program = Program()
    big = program.hbm("experts", (40, 16384, 8192), precision=pt.Precision.ACT)
    x = program.rows(1, 4)
    with program.loop(layers) as layer:
        program.add(pt.LoadRowsOp(program.at(big, layer, 0, 0), program.at(x, 0, 0, 0)))
    assert "global experts has 5,368,709,120 elements" in refusal(program)


def test_a_row_stride_must_keep_scales_on_bytes() -> None:
    program = Program()
    x, source = program.rows(1, 4), program.hbm("x", (4, 12), precision=pt.Precision.ACT)
    program.add(pt.LoadRowsOp(program.at(source, 0, 0), program.at(x, 0, 0, 0)))
    assert "rows 12 elements apart" in refusal(program)


def test_constants_beyond_the_fp_sram_are_refused() -> None:
    program = Program()
    x = program.rows(1, 1)
    program.alloc(pt.Space.FPRAM, [1020])
    for value in range(1, 6):
        program.add(pt.RowScalarOp(pt.RowScalar.ADD, program.at(x, 0, 0, 0), program.at(x, 0, 0, 0), program.constant(value)))
    assert "FP SRAM has 1024 words" in refusal(program)
