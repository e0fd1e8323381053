"""Instructions to words and back (machine specification, sections 2.1 and 2.3)."""

from __future__ import annotations

from collections.abc import Iterable

from xdsl.dialects.builtin import ModuleOp

from plena_mlir.backend.asm_instruction import (
    RAW_WORD,
    Instruction,
    is_shifted_mask,
    print_instructions,
)
from plena_mlir.backend.asm_printer import module_instructions
from plena_mlir.dialects.plena_isa.formats import OperandSpec
from plena_mlir.dialects.plena_isa.table import spec_of
from plena_mlir.errors import EncodingError


def encode(program: ModuleOp | Iterable[Instruction], *, reference_encoding: bool = False) -> list[int]:
    """The machine code of a program, one 32-bit word per instruction.

    Args:
        program: an allocated plena_isa module, or instructions.
        reference_encoding: put the operands that the reference assembler misplaces where it puts them, not where the machine
            looks for them. For comparisons with its output only.

    Raises:
        EncodingError: an operand does not fit its field.
    """
    instructions = module_instructions(program) if isinstance(program, ModuleOp) else program
    return [_encode_one(instruction, reference_encoding) for instruction in instructions]


def _encode_one(instruction: Instruction, reference_encoding: bool) -> int:
    instruction.check()
    word = instruction.spec.opcode
    for spec, value in zip(instruction.spec.operands, instruction.operands, strict=True):
        if reference_encoding and spec.reference_field is not None:
            word |= spec.reference_field.insert(value)
        else:
            word |= spec.field.insert(machine_value(spec, value))
    return word


def machine_value(spec: OperandSpec, value: int) -> int:
    """The value of an operand in the machine's field, which for a mask flag in the reference assembler's spelling is not the one in
    the text."""
    return value >> 4 if is_shifted_mask(spec, value) else value


def decode(words: Iterable[int]) -> list[Instruction]:
    """The instructions of machine code.

    Raises:
        EncodingError: a number is not a 32-bit word.
    """
    return [decode_word(word) for word in words]


def decode_word(word: int) -> Instruction:
    """The instruction of one word, or `.word` if no instruction text assembles to exactly this word: the opcode is unknown, a
    register does not exist, or bits are set that the instruction ignores.

    Raises:
        EncodingError: `word` is not a 32-bit word.
    """
    instruction = machine_view(word)
    if instruction is not None:
        try:
            if _encode_one(instruction, False) == word:
                return instruction
        except EncodingError:
            pass
    return Instruction(RAW_WORD, (word,))


def machine_view(word: int) -> Instruction | None:
    """What the machine makes of a word: fields that its instruction does not use are ignored. None for unknown opcodes.

    Raises:
        EncodingError: `word` is not a 32-bit word.
    """
    if not 0 <= word < 1 << 32:
        raise EncodingError(f"{word:#x} is not a 32-bit word")
    spec = spec_of(word)
    if spec is None:
        return None
    return Instruction(spec, tuple(operand.field.extract(word) for operand in spec.operands))


def disassemble(words: Iterable[int]) -> str:
    """Assembly text that assembles to exactly `words`. A word that no instruction text gives prints as `.word`, with a comment that
    says what the machine does with it.

    Raises:
        EncodingError: a number is not a 32-bit word.
    """
    return print_instructions((_annotated(decode_word(word)) for word in words), comments=True)


def _annotated(instruction: Instruction) -> Instruction:
    if instruction.spec is not RAW_WORD:
        return instruction
    view = machine_view(instruction.operands[0])
    note = (
        "no instruction: traps" if view is None else f"{view.text()} and bits that it does not use or registers that do not exist"
    )
    return Instruction(instruction.spec, instruction.operands, note)
