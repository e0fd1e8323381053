"""Transfers between HBM and the SRAMs: addressing, hazards, sparse memory, counted bytes."""

import dataclasses

import numpy as np
import pytest

from plena_mlir.emulator.kernels.state import HBM_PAGE
from plena_mlir.errors import ImageError, Trap
from plena_mlir.numerics import MXFP8_E5M2, mx_decode, mx_encode, mx_format, round_bf16
from plena_mlir.target import Precisions, load_target
from tests.emulator.programs import TINY, hbm_tile, random_rows, run_asm, stored

ONE_ROW = dataclasses.replace(TINY, prefetch_v_rows=1, writeback_v_rows=1)
FAR = "S_LUI_INT gp1, 2\nS_ADDI_INT gp2, gp0, 128\nC_SET_ADDR_REG a1, gp1, gp2\nC_SET_SCALE_REG gp2\n"
"""a1 = 0x2000_0000_0080, past the end of HBM: LUI shifts by 12, the high word by 32."""


def test_matrix_prefetch_rounds_up_to_tiles():
    target = dataclasses.replace(TINY, prefetch_m_rows=9)
    w = random_rows(16, 8)
    result = run_asm("S_ADDI_INT gp1, gp0, 128\nC_SET_SCALE_REG gp1\nH_PREFETCH_M gp0, gp0, a0, 0, 0", target, hbm=hbm_tile(w))
    tiles = result.machine.state.matrix.tiles[:2]
    np.testing.assert_array_equal(tiles.reshape(16, 8), stored(w))
    np.testing.assert_array_equal(result.machine.state.matrix.transposed[1], tiles[1].T)


def test_matrix_prefetch_needs_room_for_all_its_tiles():
    target = dataclasses.replace(TINY, prefetch_m_rows=16, matrix_sram_rows=24)
    run_asm("S_ADDI_INT gp1, gp0, 64\nH_PREFETCH_M gp1, gp0, a0, 0, 0", target)
    with pytest.raises(Trap, match="past the last tile"):
        run_asm("S_ADDI_INT gp1, gp0, 128\nH_PREFETCH_M gp1, gp0, a0, 0, 0", target)


def test_scales_beyond_the_first_block_read_as_zero():
    target = dataclasses.replace(load_target("16x4x16"), prefetch_v_rows=1)
    elements, scales = mx_encode(random_rows(1, 16), MXFP8_E5M2)
    for scale_at, lanes in ((126, 16), (127, 8)):
        result = run_asm(
            f"S_ADDI_INT gp1, gp0, {scale_at}\nC_SET_SCALE_REG gp1\nH_PREFETCH_V gp0, gp0, a0, 0, 0",
            target,
            hbm=[(0, elements.tobytes()), (scale_at, scales.tobytes())],
        )
        row = result.machine.vram_rows(0, 1)[0]
        assert row[:lanes].all()
        assert not row[lanes:].any()


@pytest.mark.parametrize("mnemonic", ["H_PREFETCH_V", "H_PREFETCH_M"])
def test_strict_refuses_scales_that_straddle_two_blocks(mnemonic: str):
    target = load_target("16x4x16")
    # Rows of two scale bytes, 32 bytes of elements and so four of scales apart; those of the row at 63 end in the next block.
    program = (
        "S_ADDI_INT gp1, gp0, {0}\nC_SET_SCALE_REG gp1\nS_ADDI_INT gp1, gp0, 32\nC_SET_STRIDE_REG gp1\n"
        f"{mnemonic} gp0, gp0, a0, 1, 0"
    )
    run_asm(program.format(640), target, strict=True)
    run_asm(program.format(639), target)
    with pytest.raises(Trap, match="straddle two blocks") as trap:
        run_asm(program.format(639), target, strict=True)
    assert (trap.value.pc, trap.value.text) == (4, f"{mnemonic} gp0, gp0, a0, 1, 0")
    assert trap.value.values == {"gp0": 0, "a0": 0, "SCALE_REG": 639, "STRIDE_REG": 32}
    assert str(trap.value).endswith("(gp0 = 0, a0 = 0, SCALE_REG = 639, STRIDE_REG = 32)")


