"""One assembly line as data: what the parser returns, the encoder takes and the disassembler prints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from plena_mlir.dialects.plena_isa.formats import (
    RS3,
    WHOLE_WORD,
    InstructionSpec,
    OperandKind,
    OperandSpec,
    TimingClass,
    Unit,
)
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.errors import EncodingError

RAW_WORD = InstructionSpec(".word", 0, Unit.CONTROL, TimingClass.NONE, (OperandSpec("word", OperandKind.LITERAL, WHOLE_WORD),))
"""`.word 0x00000000`: a word that is no instruction, or that has bits which no instruction text sets."""

SPEC_BY_MNEMONIC = {spec.mnemonic: spec for spec in (*INSTRUCTIONS, RAW_WORD)}


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a program.

    Attributes:
        operands: one value per operand of the specification: the register index or the literal.
        location: the module path the instruction implements, or whatever the comment behind it says.
        line: its line in the text, from 1; 0 when it does not come from text.
    """

    spec: InstructionSpec
    operands: tuple[int, ...]
    location: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    def text(self) -> str:
        """The assembly line, without location. Optional operands that are 0 at the end are left out."""
        specs = self.spec.operands
        count = len(specs)
        while count and specs[count - 1].optional and self.operands[count - 1] == 0:
            count -= 1
        if not count:
            return self.spec.mnemonic
        parts = [operand_text(spec, value) for spec, value in zip(specs[:count], self.operands[:count], strict=True)]
        return f"{self.spec.mnemonic} {', '.join(parts)}"

    def check(self) -> None:
        """Check that every operand is legal.

        Raises:
            EncodingError: one is not; the message names the operand and its limits.
        """
        for spec, value in zip(self.spec.operands, self.operands, strict=True):
            if not 0 <= value <= spec.maximum and not is_shifted_mask(spec, value):
                line = f"line {self.line}" if self.line else self.location
                raise EncodingError(f"{self.spec.mnemonic}: {range_error(spec, value)}", where=line or None)


def operand_text(spec: OperandSpec, value: int) -> str:
    """An operand as assembly spells it."""
    if spec.kind.is_register:
        return f"{spec.kind}{value}"
    return f"0x{value:08X}" if spec.field is WHOLE_WORD else str(value)


def range_error(spec: OperandSpec, value: int) -> str:
    """Why `value` is illegal for an operand."""
    if spec.kind.is_register:
        return f"there is no register {spec.kind}{value}, only {spec.kind}0 to {spec.kind}{spec.maximum}"
    if spec.kind is OperandKind.ZERO:
        return f"the first operand must be 0, not {value}"
    return f"{spec.name} = {value} is outside 0..{spec.maximum} ({spec.field.width} bits)"


def is_shifted_mask(spec: OperandSpec, value: int) -> bool:
    """Whether `value` is a mask flag times 16: the spelling that sets the flag of V_EXP_V, V_RECI_V and V_RED_MAX through the
    reference assembler, which writes their third operand four bits too low (machine specification, section 2.3)."""
    return (
        spec.field is RS3
        and spec.reference_field is not None
        and spec.reference_field.width > 0
        and value % 16 == 0
        and spec.maximum < value <= spec.maximum * 16
    )


def print_instructions(instructions: Iterable[Instruction], *, comments: bool = False) -> str:
    """Assembly text, one instruction a line; with `comments` each followed by `; location`."""
    if comments:
        return "".join(f"{i.text()} ; {i.location}\n" if i.location else f"{i.text()}\n" for i in instructions)
    return "".join(f"{i.text()}\n" for i in instructions)
