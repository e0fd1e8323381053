"""limit-loop-instructions: loops that exceed the machine's count are unrolled, and only those."""

from __future__ import annotations

import math

import numpy as np
import pytest

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import name_location, notes_of
from plena_mlir.dialects.plena_isa import LoopOp
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.instruction_counts import InstructionCounts
from plena_mlir.passes.isa.limit_loop_instructions import LimitLoopInstructionsPass
from plena_mlir.passes.pipelines import isa_passes
from tests.isa_programs import Execution, apply, assembly, assert_same_bits, place_buffers
from tests.passes.isa.random_programs import RandomProgram
from tests.tile_programs import Program


def nest() -> Program:
    """Loops of 4, 3 and 8 iterations in each other."""
    program = Program()
    source = program.hbm("x", (1, 8, 8), np.ones((1, 8, 8), np.float32), pt.Precision.ACT)
    x, out = program.rows(1, 8), program.rows(1, 8, "output")
    program.load_block(source, x, 8)
    with program.loop(8) as row:
        program.zero_row(program.at(out, 0, row, 0))
    program.location = name_location("model.layers")
    with program.loop(4) as i, program.loop(3), program.loop(8) as row:
        place = program.at(out, 0, row, 0)
        program.add(pt.RowBinaryOp(pt.RowBinary.ADD, place, place, program.at(x, 0, i, 0)))
    return program


def outer_loops(limit: int) -> tuple[int, list[str]]:
    """Loops left in the program, and notes, when an iteration may execute `limit` instructions."""
    program = nest()
    module = program.finish()
    place_buffers(module)
    execution = Execution(program, module, ())
    *passes, _ = isa_passes()
    lowered = apply(module.clone(), *passes, LimitLoopInstructionsPass(limit))
    np.testing.assert_array_equal(execution.engine(lowered, math.nan), execution.expected(math.nan))
    loops = sum(line.startswith("C_LOOP_START") for line in assembly(lowered))
    return loops, list(notes_of(lowered))


def test_what_fits_stays() -> None:
    assert outer_loops(100) == (5, [])


def test_the_outer_loop_goes_and_says_why() -> None:
    loops, notes = outer_loops(80)
    assert loops == 2 + 4 * 2
    # The innermost iteration is V_ADD, S_ADDI, C_LOOP_END; the middle one 8 of these with a start, a copy and an end; and so on.
    assert notes == [
        "unrolled a loop of 4 iterations of model.layers: one iteration executes 84 instructions, the machine allows 80"
    ]


def test_nested_loops_go_as_well() -> None:
    loops, notes = outer_loops(20)
    assert loops == 2 + 4 * 3
    assert len(notes) == 2


@pytest.mark.parametrize("seed", [2, 9, 26])
def test_random_programs_survive_unrolling(seed: int) -> None:
    random = RandomProgram(seed, 3, 6, 6)
    module = random.program.finish()
    place_buffers(module)
    execution = Execution(random.program, module, random.ids)
    *passes, _ = isa_passes()
    lowered = apply(module.clone(), *passes)
    counts = InstructionCounts()
    heaviest = max(counts.iteration(op) for op in lowered.walk() if isinstance(op, LoopOp))
    apply(lowered, LimitLoopInstructionsPass(heaviest - 1))
    assert max(counts.iteration(op) for op in lowered.walk() if isinstance(op, LoopOp)) < heaviest
    np.testing.assert_array_equal(execution.engine(lowered, math.nan), execution.expected(math.nan))


def test_a_loop_with_a_run_time_trip_count_is_refused() -> None:
    program = Program()
    out = program.rows(1, 8, "output")
    with program.loop(8, start=1) as outer, program.loop(outer.terms[0][0]) as inner, program.loop(2) as row:
        program.zero_row(program.at(out, 0, inner + row, 0))
    lowered = assert_same_bits(program)
    with pytest.raises(LoweringError, match="run-time trip count"):
        apply(lowered, LimitLoopInstructionsPass(3))


def test_too_much_code_is_refused() -> None:
    program = Program()
    out = program.rows(1, 1, "output")
    with program.loop(1000), program.loop(1_000_000):
        program.zero_row(program.at(out, 0, 0, 0))
    module = program.finish()
    place_buffers(module)
    with pytest.raises(LoweringError, match="unrolling takes more than"):
        apply(module, *isa_passes()[:-1], LimitLoopInstructionsPass(1))
