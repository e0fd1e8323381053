"""Operations that are no declared instruction: constants of any size, names of fixed registers, raw words."""

from __future__ import annotations

from xdsl.backend.register_type import RegisterAllocatedMemoryEffect
from xdsl.dialects.builtin import IntegerAttr, IntegerType
from xdsl.irdl import IRDLOperation, ParsePropInAttrDict, irdl_op_definition, prop_def, result_def, traits_def
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import AlwaysSpeculatable, Pure

from plena_mlir.dialects.plena_isa.abstract_ops import UI32, ui32
from plena_mlir.dialects.plena_isa.effects import ALL_RESOURCES, MachineEffect, MachineResource
from plena_mlir.dialects.plena_isa.registers import GP, AddrType, FpType, GpType


@irdl_op_definition
class GetGpOp(IRDLOperation):
    """The content of a register that no compiled instruction writes, as a value: `plena_isa.get_gp : !plena_isa.gp<gp0>` is zero.
    Flat modules read from assembly use it to name any register.
    """

    name = "plena_isa.get_gp"

    rd = result_def(GpType)

    assembly_format = "attr-dict `:` type($rd)"
    traits = traits_def(Pure())

    def __init__(self, rd: GpType | None = None) -> None:
        super().__init__(result_types=[GpType.from_index(0) if rd is None else rd])


@irdl_op_definition
class GetFpOp(IRDLOperation):
    """As `plena_isa.get_gp`, for floating point registers: `plena_isa.get_fp : !plena_isa.fp<f0>` is +0."""

    name = "plena_isa.get_fp"

    rd = result_def(FpType)

    assembly_format = "attr-dict `:` type($rd)"
    traits = traits_def(Pure())

    def __init__(self, rd: FpType | None = None) -> None:
        super().__init__(result_types=[FpType.from_index(0) if rd is None else rd])


@irdl_op_definition
class GetAddrOp(IRDLOperation):
    """As `plena_isa.get_gp`, for HBM address registers: a register that was never set is 0."""

    name = "plena_isa.get_addr"

    rd = result_def(AddrType)

    assembly_format = "attr-dict `:` type($rd)"
    traits = traits_def(Pure())

    def __init__(self, rd: AddrType) -> None:
        super().__init__(result_types=[rd])


@irdl_op_definition
class LiOp(IRDLOperation):
    """An integer constant of any 32-bit value: `plena_isa.li 123456789 : !plena_isa.gp`.

    It stands for the instructions that load the constant (machine specification, section 4.3) and must be replaced by them before
    assembly is printed: `S_ADDI_INT r, gp0, c` below 2^18, else `S_LUI_INT r, c >> 12` and `S_ADDI_INT r, r, c & 0xFFF`.
    """

    name = "plena_isa.li"

    value = prop_def(IntegerAttr[UI32])
    rd = result_def(GpType)

    traits = traits_def(RegisterAllocatedMemoryEffect(), AlwaysSpeculatable())
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, value: int, rd: GpType = GP) -> None:
        super().__init__(result_types=[rd], properties={"value": IntegerAttr(value, ui32)})

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.value.value.data}")
        printer.print_op_attributes(self.attributes)
        printer.print_string(" : ")
        printer.print_attribute(self.rd.type)

    @classmethod
    def parse(cls, parser: Parser) -> LiOp:
        constant = _parse_32_bits(parser, "constant")
        attributes = parser.parse_optional_attr_dict()
        parser.parse_punctuation(":")
        result_type = parser.parse_type()
        return cls.create(result_types=[result_type], properties={"value": constant}, attributes=attributes)


@irdl_op_definition
class WordOp(IRDLOperation):
    """Any 32-bit word as an instruction, the `.word 0x00000043` of assembly: `plena_isa.word 67`.

    For words that no other operation encodes to: no opcode, a register that does not exist, bits that the instruction ignores. The
    machine does with it what it does with the word. It names no register as an SSA value, though it may read and write any physical
    one, so it belongs into flat modules on physical registers; compiled programs have none.
    """

    name = "plena_isa.word"

    value = prop_def(IntegerAttr[UI32])

    traits = traits_def(MachineEffect())
    irdl_options = (ParsePropInAttrDict(),)

    def __init__(self, value: int) -> None:
        super().__init__(properties={"value": IntegerAttr(value, ui32)})

    def resources_read(self) -> tuple[MachineResource, ...]:
        return ALL_RESOURCES

    def resources_written(self) -> tuple[MachineResource, ...]:
        return ALL_RESOURCES

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.value.value.data}")
        printer.print_op_attributes(self.attributes)

    @classmethod
    def parse(cls, parser: Parser) -> WordOp:
        word = _parse_32_bits(parser, "word")
        attributes = parser.parse_optional_attr_dict()
        return cls.create(properties={"value": word}, attributes=attributes)


def _parse_32_bits(parser: Parser, what: str) -> IntegerAttr[IntegerType]:
    start = parser.pos
    value = parser.parse_integer(allow_boolean=False)
    if not 0 <= value < 1 << 32:
        parser.raise_error(f"{what} {value} is outside 0..{(1 << 32) - 1} (32 bits)", start, parser.pos)
    return IntegerAttr(value, ui32)