def test_scale_address_of_a_stride_that_is_no_multiple_of_eight_truncates():
    target = dataclasses.replace(TINY, prefetch_v_rows=2)
    ones = bytes([0x38] * 64)
    scales = bytes(range(127, 127 + 16))
    result = run_asm(
        "S_ADDI_INT gp1, gp0, 64\nC_SET_SCALE_REG gp1\nS_ADDI_INT gp1, gp0, 12\nC_SET_STRIDE_REG gp1\n"
        "H_PREFETCH_V gp0, gp0, a0, 1, 0",
        target,
        hbm=[(0, ones), (64, scales)],
    )
    assert result.machine.vram_rows(0, 2)[:, 0].tolist() == [1.0, 2.0]


def test_vector_rows_past_the_end_are_dropped():
    last = TINY.vector_sram_rows - 2
    elements, scales = mx_encode(random_rows(4, 8), MXFP8_E5M2)
    result = run_asm(
        f"S_LUI_INT gp3, {(last * 8) >> 12}\nS_ADDI_INT gp3, gp3, {(last * 8) & 0xFFF}\n"
        "S_ADDI_INT gp1, gp0, 32\nC_SET_SCALE_REG gp1\nH_PREFETCH_V gp3, gp0, a0, 0, 0",
        hbm=[(0, elements.tobytes()), (32, scales.tobytes())],
    )
    assert result.machine.vram_rows(last, 4).shape == (2, 8)
    assert result.machine.vram_rows(last, 2).any(axis=1).all()


def test_reads_past_the_end_of_hbm_are_zero_and_strict_traps():
    program = FAR + "H_PREFETCH_V gp0, gp0, a1, 0, 0"
    assert not run_asm(program, vram=random_rows(4, 8)).machine.vram_rows(0, 4).any()
    with pytest.raises(Trap, match="HBM read past the end"):
        run_asm(program, strict=True)


def test_writes_past_the_end_of_hbm_trap():
    with pytest.raises(Trap, match="HBM write past the end"):
        run_asm(FAR + "H_STORE_V gp0, gp0, a1, 0, 0")


def test_store_keeps_the_bytes_around_it():
    x = random_rows(1, 8)
    elements, scales = mx_encode(x, MXFP8_E5M2)
    target = dataclasses.replace(ONE_ROW, precisions=Precisions(v_act="mxfp8_e5m2"))
    at = HBM_PAGE - 4
    result = run_asm(
        f"S_ADDI_INT gp1, gp0, {at}\nS_ADDI_INT gp2, gp0, 16\nC_SET_SCALE_REG gp2\nH_STORE_V gp0, gp1, a0, 0, 0",
        target,
        vram=x,
        hbm=[(at - 8, bytes([7] * 40))],
    )
    # The scale offset counts an eighth of the element offset.
    scale_at = 16 + at // 8
    assert result.machine.read_hbm(at - 8, 24) == bytes([7] * 8) + elements.tobytes() + bytes([7] * 8)
    assert result.machine.read_hbm(scale_at, 1) == scales.tobytes()


def test_precision_operand_picks_the_format():
    target = dataclasses.replace(ONE_ROW, precisions=Precisions(v_kv="mxfp8_e5m2"))
    program = "S_ADDI_INT gp1, gp0, 64\nC_SET_SCALE_REG gp1\nH_STORE_V gp0, gp0, a0, 0, {0}\nH_PREFETCH_V gp0, gp0, a0, 0, {0}"
    x = random_rows(1, 8)
    for precision, expected in ((0, stored(x)), (1, mx_decode(*mx_encode(x, MXFP8_E5M2), MXFP8_E5M2))):
        result = run_asm(program.format(precision), target, vram=x)
        np.testing.assert_array_equal(result.machine.vram_rows(0, 1), expected)


