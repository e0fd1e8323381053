"""One random program on the engine and on the interpreter, and what they disagree on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from plena_mlir.backend import asm_to_module, encode, parse_asm
from plena_mlir.emulator import Machine, RunResult, run_program
from plena_mlir.errors import Trap
from plena_mlir.interpreters.isa import run_isa
from tests.emulator.random_programs import RandomProgram

Outcome: TypeAlias = "dict[str, Any]"
"""The parts of what a run leaves behind, by name."""


def differences(seed: int) -> list[str]:
    """The parts of the outcome of one random program that engine and interpreter disagree on."""
    return disagreements(*outcomes(RandomProgram(seed)))


def disagreements(engine: Outcome, interpreter: Outcome) -> list[str]:
    """The parts of which two outcomes differ."""
    return [name for name in {**engine, **interpreter} if engine.get(name) != interpreter.get(name)]


def outcomes(program: RandomProgram) -> tuple[Outcome, Outcome]:
    """What the engine and what the interpreter make of a program."""
    instructions = parse_asm(program.text)
    words, options = encode(instructions), {"timing": "both", **program.options}
    return (
        outcome(lambda: run_program(words, program.target, **options)),
        outcome(lambda: run_isa(asm_to_module(instructions), program.target, **options)),
    )


def outcome(run: Callable[[], RunResult]) -> Outcome:
    """Every bit, count and cycle that a run leaves behind, or the trap that ended it and where."""
    try:
        result = run()
    except Trap as trap:
        return {"trap": trap.what, "pc": trap.pc, "text": trap.text, "values": repr(trap.values)}
    return {**fingerprint(result.machine), **measures(result)}


def measures(result: RunResult) -> dict[str, bytes]:
    """The program of a run, its counts and its cycles per instruction."""
    profiles = {profile: result.cycles_per_pc(profile).tobytes() for profile in ("transactional", "analytic")}
    return {"words": result.words.tobytes(), "counts": result.counts.tobytes(), **profiles}


def fingerprint(machine: Machine) -> dict[str, bytes]:
    """Every bit of a machine's state that a program can see."""
    state = machine.state
    parts: dict[str, Any] = {
        **state.registers._asdict(),
        "vram": machine.vram_rows(0, machine.target.vector_sram_rows),
        "tiles": state.matrix.tiles,
        "m_acc": state.matrix.m_acc,
        "hm_acc": state.matrix.hm_acc,
        "v_acc": state.matrix.v_acc,
        "hv_acc": state.matrix.hv_acc,
        "fpsram": state.scalars.fp,
        "intsram": state.scalars.integer,
        "totals": state.hbm.totals,
    }
    return {name: np.ascontiguousarray(part).tobytes() for name, part in parts.items()} | {
        "hbm": machine.read_hbm(0, machine.target.hbm_size)
    }
