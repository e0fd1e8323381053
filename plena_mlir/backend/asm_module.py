"""From instructions to a flat plena_isa module on physical registers, so that foreign assembly runs on the IR's interpreter."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from xdsl.dialects.builtin import IntegerAttr, IntegerType, ModuleOp, Signedness
from xdsl.ir import Attribute, Operation, SSAValue

from plena_mlir.backend.asm_encoder import decode_word, encode, machine_value
from plena_mlir.backend.asm_instruction import RAW_WORD, Instruction
from plena_mlir.backend.asm_parser import parse_asm
from plena_mlir.dialects.plena import name_location
from plena_mlir.dialects.plena_isa.formats import OperandKind, Role
from plena_mlir.dialects.plena_isa.pseudo_ops import GetAddrOp, GetFpOp, GetGpOp, WordOp
from plena_mlir.dialects.plena_isa.registers import AddrType, FpType, GpType, PlenaRegisterType
from plena_mlir.dialects.plena_isa.table import INSTRUCTION_OPS

_OPS = {op.mnemonic(): op for op in INSTRUCTION_OPS}
_REGISTER_TYPES: dict[OperandKind, type[PlenaRegisterType]] = {
    OperandKind.GP: GpType,
    OperandKind.FP: FpType,
    OperandKind.ADDR: AddrType,
}


def asm_to_module(
    program: str | Iterable[Instruction],
    *,
    name: str = "<asm>",
    reference_encoding: bool = False,
    warn: Callable[[str], None] | None = None,
) -> ModuleOp:
    """A module with one plena_isa operation per instruction, in program order; a word that no instruction encodes to is a
    `plena_isa.word`. It assembles to the words that `program` does.

    The registers are physical and the loops flat, so SSA values only name registers: every operand is the `get_gp`, `get_fp` or
    `get_addr` of its register at the top of the module.

    Args:
        name: the file, for messages.
        reference_encoding: what the machine makes of the words that the reference assembler gives for `program`.
        warn: as for `parse_asm`.

    Raises:
        AsmError: malformed text.
    """
    instructions = parse_asm(program, name=name, warn=warn) if isinstance(program, str) else program
    if reference_encoding:
        instructions = map(_as_reference, instructions)
    builder = _Builder()
    ops = [builder.op(instruction) for instruction in instructions]
    return ModuleOp([*(value.owner for value in builder.registers.values() if isinstance(value.owner, Operation)), *ops])


def _as_reference(instruction: Instruction) -> Instruction:
    (word,) = encode([instruction], reference_encoding=True)
    return replace(decode_word(word), location=instruction.location, line=instruction.line)


class _Builder:
    """Makes operations, and the operations that name their registers."""

    def __init__(self) -> None:
        self.registers: dict[PlenaRegisterType, SSAValue] = {}

    def op(self, instruction: Instruction) -> Operation:
        location = instruction.location
        if instruction.spec is RAW_WORD:
            instruction = decode_word(instruction.operands[0])
        op = WordOp(instruction.operands[0]) if instruction.spec is RAW_WORD else self._instruction(instruction)
        if location:
            op.location = name_location(location)
        return op

    def _instruction(self, instruction: Instruction) -> Operation:
        operands: list[SSAValue] = []
        result_types: list[Attribute] = []
        properties: dict[str, Attribute] = {}
        for spec, value in zip(instruction.spec.operands, instruction.operands, strict=True):
            if spec.kind is OperandKind.LITERAL:
                literal: IntegerAttr[IntegerType] = IntegerAttr(
                    machine_value(spec, value), IntegerType(spec.field.width, Signedness.UNSIGNED)
                )
                properties[spec.name] = literal
            elif spec.kind.is_register:
                register = _REGISTER_TYPES[spec.kind].from_index(value)
                if spec.role is not Role.DESTINATION:
                    operands.append(self._register(register))
                if spec.role is not Role.SOURCE:
                    result_types.append(register)
        return _OPS[instruction.spec.mnemonic].create(operands=operands, result_types=result_types, properties=properties)

    def _register(self, register: PlenaRegisterType) -> SSAValue:
        if register not in self.registers:
            match register:
                case GpType():
                    op = GetGpOp(register)
                case FpType():
                    op = GetFpOp(register)
                case AddrType():
                    op = GetAddrOp(register)
                case _:
                    raise AssertionError(register)
            self.registers[register] = op.rd
        return self.registers[register]
