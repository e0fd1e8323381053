"""Every `exec` vector of the machine specification on the engine and on the interpreter, from its words and from its text."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import pytest

from plena_mlir.backend import asm_to_module, decode, encode, parse_asm
from plena_mlir.emulator import execute, run_program
from plena_mlir.errors import Trap
from plena_mlir.interpreters.isa import run_isa
from tests.emulator.vectors import EXEC_VECTORS, check, initial_memories, loaded, vector_target, words_of

Source: TypeAlias = Callable[[dict[str, Any]], list[int]]

RUNS = [pytest.param(vector, id=vector["name"]) for vector in EXEC_VECTORS if "error" not in vector["expect"]]
TRAPS = [pytest.param(vector, id=vector["name"]) for vector in EXEC_VECTORS if "error" in vector["expect"]]


def words_of_text(vector: dict[str, Any]) -> list[int]:
    """What the vector's assembly encodes to. Its texts are meant for the reference assembler, misplaced operands and all."""
    return encode(parse_asm("\n".join(vector["asm"])), reference_encoding=True)


SOURCES = pytest.mark.parametrize("source", [words_of, words_of_text], ids=["words", "text"])


@SOURCES
@pytest.mark.parametrize("vector", RUNS)
def test_engine_runs_vector(vector: dict[str, Any], source: Source):
    check(vector, execute(loaded(vector), source(vector)))


@SOURCES
@pytest.mark.parametrize("vector", TRAPS)
def test_engine_traps(vector: dict[str, Any], source: Source):
    with pytest.raises(Trap, match=r"pc \d+: "):
        execute(loaded(vector), source(vector))


@SOURCES
@pytest.mark.parametrize("vector", RUNS)
def test_interpreter_runs_vector_like_the_engine(vector: dict[str, Any], source: Source):
    words = source(vector)
    result = run_isa(asm_to_module(decode(words)), vector_target(vector["config"]), **initial_memories(vector))
    check(vector, result)
    engine = run_program(words, vector_target(vector["config"]), **initial_memories(vector))
    assert result.words.tolist() == words
    assert result.counts.tolist() == engine.counts.tolist()
    assert result.cycles_per_pc("transactional").tolist() == engine.cycles_per_pc("transactional").tolist()
    assert result.hbm_bytes == engine.hbm_bytes
    np.testing.assert_array_equal(result.machine.state.registers.gp, engine.machine.state.registers.gp)


@SOURCES
@pytest.mark.parametrize("vector", TRAPS)
def test_interpreter_traps_like_the_engine(vector: dict[str, Any], source: Source):
    words = source(vector)
    with pytest.raises(Trap) as engine:
        execute(loaded(vector), words)
    with pytest.raises(Trap) as interpreter:
        run_isa(asm_to_module(decode(words)), vector_target(vector["config"]), **initial_memories(vector))
    assert (interpreter.value.pc, interpreter.value.text) == (engine.value.pc, engine.value.text)
    assert str(interpreter.value) == str(engine.value)


def test_decode_refuses_a_program_before_anything_runs():
    vector = next(vector for vector in EXEC_VECTORS if vector["name"] == "bmm_rd_traps_at_decode")
    machine = loaded(vector)
    machine.state.scalars.integer[0] = 9
    with pytest.raises(Trap, match="rd of M_BMM"):
        execute(machine, words_of(vector))
    assert machine.state.scalars.integer[0] == 9
