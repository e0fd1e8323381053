"""Engine and interpreter on random programs over random machines: every bit, count and cycle, or the trap, must agree."""

from dataclasses import replace
from random import Random

import pytest

from plena_mlir.backend import encode, parse_asm
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.emulator import run_program
from plena_mlir.emulator.kernels.traps import GROW_HBM, LOOP_DEPTH, OK, TOO_MANY_INSTRUCTIONS, TRAP_TEXT
from plena_mlir.errors import Trap
from tests.emulator.random_comparison import differences
from tests.emulator.random_programs import RandomProgram, random_target
from tests.emulator.random_traps import random_trap

CASES = 240


@pytest.mark.parametrize("first", range(0, CASES, 20))
def test_engine_and_interpreter_agree(first: int):
    for seed in range(first, first + 20):
        assert differences(seed) == []


def test_the_programs_use_every_instruction_that_completes():
    used = {line.split()[0] for seed in range(CASES) for line in RandomProgram(seed).lines}
    always_trap = {spec.mnemonic for spec in INSTRUCTIONS if spec.always_traps}
    assert used - always_trap == {spec.mnemonic for spec in INSTRUCTIONS} - always_trap | {".word"}


def test_the_programs_trap_for_every_reason_of_the_machine():
    rare = {GROW_HBM, OK, LOOP_DEPTH, TOO_MANY_INSTRUCTIONS}
    strict = {status for status, text in TRAP_TEXT.items() if text.startswith("strict")}
    reached: set[str] = set()
    random = Random(0)
    for _ in range(400):
        target = replace(random_target(random), max_loop_instructions=50)
        try:
            run_program(encode(parse_asm("\n".join(random_trap(random, target)))), target, timing="none")
        except Trap as trap:
            reached.add(trap.what)
        else:
            raise AssertionError("a statement that is to trap does not")
    assert reached == {text for status, text in TRAP_TEXT.items() if status not in rare | strict}


def test_a_seed_gives_one_program():
    assert RandomProgram(7).text == RandomProgram(7).text != RandomProgram(8).text
