"""Scalar floating point instructions (machine specification, sections 4.4 and 4.5): bf16 operands, float32 arithmetic, the result
rounded to bf16. Arithmetic into f0 is dropped and takes no cycle; S_LD_FP does write f0."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def, result_def, traits_def
from xdsl.traits import AlwaysSpeculatable

from plena_mlir.dialects.plena_isa.abstract_ops import UI18, PlenaIsaInstruction, ui18
from plena_mlir.dialects.plena_isa.effects import FP_SRAM, VRAM, MachineResource
from plena_mlir.dialects.plena_isa.formats import (
    IMM18,
    RD,
    RS1,
    RS2,
    OperandSpec,
    Role,
    TimingClass,
    Unit,
    fp,
    gp,
    literal,
)
from plena_mlir.dialects.plena_isa.registers import FP, FpType, GpType


class FpBinaryOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC fd, f1, f2`."""

    rs1 = operand_def(FpType)
    rs2 = operand_def(FpType)
    rd = result_def(FpType)

    traits = traits_def(AlwaysSpeculatable())

    UNIT: ClassVar[Unit] = Unit.SCALAR_FP
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_FP_BASIC
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (fp("rd", RD, Role.DESTINATION), fp("rs1", RS1), fp("rs2", RS2))
    DROPPED_BY_F0: ClassVar[bool] = True

    def __init__(self, rs1: SSAValue, rs2: SSAValue, rd: FpType = FP) -> None:
        super().__init__(operands=[rs1, rs2], result_types=[rd])


class FpUnaryOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC fd, f1`."""

    rs1 = operand_def(FpType)
    rd = result_def(FpType)

    traits = traits_def(AlwaysSpeculatable())

    UNIT: ClassVar[Unit] = Unit.SCALAR_FP
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (fp("rd", RD, Role.DESTINATION), fp("rs1", RS1))
    DROPPED_BY_F0: ClassVar[bool] = True

    def __init__(self, rs1: SSAValue, rd: FpType = FP) -> None:
        super().__init__(operands=[rs1], result_types=[rd])


@irdl_op_definition
class SAddFpOp(FpBinaryOp):
    """`f[rs1] + f[rs2]`."""

    name = "plena_isa.s_add_fp"

    OPCODE: ClassVar[int] = 0x17


@irdl_op_definition
class SSubFpOp(FpBinaryOp):
    """`f[rs1] - f[rs2]`."""

    name = "plena_isa.s_sub_fp"

    OPCODE: ClassVar[int] = 0x18


@irdl_op_definition
class SMaxFpOp(FpBinaryOp):
    """`f[rs2]` if it is greater than `f[rs1]`, else `f[rs1]`; so NaN in rs1 stays and NaN in rs2 loses."""

    name = "plena_isa.s_max_fp"

    OPCODE: ClassVar[int] = 0x19


@irdl_op_definition
class SMulFpOp(FpBinaryOp):
    """`f[rs1] * f[rs2]`."""

    name = "plena_isa.s_mul_fp"

    OPCODE: ClassVar[int] = 0x1A


@irdl_op_definition
class SExpFpOp(FpUnaryOp):
    """`exp(clamp(f[rs1], -88, 88))`."""

    name = "plena_isa.s_exp_fp"

    OPCODE: ClassVar[int] = 0x1B
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_FP_EXP


@irdl_op_definition
class SReciFpOp(FpUnaryOp):
    """`1 / f[rs1]`."""

    name = "plena_isa.s_reci_fp"

    OPCODE: ClassVar[int] = 0x1C
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_FP_RECI


@irdl_op_definition
class SSqrtFpOp(FpUnaryOp):
    """`sqrt(f[rs1])`; NaN for negative values."""

    name = "plena_isa.s_sqrt_fp"

    OPCODE: ClassVar[int] = 0x1D
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_FP_SQRT


@irdl_op_definition
class SLdFpOp(PlenaIsaInstruction):
    """Load: `f[rd] = FP SRAM[gp[rs1] + imm]`. Unlike arithmetic it writes f0 too."""

    name = "plena_isa.s_ld_fp"

    rs1 = operand_def(GpType)
    imm = prop_def(IntegerAttr[UI18])
    rd = result_def(FpType)

    OPCODE: ClassVar[int] = 0x1E
    UNIT: ClassVar[Unit] = Unit.SCALAR_FP
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_FP_MEMORY
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (fp("rd", RD, Role.DESTINATION), gp("rs1", RS1), literal("imm", IMM18))
    READS: ClassVar[tuple[MachineResource, ...]] = (FP_SRAM,)

    def __init__(self, rs1: SSAValue, imm: int = 0, rd: FpType = FP) -> None:
        super().__init__(operands=[rs1], result_types=[rd], properties={"imm": IntegerAttr(imm, ui18)})


@irdl_op_definition
class SStFpOp(PlenaIsaInstruction):
    """Store: `FP SRAM[gp[rs1] + imm] = f[rd]`. rd is the source."""

    name = "plena_isa.s_st_fp"

    rd = operand_def(FpType)
    rs1 = operand_def(GpType)
    imm = prop_def(IntegerAttr[UI18])

    OPCODE: ClassVar[int] = 0x1F
    UNIT: ClassVar[Unit] = Unit.SCALAR_FP
    TIMING: ClassVar[TimingClass] = TimingClass.SCALAR_FP_MEMORY
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (fp("rd", RD), gp("rs1", RS1), literal("imm", IMM18))
    WRITES: ClassVar[tuple[MachineResource, ...]] = (FP_SRAM,)

    def __init__(self, rd: SSAValue, rs1: SSAValue, imm: int = 0) -> None:
        super().__init__(operands=[rd, rs1], properties={"imm": IntegerAttr(imm, ui18)})


@irdl_op_definition
class SMapVFpOp(PlenaIsaInstruction):
    """Copy VLEN words of FP SRAM to a row of Vector SRAM: row gp[rd] = FP SRAM[gp[rs1] + imm .. + VLEN-1]."""

    name = "plena_isa.s_map_v_fp"

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    imm = prop_def(IntegerAttr[UI18])

    OPCODE: ClassVar[int] = 0x20
    UNIT: ClassVar[Unit] = Unit.SCALAR_FP
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_MAP
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), gp("rs1", RS1), literal("imm", IMM18))
    READS: ClassVar[tuple[MachineResource, ...]] = (FP_SRAM,)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (VRAM,)

    def __init__(self, rd: SSAValue, rs1: SSAValue, imm: int = 0) -> None:
        super().__init__(operands=[rd, rs1], properties={"imm": IntegerAttr(imm, ui18)})


SCALAR_FP_OPS: tuple[type[PlenaIsaInstruction], ...] = (
    SAddFpOp,
    SSubFpOp,
    SMaxFpOp,
    SMulFpOp,
    SExpFpOp,
    SReciFpOp,
    SSqrtFpOp,
    SLdFpOp,
    SStFpOp,
    SMapVFpOp,
)
