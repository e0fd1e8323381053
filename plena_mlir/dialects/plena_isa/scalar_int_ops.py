"""Scalar integer instructions (machine specification, section 4.3). Arithmetic wraps modulo 2^32; there are no compares, shifts,
divisions or branches."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import AlwaysSpeculatable

from plena_mlir.dialects.plena_isa.abstract_ops import UI18, UI22, PlenaIsaInstruction, ui18, ui22
from plena_mlir.dialects.plena_isa.effects import INT_SRAM, MachineResource
from plena_mlir.dialects.plena_isa.formats import (
    IMM18,
    IMM22,
    RD,
    RS1,
    RS2,
    OperandSpec,
    Role,
    TimingClass,
    Unit,
    gp,
    literal,
)
from plena_mlir.dialects.plena_isa.registers import GP, GpType


class IntBinaryOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC rd, rs1, rs2`."""

    rs1 = operand_def(GpType)
    rs2 = operand_def(GpType)
    rd = result_def(GpType)

    traits = traits_def(AlwaysSpeculatable())

    UNIT: ClassVar[Unit] = Unit.SCALAR_INT
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_INT_BASIC
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD, Role.DESTINATION), gp("rs1", RS1), gp("rs2", RS2))

    def __init__(self, rs1: SSAValue, rs2: SSAValue, rd: GpType = GP) -> None:
        super().__init__(operands=[rs1, rs2], result_types=[rd])


@irdl_op_definition
class SAddIntOp(IntBinaryOp):
    """`gp[rs1] + gp[rs2]`."""

    name = "plena_isa.s_add_int"

    OPCODE: ClassVar[int] = 0x21


@irdl_op_definition
class SAddiIntOp(PlenaIsaInstruction):
    """`gp[rs1] + imm`, imm below 2^18."""

    name = "plena_isa.s_addi_int"

    rs1 = operand_def(GpType)
    imm = prop_def(IntegerAttr[UI18])
    rd = result_def(GpType)

    traits = traits_def(AlwaysSpeculatable())

    OPCODE: ClassVar[int] = 0x22
    UNIT: ClassVar[Unit] = Unit.SCALAR_INT
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_INT_BASIC
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD, Role.DESTINATION), gp("rs1", RS1), literal("imm", IMM18))

    def __init__(self, rs1: SSAValue, imm: int, rd: GpType = GP) -> None:
        super().__init__(operands=[rs1], result_types=[rd], properties={"imm": IntegerAttr(imm, ui18)})


@irdl_op_definition
class SSubIntOp(IntBinaryOp):
    """`gp[rs1] - gp[rs2]`."""

    name = "plena_isa.s_sub_int"

    OPCODE: ClassVar[int] = 0x23


@irdl_op_definition
class SMulIntOp(IntBinaryOp):
    """`gp[rs1] * gp[rs2]`."""

    name = "plena_isa.s_mul_int"

    OPCODE: ClassVar[int] = 0x24


@irdl_op_definition
class SLuiIntOp(PlenaIsaInstruction):
    """`(imm << 12) mod 2^32`, imm below 2^22. Does not add; the two top bits of imm are lost."""

    name = "plena_isa.s_lui_int"

    imm = prop_def(IntegerAttr[UI22])
    rd = result_def(GpType)

    traits = traits_def(AlwaysSpeculatable())

    OPCODE: ClassVar[int] = 0x25
    UNIT: ClassVar[Unit] = Unit.SCALAR_INT
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_INT_BASIC
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD, Role.DESTINATION), literal("imm", IMM22))

    def __init__(self, imm: int, rd: GpType = GP) -> None:
        super().__init__(result_types=[rd], properties={"imm": IntegerAttr(imm, ui22)})


@irdl_op_definition
class SLdIntOp(PlenaIsaInstruction):
    """Load: `gp[rd] = INT SRAM[gp[rs1] + imm]`."""

    name = "plena_isa.s_ld_int"

    rs1 = operand_def(GpType)
    imm = prop_def(IntegerAttr[UI18])
    rd = result_def(GpType)

    OPCODE: ClassVar[int] = 0x26
    UNIT: ClassVar[Unit] = Unit.SCALAR_INT
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_INT_BASIC
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD, Role.DESTINATION), gp("rs1", RS1), literal("imm", IMM18))
    READS: ClassVar[tuple[MachineResource, ...]] = (INT_SRAM,)

    def __init__(self, rs1: SSAValue, imm: int = 0, rd: GpType = GP) -> None:
        super().__init__(operands=[rs1], result_types=[rd], properties={"imm": IntegerAttr(imm, ui18)})


@irdl_op_definition
class SStIntOp(PlenaIsaInstruction):
    """Store: `INT SRAM[gp[rs1] + imm] = gp[rd]`. rd is the source."""

    name = "plena_isa.s_st_int"

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    imm = prop_def(IntegerAttr[UI18])

    OPCODE: ClassVar[int] = 0x27
    UNIT: ClassVar[Unit] = Unit.SCALAR_INT
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_INT_BASIC
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), gp("rs1", RS1), literal("imm", IMM18))
    WRITES: ClassVar[tuple[MachineResource, ...]] = (INT_SRAM,)

    def __init__(self, rd: SSAValue, rs1: SSAValue, imm: int = 0) -> None:
        super().__init__(operands=[rd, rs1], properties={"imm": IntegerAttr(imm, ui18)})


SCALAR_INT_OPS: tuple[type[PlenaIsaInstruction], ...] = (
    SAddIntOp,
    SAddiIntOp,
    SSubIntOp,
    SMulIntOp,
    SLuiIntOp,
    SLdIntOp,
    SStIntOp,
)
