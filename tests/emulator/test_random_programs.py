"""Engine and interpreter on random legal programs over random machines: every bit, count and cycle must agree."""

import pytest

from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from tests.emulator.random_programs import RandomProgram, differences

CASES = 240


@pytest.mark.parametrize("first", range(0, CASES, 20))
def test_engine_and_interpreter_agree(first: int):
    for seed in range(first, first + 20):
        assert differences(seed) == []


def test_the_programs_use_every_instruction_that_completes():
    used = {line.split()[0] for seed in range(CASES) for line in RandomProgram(seed).lines}
    assert used == {spec.mnemonic for spec in INSTRUCTIONS if not spec.always_traps}


def test_a_seed_gives_one_program():
    assert RandomProgram(7).text == RandomProgram(7).text != RandomProgram(8).text
