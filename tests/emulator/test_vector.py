"""The vector unit, its mask and its quirks."""

import numpy as np
import pytest

from plena_mlir.errors import Trap
from plena_mlir.numerics import exp_bf16, reciprocal_bf16, round_bf16
from plena_mlir.target import load_target
from tests.emulator.programs import random_rows, run_asm

X = random_rows(2, 8, 1)
"""Two rows of the 8-lane machine, whose heads have four lanes."""
F = np.float32(1.5)
SECOND_HEAD = "S_ADDI_INT gp9, gp0, 2\nC_SET_V_MASK_REG gp9\n"
ADDRESSES = "S_ADDI_INT gp2, gp0, 8\nS_ADDI_INT gp3, gp0, 16\nS_LD_FP f1, gp0, 0\n"


def result_row(instruction: str, x: np.ndarray = X, prefix: str = "") -> np.ndarray:
    """Row 2 after an instruction on rows 0 (gp0) and 1 (gp2), with f1 = 1.5."""
    result = run_asm(prefix + ADDRESSES + instruction, vram=x, fpsram=np.array([F]))
    return result.machine.vram_rows(2, 1)[0]


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("V_ADD_VV gp3, gp0, gp2", X[0] + X[1]),
        ("V_SUB_VV gp3, gp0, gp2", X[0] - X[1]),
        ("V_MUL_VV gp3, gp0, gp2", X[0] * X[1]),
        ("V_ADD_VF gp3, gp0, f1", X[0] + F),
        ("V_SUB_VF gp3, gp0, f1, 0, 0", X[0] - F),
        ("V_SUB_VF gp3, gp0, f1, 0, 1", F - X[0]),
        ("V_MUL_VF gp3, gp0, f1", X[0] * F),
        ("V_MAX_VF gp3, gp0, f1", np.maximum(X[0], F)),
        ("V_MIN_VF gp3, gp0, f1", np.minimum(X[0], F)),
        ("V_EXP_V gp3, gp0, 0", exp_bf16(X[0])),
        ("V_RECI_V gp3, gp0, 0", reciprocal_bf16(X[0])),
    ],
)
def test_lane_by_lane(instruction: str, expected: np.ndarray):
    np.testing.assert_array_equal(result_row(instruction), round_bf16(expected))


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("V_MUL_VV gp3, gp0, gp2, 1", X[0] * X[1]),
        ("V_SUB_VF gp3, gp0, f1, 1, 1", F - X[0]),
        ("V_MIN_VF gp3, gp0, f1, 1", np.minimum(X[0], F)),
        ("V_RECI_V gp3, gp0, 1", reciprocal_bf16(X[0])),
    ],
)
def test_mask_leaves_a_copy_of_the_first_operand(instruction: str, expected: np.ndarray):
    row = result_row(instruction, prefix=SECOND_HEAD)
    np.testing.assert_array_equal(row[4:], round_bf16(expected)[4:])
    np.testing.assert_array_equal(row[:4], X[0, :4])


def test_max_and_min_carry_nan_and_keep_the_first_zero():
    x = np.array([[np.nan, 0.0, -0.0, 2.0] * 2] * 2, np.float32)
    zero = result_row("S_SUB_FP f1, f1, f1\nV_MAX_VF gp3, gp0, f1", x)
    assert np.isnan(zero[0])
    assert np.signbit(zero[:4]).tolist()[1:] == [False, True, False]
    # 1 / 0 minus itself is the NaN.
    nan = result_row("S_RECI_FP f2, f0\nS_SUB_FP f1, f2, f2\nV_MIN_VF gp3, gp0, f1", x)
    assert np.isnan(nan).all()


def test_destination_may_be_an_operand():
    result = run_asm("S_ADDI_INT gp1, gp0, 1\nV_SHFT_V gp0, gp0, gp1\nV_ADD_VV gp0, gp0, gp0", vram=X)
    shifted = np.concatenate([[np.float32(0)], X[0, :-1]])
    np.testing.assert_array_equal(result.machine.vram_rows(0, 1)[0], round_bf16(shifted + shifted))


def test_masked_sum_counts_a_selected_head_once_per_lane():
    x = np.array([[1, 2, 3, 4, 10, 20, 30, 40]], np.float32)
    result = run_asm(SECOND_HEAD + "V_RED_SUM f1, gp0, 1\nS_ST_FP f1, gp0, 0\n", vram=x)
    assert result.machine.state.scalars.fp[0] == 10 + 4 * 100


def test_sum_rounds_once_into_the_register():
    x = np.array([[256, 1, 1, 1, 1, 1, 1, 1]], np.float32)
    result = run_asm("V_RED_SUM f1, gp0\nS_ST_FP f1, gp0, 0\n", vram=x)
    assert result.machine.state.scalars.fp[0] == 264.0


@pytest.mark.parametrize(("policy", "count", "chosen"), [(0, 32, 4), (1, 128, 8)])
@pytest.mark.parametrize("name", ["8x4x4", "256x64x64"])
def test_topk_takes_the_best_first(policy: int, count: int, chosen: int, name: str):
    target = load_target(name)
    values = random_rows(1, count, 5)[0]
    values[3] = np.nan
    values[7] = values[20] = 9.0
    rows = np.zeros((-(-count // target.vlen), target.vlen), np.float32)
    rows.reshape(-1)[:count] = values
    result = run_asm(f"S_ADDI_INT gp1, gp0, 30\nS_ADDI_INT gp2, gp0, 40\nV_TOPK gp1, gp0, gp2, {policy}", target, vram=rows)
    ranked = np.where(np.isnan(values), -np.inf, values)
    order = np.argsort(-ranked, kind="stable")[:chosen]
    weights = np.exp((ranked[order] - ranked[order[0]]).astype(np.float64)).astype(np.float32)
    total = np.float32(0)
    for weight in weights:
        total += weight
    scalars = result.machine.state.scalars
    assert scalars.integer[40 : 40 + chosen].tolist() == order.tolist()
    assert order[:2].tolist() == [7, 20]
    np.testing.assert_array_equal(scalars.fp[30 : 30 + chosen], round_bf16(weights / total))


def test_topk_of_nothing_but_minus_infinity_weighs_nothing():
    result = run_asm("V_TOPK gp0, gp0, gp0, 0", vram=np.full((4, 8), -np.inf, np.float32), fpsram=np.ones(8))
    assert result.machine.state.scalars.fp[:5].tolist() == [0, 0, 0, 0, 1]
    assert result.machine.state.scalars.integer[:4].tolist() == [0, 1, 2, 3]


def test_fp_row_needs_all_its_entries():
    values = np.arange(1024, dtype=np.float32)
    result = run_asm("S_MAP_V_FP gp0, gp0, 1016", fpsram=values)
    np.testing.assert_array_equal(result.machine.vram_rows(0, 1)[0], round_bf16(values[1016:]))
    with pytest.raises(Trap, match="FP SRAM index"):
        run_asm("S_MAP_V_FP gp0, gp0, 1017")


@pytest.mark.parametrize("index", [8, 15])
def test_registers_past_f7_trap(index: int):
    # The assembler refuses them, so the word is written out: V_ADD_VF gp0, gp0, f<index>.
    with pytest.raises(Trap, match="f0 to f7"):
        run_asm(f".word 0x{0x0E | index << 14:08X}")
