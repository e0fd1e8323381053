"""What a reader of the ISA document would not expect (machine specification, sections 1 to 6) and no other test is about."""

import numpy as np
import pytest

from plena_mlir.backend import encode, parse_asm
from plena_mlir.emulator import run_program
from plena_mlir.errors import Trap
from plena_mlir.numerics import round_bf16
from tests.emulator.programs import TINY, f32_product, hbm_tile, load_tile_asm, random_rows, run_asm, stored

NAN, INF = float("nan"), float("inf")


def test_f0_keeps_what_is_loaded_into_it():
    result = run_asm("S_LD_FP f0, gp0, 1\nS_SUB_FP f0, f0, f0\nS_ADD_FP f1, f0, f0\nS_ST_FP f1, gp0, 0", fpsram=np.array([0, 2.5]))
    assert result.machine.state.scalars.fp[0] == 5.0
    assert result.cycles_per_pc("transactional").tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("mnemonic", ["V_RED_SUM f0, gp1", "V_RED_MAX f0, gp1, 0"])
def test_reductions_into_f0_do_not_even_read_their_row(mnemonic: str):
    # gp1 = 1 is no row.
    result = run_asm(f"S_ADDI_INT gp1, gp0, 1\n{mnemonic}")
    assert result.cycles == 1
    with pytest.raises(Trap, match="Vector SRAM address"):
        run_asm(f"S_ADDI_INT gp1, gp0, 1\n{mnemonic.replace('f0', 'f1')}")


def test_addresses_wrap():
    minus_one = "S_ADDI_INT gp1, gp0, 1\nS_SUB_INT gp1, gp0, gp1\n"
    result = run_asm(minus_one + "S_LD_INT gp2, gp1, 6\nS_LD_FP f1, gp1, 4", intsram=np.arange(8), fpsram=np.arange(8))
    assert result.machine.state.registers.gp[2] == 5
    assert result.machine.state.registers.fp[1] == 3
    x = random_rows(1, 8)
    tile = random_rows(8, 8, 1)
    program = load_tile_asm() + minus_one + "M_BTMV gp0, gp0, gp0\nS_ADDI_INT gp2, gp1, 0\nM_BMV_WO gp1, 17"
    written = run_asm(program, vram=x, hbm=hbm_tile(tile)).machine.vram_rows(2, 2)
    for head in range(2):
        part = f32_product(x[:, 4 * head : 4 * head + 4], stored(tile)[:, :4].T) * np.float32(0.25)
        np.testing.assert_array_equal(written[head], round_bf16(part[0]))


def test_mask_bits_without_a_head_are_ignored_and_an_empty_mask_copies():
    x = random_rows(2, 8)
    masked = "S_LUI_INT gp1, {}\nS_ADDI_INT gp1, gp1, {}\nC_SET_V_MASK_REG gp1\nS_ADDI_INT gp2, gp0, 8\nS_ADDI_INT gp3, gp0, 16\n"
    add = "V_ADD_VV gp3, gp0, gp2, 7"
    for bits, selected in (((0, 0), ()), ((0xFFFFF, 0xFFC), ()), ((0xFFFFF, 0xFFE), range(4, 8))):
        row = run_asm(masked.format(*bits) + add, vram=x).machine.vram_rows(2, 1)[0]
        expected = x[0].copy()
        expected[list(selected)] = round_bf16(x[0] + x[1])[list(selected)]
        np.testing.assert_array_equal(row, expected)


def test_the_mask_does_not_change_a_maximum():
    x = np.array([[9, 1, 1, 1, 2, 2, 2, 2]], np.float32)
    result = run_asm("S_ADDI_INT gp1, gp0, 2\nC_SET_V_MASK_REG gp1\nV_RED_MAX f1, gp0, 1", vram=x)
    assert result.machine.state.registers.fp[1] == 9


@pytest.mark.parametrize("shift", [8, 9, 0xFFFFF000])
def test_shifting_a_whole_row_or_more_leaves_zeros(shift: int):
    program = f"S_LUI_INT gp1, {shift >> 12}\nS_ADDI_INT gp1, gp1, {shift & 0xFFF}\nV_SHFT_V gp0, gp0, gp1"
    assert not run_asm(program, vram=random_rows(1, 8)).machine.vram_rows(0, 1).any()


@pytest.mark.parametrize(
    ("first", "second", "larger"), [(NAN, 1.0, NAN), (1.0, NAN, 1.0), (-0.0, 0.0, -0.0), (0.0, -0.0, 0.0), (-INF, 2.0, 2.0)]
)
def test_scalar_maximum_of_nan_and_of_zeros(first: float, second: float, larger: float):
    result = run_asm("S_LD_FP f1, gp0, 0\nS_LD_FP f2, gp0, 1\nS_MAX_FP f3, f1, f2", fpsram=np.array([first, second]))
    found = result.machine.state.registers.fp[3]
    np.testing.assert_array_equal([found, np.signbit(found)], [larger, np.signbit(larger)])


def test_topk_puts_plus_zero_above_minus_zero():
    row = np.full((4, 8), -1, np.float32)
    row[0, :3] = [-0.0, 0.0, -0.0]
    result = run_asm("V_TOPK gp0, gp0, gp0, 0", vram=row)
    assert result.machine.state.scalars.integer[:4].tolist() == [1, 0, 2, 3]


