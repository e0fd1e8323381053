"""The engine: loops, limits, traps, poison, counts and cycles."""

import dataclasses
import math

import numpy as np
import pytest

from plena_mlir.backend import encode, parse_asm
from plena_mlir.emulator import run_program
from plena_mlir.errors import Trap
from plena_mlir.target import load_target
from tests.emulator.programs import TINY, hbm_tile, load_tile_asm, random_rows, run_asm

RUN_TIME_TRIPS = """
S_LD_INT gp3, gp0, 0
C_LOOP_START gp1, 1
S_ADD_INT gp1, gp1, gp3
S_ADDI_INT gp3, gp0, 0
S_ADDI_INT gp2, gp2, 1
C_LOOP_END gp1
"""


@pytest.mark.parametrize("extra", [0, 1, 5])
def test_live_counter_gives_run_time_trip_counts(extra: int):
    result = run_asm(RUN_TIME_TRIPS, intsram=np.array([extra]))
    assert result.machine.state.registers.gp[2] == 1 + extra
    assert result.counts.tolist() == [1, 1, 1 + extra, 1 + extra, 1 + extra, 1 + extra]


def test_loop_end_finds_the_innermost_loop_of_its_register():
    # The inner loop of gp2 never ends; ending the outer one leaves its entry, which the last C_LOOP_END finds.
    result = run_asm("C_LOOP_START gp1, 1\nC_LOOP_START gp2, 1\nC_LOOP_END gp1\nC_LOOP_END gp2\nS_ADDI_INT gp3, gp0, 1")
    assert result.machine.state.registers.gp[3] == 1
    assert result.machine.state.loops.depth[0] == 0


def test_break_drops_the_innermost_loop_without_jumping():
    result = run_asm("C_LOOP_START gp1, 2\nC_LOOP_START gp2, 9\nC_BREAK\nS_ADDI_INT gp3, gp3, 1\nC_LOOP_END gp1")
    assert result.machine.state.registers.gp[2:4].tolist() == [0, 2]
    with pytest.raises(Trap, match="C_BREAK outside"):
        run_asm("C_BREAK")


def test_each_iteration_has_its_own_instruction_limit():
    target = dataclasses.replace(TINY, max_loop_instructions=10)
    body = "S_ADDI_INT gp3, gp3, 1\n"
    run_asm("C_LOOP_START gp1, 50\n" + 9 * body + "C_LOOP_END gp1", target)
    with pytest.raises(Trap, match="MAX_LOOP_INSTRUCTIONS") as trap:
        run_asm("C_LOOP_START gp1, 50\n" + 10 * body + "C_LOOP_END gp1", target)
    assert trap.value.pc == 11
    # All iterations of an inner loop count for the outer one.
    with pytest.raises(Trap, match="MAX_LOOP_INSTRUCTIONS"):
        run_asm(f"C_LOOP_START gp1, 1\nC_LOOP_START gp2, 5\n{body}C_LOOP_END gp2\nC_LOOP_END gp1", target)


def test_trap_names_pc_text_and_location():
    words = encode(parse_asm("S_ADDI_INT gp1, gp0, 4\nV_ADD_VV gp1, gp1, gp1"))
    with pytest.raises(Trap) as trap:
        run_program(words, TINY, locations=[None, "model.layers.3.mlp"])
    assert (trap.value.pc, trap.value.text) == (1, "V_ADD_VV gp1, gp1, gp1")
    assert str(trap.value).startswith("model.layers.3.mlp: pc 1: V_ADD_VV gp1, gp1, gp1: Vector SRAM address")
    assert str(trap.value).endswith(" (gp1 = 4)")


def test_instruction_budget():
    program = "C_LOOP_START gp1, 100\nS_ADDI_INT gp2, gp2, 1\nC_LOOP_END gp1"
    assert run_asm(program, max_instructions=201).instructions == 201
    with pytest.raises(Trap, match="more instructions than allowed"):
        run_asm(program, max_instructions=200)


def test_progress_reports_and_changes_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("plena_mlir.emulator.engine.PROGRESS_STEP", 50)
    seen: list[int] = []
    result = run_asm("C_LOOP_START gp1, 100\nS_ADDI_INT gp2, gp2, 1\nC_LOOP_END gp1", progress=seen.append)
    assert seen == [50, 100, 150, 200, 201]
    assert result.machine.state.registers.gp[2] == 100


