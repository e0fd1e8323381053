"""Every opcode once, with another operand in every field: what it changes, and that it changes nothing else."""

import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from plena_mlir.backend import encode, parse_asm
from plena_mlir.backend.asm_instruction import SPEC_BY_MNEMONIC
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.emulator import Machine, execute, load_machine
from plena_mlir.errors import Trap
from plena_mlir.numerics import from_bits, round_bf16
from plena_mlir.target import Precisions
from tests.emulator.opcode_vectors import ALWAYS_TRAPS, VECTORS, OpcodeVector, State
from tests.emulator.vectors import vector_target

TARGET = replace(vector_target("tiny"), precisions=Precisions(m_weight="mxfp8_e5m2", v_act="mxfp8_e5m2"))
"""Transfers with the precision operand 0 have another format, so that a vector can tell."""
NO_EFFECT = {("V_RED_MAX", "mask")}
"""Operands that change nothing."""
FLAGS = {"mask", "order", "stride", "precision"}
"""Literals of which the machine only asks whether they are 0, or 1."""
LOOP_OF_GP5 = (1, 5)
"""Depth and counter register of the one active loop that every vector starts with."""


def quarters(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Multiples of 1/4 from 1/4 to 4, of which no sum here rounds."""
    return random.integers(1, 17, shape).astype(np.float32) / 4


def initial(vector: OpcodeVector) -> State:
    """A state with something everywhere."""
    random = np.random.default_rng(6)
    state = SimpleNamespace(
        gp=random.integers(0, 1 << 32, 16),
        f=quarters(random, 8) + np.float32(0.5),
        a=random.integers(0, 1 << 40, 16),
        scale=0x4000,
        stride=32,
        mask=0b10,
        vram=quarters(random, 64, 8),
        tiles=quarters(random, 4, 8, 8),
        m=quarters(random, 4, 4),
        hm=quarters(random, 2, 8, 8),
        v=quarters(random, 4),
        hv=quarters(random, 2, 8),
        # All different, so that no index can be wrong unnoticed.
        fp=from_bits(0x3E80 + random.permutation(1024).astype(np.uint16)),
        int=random.integers(0, 1 << 32, 1024),
        # Codes below 0x78 are no infinity and no NaN; as scales they are small powers of two.
        hbm=random.integers(0x60, 0x78, TARGET.hbm_size).astype(np.uint8),
    )
    state.a[6] = 0x1000
    # The least two: in their place any other register is a larger maximum.
    state.f[5], state.f[6] = 0.25, 0.5
    state.vram[60:64] = 1.5 * 2.0 ** np.arange(4)[:, None]
    for register, value in vector.gp.items():
        state.gp[register] = value
    return state


def put(state: State) -> Machine:
    """A machine in this state, inside one loop that counts in gp5."""
    machine = load_machine(TARGET, hbm=state.hbm, fpsram=state.fp, intsram=state.int, vram=state.vram)
    registers, matrix, loops = machine.state.registers, machine.state.matrix, machine.state.loops
    registers.gp[:], registers.fp[:], registers.addr[:] = state.gp, state.f, state.a
    registers.config[:] = state.scale, state.stride, state.mask
    matrix.tiles[:], matrix.transposed[:] = state.tiles, state.tiles.transpose(0, 2, 1)
    matrix.m_acc[:], matrix.hm_acc[:], matrix.v_acc[:], matrix.hv_acc[:] = state.m, state.hm, state.v, state.hv
    loops.depth[0], loops.counter[0] = LOOP_OF_GP5
    return machine


def get(machine: Machine) -> dict[str, Any]:
    state = machine.state
    registers, matrix = state.registers, state.matrix
    scale, stride, mask = registers.config.tolist()
    np.testing.assert_array_equal(matrix.transposed, matrix.tiles.transpose(0, 2, 1))
    return {
        "gp": registers.gp,
        "f": registers.fp,
        "a": registers.addr,
        "scale": scale,
        "stride": stride,
        "mask": mask,
        "vram": machine.vram_rows(0, 64),
        "tiles": matrix.tiles,
        "m": matrix.m_acc,
        "hm": matrix.hm_acc,
        "v": matrix.v_acc,
        "hv": matrix.hv_acc,
        "fp": state.scalars.fp,
        "int": state.scalars.integer,
        "hbm": np.frombuffer(machine.read_hbm(0, TARGET.hbm_size), np.uint8),
    }


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.mnemonic)
def test_an_instruction_does_what_it_says_and_nothing_else(vector: OpcodeVector):
    before = initial(vector)
    machine = put(before)
    wanted = expected(vector)
    execute(machine, encode(parse_asm(vector.text)))
    for name, value in get(machine).items():
        np.testing.assert_array_equal(value, wanted[name], err_msg=name)
    changed = [name for name, value in vars(before).items() if not np.array_equal(value, wanted[name])]
    assert changed, "the vector would not notice an instruction that does nothing"


def fields() -> list[Any]:
    """Every operand of every vector that the machine reads."""
    cases: list[Any] = []
    for vector in VECTORS:
        (instruction,) = parse_asm(vector.text)
        for index, spec in enumerate(instruction.spec.operands):
            if spec.maximum and spec.field.width and (vector.mnemonic, spec.name) not in NO_EFFECT:
                cases.append(pytest.param(vector, index, id=f"{vector.mnemonic}-{spec.name}"))
    return cases


@pytest.mark.parametrize(("vector", "index"), fields())
def test_a_vector_notices_every_field_that_is_wrong(vector: OpcodeVector, index: int):
    """With 0 in one field, or another bit there, the instruction traps or does something else than the vector expects."""
    (instruction,) = parse_asm(vector.text)
    wanted = expected(vector)
    right = instruction.operands[index]
    for wrong in {0, right ^ 1} - {right}:
        # Another non-zero flag is the same flag.
        if wrong and instruction.spec.operands[index].name in FLAGS:
            continue
        operands = (*instruction.operands[:index], wrong, *instruction.operands[index + 1 :])
        machine = put(initial(vector))
        try:
            execute(machine, encode([replace(instruction, operands=operands)]))
        except Trap:
            continue
        found = get(machine)
        assert any(not np.array_equal(found[name], value) for name, value in wanted.items())


def expected(vector: OpcodeVector) -> dict[str, Any]:
    """The state that the vector is to leave behind, as `get` tells it."""
    state = copy.deepcopy(initial(vector))
    vector.effect(state)
    rounded = {name: round_bf16(getattr(state, name).astype(np.float32)) for name in ("vram", "f", "fp")}
    return {name: np.asarray(value) for name, value in vars(state).items()} | rounded


@pytest.mark.parametrize("text", ALWAYS_TRAPS, ids=lambda text: text.split()[0])
def test_an_instruction_without_meaning_traps(text: str):
    with pytest.raises(Trap, match=f"pc 0: {text}"):
        execute(put(initial(VECTORS[0])), encode(parse_asm(text)))


def test_every_opcode_has_a_vector_with_distinct_operands():
    texts = [*(vector.text for vector in VECTORS), *ALWAYS_TRAPS]
    assert sorted(text.split()[0] for text in texts) == sorted(spec.mnemonic for spec in INSTRUCTIONS)
    for text in texts:
        (instruction,) = parse_asm(text)
        fields = [value for spec, value in zip(instruction.spec.operands, instruction.operands, strict=True) if spec.field.width]
        assert len(set(fields)) == len(fields), text
    assert len(SPEC_BY_MNEMONIC) == len(texts) + 1


@pytest.mark.parametrize(("depth", "name"), [(1, "C_LOOP_START"), (-1, "C_LOOP_END"), (-1, "C_BREAK")])
def test_loop_instructions_push_and_pop(depth: int, name: str):
    vector = next(vector for vector in VECTORS if vector.mnemonic == name)
    machine = put(initial(vector))
    execute(machine, encode(parse_asm(vector.text)))
    assert machine.state.loops.depth[0] == 1 + depth