def test_the_accumulators_are_independent_and_each_write_out_clears_its_own():
    x, w = random_rows(8, 8), random_rows(8, 8, 1)
    tile = stored(w)
    fill = "M_MM 0, gp0, gp0\nM_MV 0, gp0, gp0\nM_BTMM 0, gp0, gp0\nM_BTMV 0, gp0, gp0\n"
    # Write-outs to rows 8, 16, 32 and 40; then the same to the rows behind, of accumulators that are clear.
    outs = ("M_MM_WO gp2, gp0, 0", "M_BMM_WO gp3, 0", "M_MV_WO gp4, 0", "M_BMV_WO gp5, 0")
    rows = {2: 8, 3: 16, 4: 32, 5: 40}
    addresses = "".join(f"S_ADDI_INT gp{register}, gp0, {8 * row}\n" for register, row in rows.items())
    again = "S_ADDI_INT gp3, gp0, 384\nS_ADDI_INT gp2, gp0, 512\n" + "M_BMM_WO gp3, 0\nM_MM_WO gp2, gp0, 0\n"
    result = run_asm(load_tile_asm() + addresses + fill * 2 + "\n".join(outs) + "\n" + again, vram=x, hbm=hbm_tile(w))

    def twice(part: np.ndarray) -> np.ndarray:
        return round_bf16(part + part)

    quarter = np.float32(0.25)
    machine = result.machine
    np.testing.assert_array_equal(machine.vram_rows(8, 4)[:, :4], twice(f32_product(x[:4], tile[:, :4])))
    heads = [f32_product(x[:, 4 * head : 4 * head + 4], tile[:, :4].T) * quarter for head in range(2)]
    np.testing.assert_array_equal(machine.vram_rows(16, 16), twice(np.concatenate(heads)))
    np.testing.assert_array_equal(machine.vram_rows(32, 1)[0, :4], twice(f32_product(x[:1], tile[:, :4]))[0])
    np.testing.assert_array_equal(machine.vram_rows(40, 2), twice(np.stack([head[0] for head in heads])))
    assert not machine.vram_rows(48, 20).any()


def test_the_stride_field_0_of_a_write_out_is_one_row_whatever_gp0_holds():
    x, w = random_rows(4, 8), random_rows(8, 8, 1)
    program = load_tile_asm() + "M_MM 0, gp9, gp9\nS_ADDI_INT gp0, gp0, 3\nS_ADDI_INT gp2, gp9, 64\nM_MM_WO gp2, gp0, 0"
    rows = run_asm(program, vram=x, hbm=hbm_tile(w)).machine.vram_rows(8, 4)
    np.testing.assert_array_equal(rows[:, :4], round_bf16(f32_product(x, stored(w)[:, :4])))


def test_a_stride_operand_of_2_is_one_of_0_and_the_register_starts_at_1():
    codes = bytes([0x38, 0x40, 0x48] + [0x30] * 61)
    program = "S_ADDI_INT gp1, gp0, 64\nC_SET_SCALE_REG gp1\nH_PREFETCH_V gp0, gp0, a0, {}, 0"
    memory = [(0, codes), (64, b"\x7f" * 8)]
    contiguous, other, shifted = (run_asm(program.format(stride), hbm=memory).machine.vram_rows(0, 4) for stride in (0, 2, 1))
    np.testing.assert_array_equal(contiguous, other)
    assert contiguous[:, 0].tolist() == [1.0, 0.5, 0.5, 0.5]
    # Rows one byte apart, whose scale bytes are all the first.
    assert shifted[:, 0].tolist() == [1.0, 2.0, 4.0, 0.5]


def test_the_distance_of_a_row_wraps_but_that_of_its_scales_does_not():
    # Rows 2^31 bytes apart: row 2 is row 0 again. Its scales are 2 * 2^28 bytes behind the first.
    memory = [(0, bytes([0x38] * 8)), (64, b"\x7f"), (64 + (1 << 29), b"\x80")]
    program = (
        "S_ADDI_INT gp1, gp0, 64\nC_SET_SCALE_REG gp1\nS_LUI_INT gp1, 524288\nC_SET_STRIDE_REG gp1\nH_PREFETCH_V gp0, gp0, a0, 1, 0"
    )
    assert run_asm(program, hbm=memory).machine.vram_rows(0, 4)[:, 0].tolist() == [1.0, 0.0, 2.0, 0.0]


def test_the_end_of_a_broken_loop_finds_an_outer_loop_of_the_same_register():
    result = run_asm("C_LOOP_START gp1, 2\nC_LOOP_START gp1, 3\nC_BREAK\nS_ADDI_INT gp2, gp2, 1\nC_LOOP_END gp1")
    # C_BREAK cleared the register that both count in.
    assert result.machine.state.registers.gp[1:3].tolist() == [0, 1]
    assert result.machine.state.loops.depth[0] == 0


def test_sixteen_loops_are_no_limit_and_neither_are_instructions_outside_of_loops():
    nest = "".join(f"C_LOOP_START gp{index}, 1\n" for index in range(16)) + "".join(
        f"C_LOOP_END gp{15 - index}\n" for index in range(16)
    )
    assert run_asm(nest).instructions == 32
    assert run_program(encode(parse_asm("S_ADDI_INT gp1, gp1, 1")) * 100_001, TINY).machine.state.registers.gp[1] == 100_001
