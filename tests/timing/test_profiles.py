"""Cycle profiles: the published prices, class by class."""

import dataclasses
from pathlib import Path

import pytest

from plena_mlir.backend import encode, parse_asm
from plena_mlir.dialects.plena_isa.formats import TimingClass
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.errors import ExecutionError
from plena_mlir.target import load_target
from plena_mlir.timing import chosen_profiles, load_profile, profile_names, profiles
from tests.emulator.programs import run_asm

STANDARD = load_target("64x4x16")

TRANSACTIONAL = {
    "M_MM 0, gp0, gp0": 64,
    "M_BTMM 0, gp0, gp0": 64,
    "M_TMV 0, gp0, gp0": 64,
    "M_BTMV 0, gp0, gp0": 1,
    "M_BMM_WO gp0, 0": 1,
    "V_ADD_VV gp0, gp0, gp0": 1,
    "V_SHFT_V gp0, gp0, gp0": 1,
    "V_EXP_V gp0, gp0, 0": 1,
    "V_RECI_V gp0, gp0, 0": 2,
    "V_MAX_VF gp0, gp0, f0": 4,
    "V_RED_MAX f1, gp0, 0": 4,
    "V_RED_SUM f1, gp0": 8,
    "V_RED_SUM f0, gp0": 0,
    "V_TOPK gp0, gp0, gp0, 0": 128,
    "V_TOPK gp0, gp0, gp0, 1": 512,
    "S_ADD_FP f1, f1, f1": 1,
    "S_SQRT_FP f0, f1": 0,
    "S_LD_FP f0, gp0, 0": 1,
    "S_MAP_V_FP gp0, gp0, 0": 128,
    "S_LUI_INT gp1, 1": 1,
    "C_SET_SCALE_REG gp0": 1,
}
ANALYTIC = {
    "M_MM 0, gp0, gp0": 4,
    "M_BTMM 0, gp0, gp0": 16 * 16 * 4,
    "M_MV 0, gp0, gp0": 5,
    "M_BTMV 0, gp0, gp0": 5,
    "M_MM_WO gp0, gp0, 0": 1,
    "V_MUL_VV gp0, gp0, gp0": 1,
    "V_RECI_V gp0, gp0, 0": 2,
    "V_RED_SUM f0, gp0": 8,
    "V_RED_MAX f1, gp0, 0": 5,
    "V_TOPK gp0, gp0, gp0, 1": 5,
    "V_MIN_VF gp0, gp0, f0": 5,
    "V_SHFT_V gp0, gp0, gp0": 1,
    "S_MAP_V_FP gp0, gp0, 0": 1,
    "H_PREFETCH_M gp0, gp0, a0, 0, 0": 1,
    "H_STORE_V gp0, gp0, a0, 0, 0": 1,
    "S_LD_INT gp1, gp0, 0": 1,
}


@pytest.mark.parametrize(("profile", "line", "cycles"), [("transactional", *item) for item in TRANSACTIONAL.items()])
def test_transactional_price(profile: str, line: str, cycles: int):
    assert run_asm(line, STANDARD).cycles_by(profile).total == cycles


@pytest.mark.parametrize(("profile", "line", "cycles"), [("analytic", *item) for item in ANALYTIC.items()])
def test_analytic_price(profile: str, line: str, cycles: int):
    assert run_asm(line, STANDARD).cycles_by(profile).total == cycles


def test_latency_column_matters_to_the_transactional_clock_only():
    slow = dataclasses.replace(STANDARD, dc_enabled=False)
    result = run_asm("V_MUL_VV gp0, gp0, gp0\nV_RECI_V gp0, gp0, 0\nS_EXP_FP f1, f1", slow)
    assert result.cycles_by("transactional").total == 5 + 7 + 2
    assert result.cycles_by("analytic").total == 1 + 2 + 1


@pytest.mark.parametrize("profile", [load_profile(name) for name in profile_names()], ids=profile_names())
def test_every_instruction_has_a_price(profile):
    for spec in INSTRUCTIONS:
        cycles = profile.cycles(spec, spec.opcode | 1 << 6, STANDARD)
        assert cycles > 0 or (
            profile.measured_transfers
            and spec.timing in (TimingClass.PREFETCH_MATRIX, TimingClass.PREFETCH_VECTOR, TimingClass.STORE_VECTOR)
        )


def test_cycles_are_per_instruction():
    program = encode(parse_asm("C_LOOP_START gp1, 3\nV_RED_SUM f1, gp0\nC_LOOP_END gp1"))
    result = run_asm("C_LOOP_START gp1, 3\nV_RED_SUM f1, gp0\nC_LOOP_END gp1", STANDARD)
    assert result.words.tolist() == program
    assert result.cycles_per_pc("transactional").tolist() == [1, 24, 3]


def test_a_profile_is_one_file():
    files = Path(profiles.__file__).parent.glob("[!_]*.py")
    assert profile_names() == tuple(sorted(path.stem for path in files))
    assert all(load_profile(name).name == name for name in profile_names())


@pytest.mark.parametrize(
    ("timing", "names"),
    [("both", ["transactional", "analytic"]), ("none", []), ("analytic", ["analytic"])],
)
def test_timing_chooses_profiles(timing: str, names: list[str]):
    assert [profile.name for profile in chosen_profiles(timing)] == names


def test_unknown_timing_is_refused():
    with pytest.raises(ExecutionError, match=r"no timing 'exact' \(use one of analytic, transactional, both, none\)"):
        chosen_profiles("exact")
    with pytest.raises(ExecutionError, match="no timing profile 'both'"):
        load_profile("both")


def test_transfers_pass_through_the_dram_only_if_a_clock_needs_it():
    prefetch = "H_PREFETCH_M gp0, gp0, a0, 0, 0"
    assert run_asm(prefetch, STANDARD, timing="analytic").transfer_cycles is None
    assert run_asm(prefetch, STANDARD, timing="both").cycles == run_asm(prefetch, STANDARD).cycles > 1