def test_poison_fills_every_memory_and_registers_start_clean():
    machine = run_asm("S_ADDI_INT gp1, gp0, 0", fill=math.nan, fpsram=np.array([1.0]), intsram=np.array([2])).machine
    state = machine.state
    assert np.isnan(machine.vram_rows(5, 2)).all()
    assert np.isnan(state.matrix.tiles).all()
    assert np.isnan(state.scalars.fp[1:]).all()
    assert state.scalars.integer[1] % 2 == 1
    assert state.scalars.integer[1] >= 1024
    assert machine.read_hbm(1 << 30, 2) == b"\xff\xff"
    assert not state.registers.fp.any()
    assert not state.matrix.hm_acc.any()


def test_unwritten_hbm_decodes_to_nan_under_poison():
    result = run_asm("S_ADDI_INT gp1, gp0, 64\nC_SET_SCALE_REG gp1\nH_PREFETCH_V gp0, gp0, a0, 0, 0", fill=math.nan)
    assert np.isnan(result.machine.vram_rows(0, 4)).all()


def test_outputs_that_depend_on_no_fill_are_equal_under_both():
    program = load_tile_asm() + "M_BTMM 0, gp0, gp0\nS_ADDI_INT gp2, gp0, 64\nM_BMM_WO gp2, 0\n"
    memories = {"hbm": hbm_tile(random_rows(8, 8)), "vram": random_rows(8, 8, 1)}
    zero, poisoned = (run_asm(program, fill=fill, **memories) for fill in (0.0, math.nan))
    np.testing.assert_array_equal(zero.machine.vram_rows(8, 16), poisoned.machine.vram_rows(8, 16))
    assert not np.isnan(poisoned.machine.vram_rows(8, 16)).any()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("S_ADDI_INT gp0, gp0, 0", "gp0 and f0"),
        ("C_LOOP_START gp0, 1\nC_LOOP_END gp0", "gp0 and f0"),
        ("S_LD_FP f0, gp0, 0", "gp0 and f0"),
        ("S_LD_FP f1, gp0, 1", "NaN reaches an f register"),
        ("V_RED_SUM f1, gp0", "NaN reaches an f register"),
        ("S_RECI_FP f1, f0\nS_SUB_FP f1, f1, f1", "NaN reaches an f register"),
        ("V_RED_MAX f1, gp0, 0", "NaN reaches an f register"),
        ("V_TOPK gp0, gp0, gp0, 0", "NaN among the lanes that V_TOPK ranks"),
        ("H_STORE_V gp0, gp0, a0, 0, 0", "NaN is stored to HBM"),
        ("S_LD_INT gp1, gp0, 1", "that nothing wrote"),
    ],
)
def test_strict_stops_what_the_machine_lets_pass(program: str, reason: str):
    options = {"fill": math.nan, "fpsram": np.array([1.0]), "intsram": np.array([2])}
    run_asm(program, **options)
    with pytest.raises(Trap, match=reason):
        run_asm(program, strict=True, **options)


def test_cycles_split_into_compute_and_transfers():
    result = run_asm(load_tile_asm() + "M_MM 0, gp0, gp0\nM_MM_WO gp0, gp0, 0", hbm=hbm_tile(random_rows(8, 8)))
    cycles = result.cycles_by("transactional")
    assert cycles.compute == 4 + 8 + 1
    assert cycles.dma == result.transfer_cycles.sum() > 0
    assert result.cycles == cycles.total == cycles.compute + cycles.dma
    assert result.cycles_by("analytic").total == 4 + 1 + 4 + 1
    assert result.cycles_by("analytic").dma == 1


def test_vram_peak_counts_written_rows_only():
    result = run_asm("S_ADDI_INT gp1, gp0, 24\nS_ADDI_INT gp2, gp0, 80\nV_ADD_VV gp1, gp2, gp2")
    assert result.machine.vram_rows_peak == 4


def test_empty_program_ends_at_once():
    assert run_asm("").instructions == 0


def test_large_machines_take_no_memory_before_they_are_used():
    result = run_program([], load_target("512x512x512"))
    assert result.machine.vram_rows(1 << 21, 1).shape == (1, 512)