@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp8_e5m2"])
def test_store_and_prefetch_by_the_rules_of_ocp(name: str):
    target = dataclasses.replace(load_target("8x4x4-ocp"), precisions=Precisions(v_act=name, m_weight=name))
    fmt = mx_format(name, "ocp")
    x = random_rows(4, 8)
    x[1] = [np.nan, -np.nan, 1, -0.0, 448, 2.0**-20, 0, 3]
    x[2], x[3] = [np.inf, -np.inf, *[1] * 6], 0
    program = "S_ADDI_INT gp1, gp0, 64\nC_SET_SCALE_REG gp1\nH_STORE_V gp0, gp0, a0, 0, 0\nH_PREFETCH_V gp0, gp0, a0, 0, 0"
    result = run_asm(program, target, vram=x)
    elements, scales = mx_encode(x, fmt)
    assert result.machine.read_hbm(0, 32) == elements.tobytes()
    assert result.machine.read_hbm(64, 4) == scales.tobytes()
    read_back = round_bf16(mx_decode(elements, scales, fmt))
    np.testing.assert_array_equal(result.machine.vram_rows(0, 4), read_back)
    # Where the machine of the public simulator makes 1 of NaN.
    assert np.isnan(read_back[1]).tolist() == [True, True, *[False] * 6]
    assert read_back[2, :2].tolist() == [np.inf, -np.inf]
    weights = run_asm(
        "S_ADDI_INT gp1, gp0, 64\nC_SET_SCALE_REG gp1\nH_PREFETCH_M gp0, gp0, a0, 0, 0",
        target,
        hbm=[(0, elements.tobytes() * 2), (64, scales.tobytes() * 2)],
    )
    np.testing.assert_array_equal(weights.machine.state.matrix.tiles[0, :4], mx_decode(elements, scales, fmt))


def test_poisoned_memory_is_nan_under_ocp():
    program = "H_PREFETCH_V gp0, gp0, a0, 0, 0\nH_PREFETCH_M gp0, gp0, a0, 0, 0"
    machine = run_asm(program, load_target("8x4x4-ocp"), fill=np.nan).machine
    assert np.isnan(machine.vram_rows(0, 4)).all()
    assert np.isnan(machine.state.matrix.tiles[0]).all()


def test_hbm_grows_page_by_page_over_its_whole_range():
    # 300 stores, each to a page of its own and the last ones near the top of 16 GiB.
    result = run_asm(
        "S_LUI_INT gp1, 8192\nC_SET_SCALE_REG gp1\nC_LOOP_START gp2, 300\nS_ST_INT gp2, gp0, 0\n"
        "S_LUI_INT gp3, 16\nS_ADD_INT gp4, gp4, gp3\nH_STORE_V gp0, gp4, a0, 0, 0\nC_LOOP_END gp2\n"
        "S_ADDI_INT gp5, gp0, 3\nC_SET_ADDR_REG a1, gp5, gp0\nH_STORE_V gp0, gp4, a1, 0, 0",
        ONE_ROW,
        vram=np.full((1, 8), 0.5, np.float32),
    )
    for index in (1, 150, 300):
        assert result.machine.read_hbm(index << 16, 8) == bytes([0x38] * 8)
    assert result.machine.read_hbm((3 << 32) + (300 << 16), 8) == bytes([0x38] * 8)
    assert result.machine.state.hbm.used[0] < 700


def test_bytes_on_the_bus_and_payload():
    # Rows of 8 bytes 60 bytes apart: every second one straddles two blocks.
    result = run_asm(
        "S_ADDI_INT gp1, gp0, 4096\nC_SET_SCALE_REG gp1\nS_ADDI_INT gp1, gp0, 60\nC_SET_STRIDE_REG gp1\n"
        "H_PREFETCH_V gp0, gp0, a0, 1, 0\nH_STORE_V gp0, gp0, a0, 0, 0"
    )
    straddles = sum((60 * row) % 64 + 8 > 64 for row in range(4))
    assert straddles == 1
    stores = 4 * 2 * 64
    assert result.hbm_bytes == {
        "read": (4 + straddles + 4) * 64 + stores,
        "written": stores,
        "payload_read": 4 * 9,
        "payload_written": 4 * 9,
    }


def test_image_past_the_end_is_refused():
    with pytest.raises(ImageError, match="reaches byte 17179869185"):
        run_asm("", hbm=[((16 << 30) - 1, b"ab")])
