"""The base class of all instructions: one declaration, read by the IR syntax, the assembler and the emulator alike."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from typing import ClassVar, Literal, Self, TypeAlias

from xdsl.dialects.builtin import IntegerAttr, IntegerType, Signedness
from xdsl.ir import Attribute, OpResult, SSAValue
from xdsl.irdl import IRDLOperation, ParsePropInAttrDict, traits_def
from xdsl.parser import Parser, UnresolvedOperand
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from plena_mlir.dialects.plena_isa.effects import MachineEffect, MachineResource
from plena_mlir.dialects.plena_isa.formats import InstructionSpec, OperandKind, OperandSpec, Role, TimingClass, Unit
from plena_mlir.dialects.plena_isa.registers import physical_index

UI4: TypeAlias = IntegerType[Literal[4], Literal[Signedness.UNSIGNED]]
UI18: TypeAlias = IntegerType[Literal[18], Literal[Signedness.UNSIGNED]]
UI22: TypeAlias = IntegerType[Literal[22], Literal[Signedness.UNSIGNED]]
UI32: TypeAlias = IntegerType[Literal[32], Literal[Signedness.UNSIGNED]]
ui4: UI4 = IntegerType(4, Signedness.UNSIGNED)
ui18: UI18 = IntegerType(18, Signedness.UNSIGNED)
ui22: UI22 = IntegerType(22, Signedness.UNSIGNED)
ui32: UI32 = IntegerType(32, Signedness.UNSIGNED)


class PlenaIsaInstruction(IRDLOperation, ABC):
    """An operation that is exactly one instruction word.

    The name of the operation is `plena_isa.` and the mnemonic in lower case. A subclass per instruction format declares the
    fields and FORMAT, a subclass of that per instruction declares OPCODE, UNIT, TIMING and the machine state it touches.

    Syntax: the sources in assembly order, then the type:
    `%2 = plena_isa.s_addi_int %1, 128 : (!plena_isa.gp) -> !plena_isa.gp`.
    """

    OPCODE: ClassVar[int]
    UNIT: ClassVar[Unit]
    TIMING: ClassVar[TimingClass]
    FORMAT: ClassVar[tuple[OperandSpec, ...]]
    """The operands of the assembly line in order."""
    READS: ClassVar[tuple[MachineResource, ...]] = ()
    WRITES: ClassVar[tuple[MachineResource, ...]] = ()
    DROPPED_BY_F0: ClassVar[bool] = False
    ALWAYS_TRAPS: ClassVar[bool] = False

    traits = traits_def(MachineEffect())
    irdl_options = (ParsePropInAttrDict(),)

    @classmethod
    def mnemonic(cls) -> str:
        """The name of the instruction in assembly."""
        return cls.name.removeprefix("plena_isa.").upper()

    @classmethod
    def spec(cls) -> InstructionSpec:
        """The declaration of this instruction as plain data."""
        return InstructionSpec(cls.mnemonic(), cls.OPCODE, cls.UNIT, cls.TIMING, cls.FORMAT, cls.DROPPED_BY_F0, cls.ALWAYS_TRAPS)

    def resources_read(self) -> tuple[MachineResource, ...]:
        return self.READS

    def resources_written(self) -> tuple[MachineResource, ...]:
        return self.WRITES

    def assembly_operands(self) -> Iterator[tuple[OperandSpec, SSAValue | int]]:
        """The operands of the assembly line in order: registers as SSA values (of a tied pair, the result), literals as
        integers."""
        operands = iter(self.operands)
        for spec in self.FORMAT:
            if spec.role is Role.SOURCE:
                yield spec, next(operands)
            elif spec.role is Role.DESTINATION:
                yield spec, self.results[0]
            elif spec.role is Role.TIED:
                next(operands)
                yield spec, self.results[0]
            elif spec.kind is OperandKind.LITERAL:
                yield spec, self.literal(spec)
            else:
                yield spec, 0

    def literal(self, spec: OperandSpec) -> int:
        """The value of a literal operand."""
        attribute = self.properties[spec.name]
        assert isinstance(attribute, IntegerAttr)
        return attribute.value.data

    def tied_values(self) -> tuple[SSAValue, OpResult] | None:
        """The operand and the result that must share one physical register."""
        position = 0
        for spec in self.FORMAT:
            if spec.role is Role.TIED:
                return self.operands[position], self.results[0]
            position += spec.role is Role.SOURCE
        return None

    def verify_(self) -> None:
        tied = self.tied_values()
        if tied is not None:
            before, after = physical_index(tied[0]), physical_index(tied[1])
            if before is not None and after is not None and before != after:
                raise VerifyException(
                    f"{self.mnemonic()} reads and writes one register, but its operand is in {tied[0].type} "
                    f"and its result in {tied[1].type}"
                )

    # Custom syntax. Optional literals that are 0 are left out, as in assembly.

    def print(self, printer: Printer) -> None:
        parts: list[SSAValue | int] = []
        operands = iter(self.operands)
        for spec in self.FORMAT:
            if spec.role in (Role.SOURCE, Role.TIED):
                parts.append(next(operands))
            elif spec.kind is OperandKind.LITERAL:
                value = self.literal(spec)
                if value or not spec.optional:
                    parts.append(value)
        for index, part in enumerate(parts):
            printer.print_string(", " if index else " ")
            if isinstance(part, int):
                printer.print_string(str(part))
            else:
                printer.print_operand(part)
        printer.print_op_attributes(self.attributes)
        if self.operands or self.results:
            printer.print_string(" : ")
            printer.print_function_type(self.operand_types, self.result_types)

    @classmethod
    def parse(cls, parser: Parser) -> Self:
        unresolved: list[UnresolvedOperand] = []
        properties: dict[str, Attribute] = {}
        first = True
        for spec in cls.FORMAT:
            is_source = spec.role in (Role.SOURCE, Role.TIED)
            if not is_source and spec.kind is not OperandKind.LITERAL:
                continue
            if not first:
                if spec.optional:
                    if parser.parse_optional_punctuation(",") is None:
                        properties[spec.name] = _integer(0, spec)
                        continue
                else:
                    parser.parse_punctuation(",")
            first = False
            if is_source:
                unresolved.append(parser.parse_unresolved_operand())
            else:
                properties[spec.name] = _parse_literal(parser, spec)
        attributes = parser.parse_optional_attr_dict()
        operands: list[SSAValue] = []
        result_types: list[Attribute] = []
        if unresolved or any(spec.role is Role.DESTINATION for spec in cls.FORMAT):
            parser.parse_punctuation(":")
            pos = parser.pos
            function_type = parser.parse_function_type()
            operands = list(parser.resolve_operands(unresolved, function_type.inputs.data, pos))
            result_types = list(function_type.outputs.data)
        return cls.create(operands=operands, result_types=result_types, properties=properties, attributes=attributes)


def _integer(value: int, spec: OperandSpec) -> IntegerAttr[IntegerType]:
    return IntegerAttr(value, IntegerType(spec.field.width, Signedness.UNSIGNED))


def _parse_literal(parser: Parser, spec: OperandSpec) -> IntegerAttr[IntegerType]:
    pos = parser.pos
    value = parser.parse_integer(allow_boolean=False)
    if not 0 <= value <= spec.maximum:
        parser.raise_error(
            f"{spec.name} = {value} is outside 0..{spec.maximum} ({spec.field.width} bits)",
            pos,
            parser.pos,
        )
    return _integer(value, spec)
