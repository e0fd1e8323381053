"""What a program costs without computing: the same counts as a run, and the same cycles where every transfer is measured."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.backend import encode, parse_asm
from plena_mlir.emulator import estimate_program, run_program
from plena_mlir.emulator.kernels.survey import SAMPLED
from plena_mlir.errors import Trap
from tests.emulator.programs import TINY

NESTED = """
S_ADDI_INT gp1, gp0, 512
C_SET_SCALE_REG gp1
S_ADDI_INT gp2, gp0, 3
S_ST_INT gp2, gp0, 5
C_LOOP_START gp4, 3
  S_LD_INT gp3, gp0, 5
  C_LOOP_START gp5, 2
    S_ADD_INT gp5, gp5, gp3
    C_LOOP_START gp6, {inner}
      H_PREFETCH_V gp0, gp7, a0, 0, 0
      V_ADD_VV gp0, gp0, gp0, 0
      S_ADDI_INT gp7, gp7, 32
    C_LOOP_END gp6
    S_ADDI_INT gp3, gp0, 0
    C_LOOP_END gp5
  H_STORE_V gp0, gp7, a0, 0, 0
  C_LOOP_END gp4
"""
"""Trip counts that change at run time, by a value that went through INT SRAM."""


def test_a_short_program_costs_what_its_run_costs() -> None:
    words = encode(parse_asm(NESTED.format(inner=2)))
    run = run_program(words, TINY, timing="both")
    estimate = estimate_program(words, TINY)
    assert estimate.exact
    assert run.instructions > 100
    assert np.array_equal(estimate.result.counts, run.counts)
    assert estimate.result.hbm_bytes == run.hbm_bytes
    for profile in ("transactional", "analytic"):
        assert np.array_equal(estimate.result.cycles_per_pc(profile), run.cycles_per_pc(profile))


def test_transfers_that_run_often_are_sampled() -> None:
    words = encode(parse_asm(NESTED.format(inner=3 * SAMPLED)))
    run = run_program(words, TINY, timing="both")
    estimate = estimate_program(words, TINY)
    assert not estimate.exact
    assert np.array_equal(estimate.result.counts, run.counts)
    assert estimate.result.hbm_bytes == run.hbm_bytes
    expected, found = run.cycles_by("transactional"), estimate.result.cycles_by("transactional")
    assert found.compute == expected.compute
    assert found.dma == pytest.approx(expected.dma, rel=0.1)


def test_what_v_topk_would_choose_makes_cycles_uncertain() -> None:
    words = encode(parse_asm("V_TOPK gp0, gp0, gp0, 0\nS_LD_INT gp1, gp0, 0\nH_PREFETCH_V gp0, gp1, a0, 0, 0\n"))
    estimate = estimate_program(words, TINY, timing="both")
    assert estimate.routed
    assert not estimate.exact
    assert estimate_program(words, TINY, timing="none").exact


def test_nothing_is_computed_and_no_transfer_priced_unless_asked() -> None:
    words = encode(parse_asm("S_LD_FP f1, gp0, 0\nV_ADD_VF gp0, gp0, f1, 0\n"))
    estimate = estimate_program(words, TINY, timing="none")
    assert estimate.exact
    assert estimate.result.instructions == 2
    assert not estimate.result.machine.vram_rows(0, 1).any()


def test_a_loop_that_the_machine_forbids_is_a_trap() -> None:
    with pytest.raises(Trap, match="C_LOOP_END"):
        estimate_program(encode(parse_asm("C_LOOP_END gp1\n")), TINY)
