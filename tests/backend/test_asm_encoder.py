"""Words: against the reference assembler's vectors, and text to words to text on every instruction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plena_mlir.backend import Instruction, decode, disassemble, encode, parse_asm, print_instructions
from plena_mlir.dialects.plena_isa import INSTRUCTIONS, InstructionSpec, OperandKind
from plena_mlir.errors import EncodingError

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "data" / "machine_vectors.json").read_text())["vectors"]
ASM_VECTORS = [vector for vector in VECTORS if vector["kind"] == "asm"]
EXEC_VECTORS = [vector for vector in VECTORS if vector["kind"] == "exec"]

# The operands that the reference assembler puts where the machine does not look (machine specification, section 2.3).
MISPLACED = {"enc_exp_mask_misplaced": 0x00040493, "enc_bmm_wo": 0x001000C5}


@pytest.mark.parametrize("vector", ASM_VECTORS, ids=lambda v: v["name"])
def test_reference_encoding_is_that_of_the_reference_assembler(vector: dict[str, Any]):
    assert encode(parse_asm(vector["asm"]), reference_encoding=True) == [int(vector["word"], 16)]


@pytest.mark.parametrize("vector", ASM_VECTORS, ids=lambda v: v["name"])
def test_default_encoding_is_what_the_machine_decodes(vector: dict[str, Any]):
    assert encode(parse_asm(vector["asm"])) == [MISPLACED.get(vector["name"], int(vector["word"], 16))]


@pytest.mark.parametrize("vector", EXEC_VECTORS, ids=lambda v: v["name"])
def test_programs_of_the_machine_vectors_assemble(vector: dict[str, Any]):
    words = [int(word, 16) for word in vector["words"]]
    assert encode(parse_asm("\n".join(vector["asm"])), reference_encoding=True) == words
    assert encode(parse_asm(disassemble(words))) == words


def extremes(spec: InstructionSpec) -> list[Instruction]:
    """The instruction with all operands least, all greatest, and each alone greatest."""
    least = tuple(0 for _ in spec.operands)
    greatest = tuple(0 if o.kind in (OperandKind.ZERO, OperandKind.IGNORED) else o.maximum for o in spec.operands)
    alone = [(*least[:i], greatest[i], *least[i + 1 :]) for i in range(len(least))]
    return [Instruction(spec, operands) for operands in (least, greatest, *alone)]


@pytest.mark.parametrize("spec", INSTRUCTIONS, ids=lambda spec: spec.mnemonic)
def test_text_to_words_to_text_is_the_identity(spec: InstructionSpec):
    program = extremes(spec)
    text = print_instructions(program)
    words = encode(parse_asm(text))
    assert len(set(words)) == len(set(program))
    assert disassemble(words) == text
    assert decode(words) == program


@given(st.lists(st.integers(0, 2**32 - 1), max_size=20))
def test_any_words_disassemble_to_text_that_assembles_to_them(words: list[int]):
    assert encode(parse_asm(disassemble(words))) == words


def test_words_that_no_instruction_text_gives_say_what_the_machine_does():
    lines = disassemble([0x00000000, 0x00004493, 0x0000003F]).splitlines()
    assert lines[0] == ".word 0x00000000 ; no instruction: traps"
    assert lines[1].startswith(".word 0x00004493 ; V_EXP_V gp2, gp1, 0 and bits")
    assert lines[2] == ".word 0x0000003F ; no instruction: traps"


def test_registers_the_machine_does_not_have_stay_words():
    # f9 as second operand of V_ADD_VF.
    assert disassemble([0x0E | 1 << 6 | 9 << 14]).startswith(".word")


def test_encoding_refuses_what_does_not_fit():
    spec = next(spec for spec in INSTRUCTIONS if spec.mnemonic == "S_ADDI_INT")
    with pytest.raises(EncodingError, match=r"line 3: S_ADDI_INT: imm = 262144 is outside 0\.\.262143 \(18 bits\)"):
        encode([Instruction(spec, (1, 0, 1 << 18), line=3)])
    with pytest.raises(EncodingError, match="is not a 32-bit word"):
        decode([1 << 32])
