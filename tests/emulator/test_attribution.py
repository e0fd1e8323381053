"""Shares of a run: what they are named, that they add up, and in which order they come."""

import pytest

from plena_mlir.backend import encode, parse_asm
from plena_mlir.emulator import Share, attribute, run_program
from plena_mlir.target import load_target

PROGRAM = """\
C_LOOP_START gp1, 3 ; model.layers.0.mlp
V_RED_SUM f1, gp0 ; model.layers.0.mlp
C_LOOP_END gp1 ; model.layers.0.mlp
S_ADD_FP f0, f1, f1 ; model.norm
H_PREFETCH_V gp0, gp0, a0, 0, 0
"""


@pytest.fixture(scope="module")
def result():
    instructions = parse_asm(PROGRAM)
    return run_program(
        encode(instructions), load_target("8x4x4"), timing="both", locations=[item.location or None for item in instructions]
    )


def transfer(result) -> int:
    return int(result.transfer_cycles.sum())


def test_by_opcode(result):
    assert attribute(result, "opcode") == [
        Share("H_PREFETCH_V", 1, {"transactional": transfer(result), "analytic": 1}),
        Share("V_RED_SUM", 3, {"transactional": 24, "analytic": 24}),
        Share("C_LOOP_END", 3, {"transactional": 3, "analytic": 3}),
        Share("C_LOOP_START", 1, {"transactional": 1, "analytic": 1}),
        Share("S_ADD_FP", 1, {"transactional": 0, "analytic": 1}),
    ]


def test_by_unit(result):
    shares = {share.name: share.cycles["transactional"] for share in attribute(result, "unit")}
    assert shares == {"hbm": transfer(result), "vector": 24, "control": 4, "scalar fp": 0}


def test_by_location(result):
    assert [(share.name, share.instructions) for share in attribute(result, "location")] == [
        ("(no location)", 1),
        ("model.layers.0.mlp", 7),
        ("model.norm", 1),
    ]


def test_by_pc(result):
    names = [share.name for share in attribute(result, "pc")]
    assert names[:2] == ["4 H_PREFETCH_V gp0, gp0, a0, 0, 0", "1 V_RED_SUM f1, gp0"]
    assert len(names) == 5


@pytest.mark.parametrize("key", ["pc", "opcode", "unit", "location"])
def test_shares_add_up(key, result):
    shares = attribute(result, key)
    assert sum(share.instructions for share in shares) == result.instructions
    for profile in ("transactional", "analytic"):
        assert sum(share.cycles[profile] for share in shares) == result.cycles_by(profile).total


def test_without_timing_the_most_executed_come_first():
    result = run_program(
        encode(parse_asm("S_ADDI_INT gp1, gp0, 1\nC_SET_SCALE_REG gp1\nC_SET_SCALE_REG gp1")), load_target("8x4x4"), timing="none"
    )
    assert attribute(result, "opcode") == [Share("C_SET_SCALE_REG", 2, {}), Share("S_ADDI_INT", 1, {})]
