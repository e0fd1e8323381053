"""Configuration registers and hardware loops (machine specification, section 4.7).

C_LOOP_START, C_LOOP_END and C_BREAK appear as flat operations only in modules read from assembly; compiled programs use the
structured `plena_isa.loop`.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import AlwaysSpeculatable

from plena_mlir.dialects.plena_isa.abstract_ops import UI22, PlenaIsaInstruction, ui22
from plena_mlir.dialects.plena_isa.effects import LOOP_STACK, MASK_REG, SCALE_REG, STRIDE_REG, MachineResource
from plena_mlir.dialects.plena_isa.formats import (
    IMM22,
    NO_FIELD,
    RD,
    RS1,
    RS2,
    OperandKind,
    OperandSpec,
    Role,
    TimingClass,
    Unit,
    addr,
    gp,
    literal,
)
from plena_mlir.dialects.plena_isa.registers import ADDR, GP, AddrType, GpType


@irdl_op_definition
class CSetAddrRegOp(PlenaIsaInstruction):
    """`a[rd] = gp[rs1] << 32 | gp[rs2]`: rs1 is the high word, rs2 the low one."""

    name = "plena_isa.c_set_addr_reg"

    rs1 = operand_def(GpType)
    rs2 = operand_def(GpType)
    rd = result_def(AddrType)

    traits = traits_def(AlwaysSpeculatable())

    OPCODE: ClassVar[int] = 0x2B
    UNIT: ClassVar[Unit] = Unit.CONTROL
    TIMING: ClassVar[TimingClass] = TimingClass.CONTROL
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (addr("rd", RD, Role.DESTINATION), gp("rs1", RS1), gp("rs2", RS2))

    def __init__(self, rs1: SSAValue, rs2: SSAValue, rd: AddrType = ADDR) -> None:
        super().__init__(operands=[rs1, rs2], result_types=[rd])


class SetConfigOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC rd`: copy gp[rd] into a configuration register. rd is the source."""

    rd = operand_def(GpType)

    UNIT: ClassVar[Unit] = Unit.CONTROL
    TIMING: ClassVar[TimingClass] = TimingClass.CONTROL
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD),)

    def __init__(self, rd: SSAValue) -> None:
        super().__init__(operands=[rd])


@irdl_op_definition
class CSetScaleRegOp(SetConfigOp):
    """SCALE_REG = gp[rd]: distance in bytes from the first element to the first scale of an HBM tensor."""

    name = "plena_isa.c_set_scale_reg"

    OPCODE: ClassVar[int] = 0x2C
    WRITES: ClassVar[tuple[MachineResource, ...]] = (SCALE_REG,)


@irdl_op_definition
class CSetStrideRegOp(SetConfigOp):
    """STRIDE_REG = gp[rd]: row stride in bytes of HBM transfers whose stride operand is 1."""

    name = "plena_isa.c_set_stride_reg"

    OPCODE: ClassVar[int] = 0x2D
    WRITES: ClassVar[tuple[MachineResource, ...]] = (STRIDE_REG,)


@irdl_op_definition
class CSetVMaskRegOp(SetConfigOp):
    """V_MASK = gp[rd]: one bit per head of HLEN lanes."""

    name = "plena_isa.c_set_v_mask_reg"

    OPCODE: ClassVar[int] = 0x2E
    WRITES: ClassVar[tuple[MachineResource, ...]] = (MASK_REG,)


@irdl_op_definition
class CLoopStartOp(PlenaIsaInstruction):
    """Open a hardware loop of n iterations: `C_LOOP_START rd, n` sets gp[rd] = n and remembers the next instruction.
    n = 0 traps.
    """

    name = "plena_isa.c_loop_start"

    imm = prop_def(IntegerAttr[UI22])
    rd = result_def(GpType)

    OPCODE: ClassVar[int] = 0x2F
    UNIT: ClassVar[Unit] = Unit.CONTROL
    TIMING: ClassVar[TimingClass] = TimingClass.CONTROL
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD, Role.DESTINATION), literal("imm", IMM22))
    WRITES: ClassVar[tuple[MachineResource, ...]] = (LOOP_STACK,)

    def __init__(self, imm: int, rd: GpType = GP) -> None:
        super().__init__(result_types=[rd], properties={"imm": IntegerAttr(imm, ui22)})


@irdl_op_definition
class CLoopEndOp(PlenaIsaInstruction):
    """Close the innermost hardware loop counted by gp[rd]: while the live gp[rd] > 1 it is decremented and the body runs again;
    else gp[rd] = 0 and execution falls through. Traps when no open loop uses the register.
    """

    name = "plena_isa.c_loop_end"

    rd_in = operand_def(GpType)
    rd = result_def(GpType)

    OPCODE: ClassVar[int] = 0x30
    UNIT: ClassVar[Unit] = Unit.CONTROL
    TIMING: ClassVar[TimingClass] = TimingClass.CONTROL
    # The reference assembler accepts a second operand and drops it.
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (
        gp("rd", RD, Role.TIED),
        OperandSpec("ignored", OperandKind.IGNORED, NO_FIELD, optional=True),
    )
    READS: ClassVar[tuple[MachineResource, ...]] = (LOOP_STACK,)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (LOOP_STACK,)

    def __init__(self, rd_in: SSAValue, rd: GpType = GP) -> None:
        super().__init__(operands=[rd_in], result_types=[rd])


@irdl_op_definition
class CBreakOp(PlenaIsaInstruction):
    """Forget the innermost hardware loop and zero its counter, without a jump. Traps outside loops."""

    name = "plena_isa.c_break"

    OPCODE: ClassVar[int] = 0x34
    UNIT: ClassVar[Unit] = Unit.CONTROL
    TIMING: ClassVar[TimingClass] = TimingClass.CONTROL
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = ()
    READS: ClassVar[tuple[MachineResource, ...]] = (LOOP_STACK,)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (LOOP_STACK,)

    def __init__(self) -> None:
        super().__init__()


CONTROL_OPS: tuple[type[PlenaIsaInstruction], ...] = (
    CSetAddrRegOp,
    CSetScaleRegOp,
    CSetStrideRegOp,
    CSetVMaskRegOp,
    CLoopStartOp,
    CLoopEndOp,
    CBreakOp,
)
