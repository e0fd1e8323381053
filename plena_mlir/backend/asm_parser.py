"""From assembly text to instructions (machine specification, section 2.2)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from plena_mlir.backend.asm_instruction import (
    RAW_WORD,
    SPEC_BY_MNEMONIC,
    Instruction,
    is_shifted_mask,
    range_error,
)
from plena_mlir.dialects.plena_isa.formats import InstructionSpec, OperandKind, OperandSpec
from plena_mlir.errors import AsmError

_COMMENT = re.compile(r";|//")
_MNEMONIC = re.compile(r"\s*(\S+)")
_REGISTER = re.compile(r"(gp|f|a)([0-9]+)")
_DECIMAL = re.compile(r"-?[0-9]+")
_WORD = re.compile(r"0x[0-9a-fA-F]{1,8}|[0-9]+")

_KIND_NAMES = {
    OperandKind.GP: "a general purpose register gp0..gp15",
    OperandKind.FP: "a floating point register f0..f7",
    OperandKind.ADDR: "an HBM address register a0..a15",
    OperandKind.LITERAL: "a decimal number",
    OperandKind.ZERO: "0",
}


def parse_asm(text: str, *, name: str = "<asm>", warn: Callable[[str], None] | None = None) -> list[Instruction]:
    """The instructions of an assembly text: one per line, comments from `;` or `//` to the end of the line.

    A comment behind an instruction becomes its location.

    Args:
        name: the file, for messages.
        warn: called with a message for each operand that the reference assembler encodes differently from what the machine decodes.

    Raises:
        AsmError: with file, line and column.
    """
    instructions: list[Instruction] = []
    for number, line in enumerate(text.splitlines(), start=1):
        comment = _COMMENT.search(line)
        code = line if comment is None else line[: comment.start()]
        if not code.strip():
            continue
        location = "" if comment is None else line[comment.end() :].strip()
        instructions.append(_Line(name, number, code, warn).instruction(location))
    return instructions


@dataclass(frozen=True)
class _Line:
    """One line of code without its comment."""

    name: str
    number: int
    code: str
    warn: Callable[[str], None] | None

    def instruction(self, location: str) -> Instruction:
        match = _MNEMONIC.match(self.code)
        assert match is not None
        spec = SPEC_BY_MNEMONIC.get(match.group(1))
        if spec is None:
            raise self._unknown_mnemonic(match.group(1), match.start(1))
        tokens = self._tokens(match.end())
        self._check_count(spec, tokens)
        operands = tuple(
            self._operand(spec, index, *tokens[index]) if index < len(tokens) else 0 for index in range(len(spec.operands))
        )
        return Instruction(spec, operands, location, self.number)

    def _tokens(self, start: int) -> list[tuple[str, int]]:
        """The operands with the offset at which each starts."""
        if not self.code[start:].strip():
            return []
        tokens: list[tuple[str, int]] = []
        for part in self.code[start:].split(","):
            stripped = part.strip()
            offset = start + len(part) - len(part.lstrip())
            if not stripped:
                raise self._error("an operand is missing", min(offset, len(self.code.rstrip())))
            tokens.append((stripped, offset))
            start += len(part) + 1
        return tokens

    def _check_count(self, spec: InstructionSpec, tokens: list[tuple[str, int]]) -> None:
        required = sum(not operand.optional for operand in spec.operands)
        if len(tokens) > len(spec.operands):
            text, offset = tokens[len(spec.operands)]
            raise self._error(f"{spec.mnemonic} has at most {len(spec.operands)} operands; `{text}` is one too many", offset)
        if len(tokens) < required:
            names = ", ".join(operand.name for operand in spec.operands[len(tokens) : required])
            raise self._error(
                f"{spec.mnemonic} needs {required} operands and has {len(tokens)}; missing: {names}", len(self.code.rstrip())
            )

    def _operand(self, spec: InstructionSpec, index: int, text: str, offset: int) -> int:
        operand = spec.operands[index]
        if operand.kind is OperandKind.IGNORED:
            return 0
        value = self._value(spec, operand, index, text, offset)
        shifted = is_shifted_mask(operand, value)
        if not 0 <= value <= operand.maximum and not shifted:
            raise self._error(range_error(operand, value), offset)
        if self.warn is not None and operand.reference_field is not None and value:
            self.warn(self._place(offset) + ": " + _difference(spec, operand, value, shifted))
        return value

    def _value(self, spec: InstructionSpec, operand: OperandSpec, index: int, text: str, offset: int) -> int:
        """The number of an operand: the register index or the literal."""
        register = _REGISTER.fullmatch(text)
        if operand.kind.is_register:
            if register is not None and register.group(1) == operand.kind:
                return int(register.group(2))
            # In the first position the reference assembler takes a bare number for the register's index.
            if index == 0 and _DECIMAL.fullmatch(text):
                return int(text)
        elif spec is RAW_WORD:
            if _WORD.fullmatch(text):
                return int(text, 0)
            raise self._error(f"`{text}` is not a 32-bit word such as 0x00200062", offset)
        elif _DECIMAL.fullmatch(text):
            return int(text)
        elif operand.kind is OperandKind.ZERO and text == "gp0":
            return 0
        raise self._error(
            f"operand {index + 1} of {spec.mnemonic} ({operand.name}) must be {_KIND_NAMES[operand.kind]}, not `{text}`", offset
        )

    def _unknown_mnemonic(self, text: str, offset: int) -> AsmError:
        known = text.upper() in SPEC_BY_MNEMONIC
        hint = f"mnemonics are upper case: {text.upper()}" if known else None
        return self._error(f"unknown instruction `{text}`", offset, hint)

    def _error(self, what: str, offset: int, hint: str | None = None) -> AsmError:
        return AsmError(what, where=self._place(offset), hint=hint)

    def _place(self, offset: int) -> str:
        return f"{self.name}:{self.number}:{offset + 1}"


def _difference(spec: InstructionSpec, operand: OperandSpec, value: int, shifted: bool) -> str:
    """What the reference assembler makes of an operand that it puts where the machine does not look."""
    if shifted:
        return (
            f"{spec.mnemonic}: {operand.name} {value} is taken for {value >> 4}, which is what it means to the reference assembler"
        )
    reference = operand.reference_field
    assert reference is not None
    effective = operand.field.extract(reference.insert(value))
    return (
        f"{spec.mnemonic}: {operand.name} {value} is encoded where the machine decodes it; "
        f"the reference assembler would make it {effective}"
    )
