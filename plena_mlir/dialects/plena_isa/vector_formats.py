"""Operand formats of the vector unit's instructions; `vector_ops` has the instructions."""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import SSAValue
from xdsl.irdl import operand_def, prop_def, result_def

from plena_mlir.dialects.plena_isa.abstract_ops import UI4, PlenaIsaInstruction, ui4
from plena_mlir.dialects.plena_isa.effects import MASK_REG, VRAM, MachineResource
from plena_mlir.dialects.plena_isa.formats import IMM18, RD, RS1, RS2, RS3, OperandSpec, Unit, fp, gp, literal
from plena_mlir.dialects.plena_isa.registers import FP, FpType, GpType

MASK = literal("mask", RS3, optional=True)
# The reference assembler writes the third operand of V_EXP_V, V_RECI_V and V_RED_MAX at bit 14; the machine reads bit 18.
MISPLACED_MASK = literal("mask", RS3, reference_field=IMM18)


class MaskableVectorOp(PlenaIsaInstruction, ABC):
    """An instruction with a mask flag: it reads VMASK when the flag is set."""

    mask = prop_def(IntegerAttr[UI4])

    UNIT: ClassVar[Unit] = Unit.VECTOR
    READS: ClassVar[tuple[MachineResource, ...]] = (VRAM,)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (VRAM,)

    def resources_read(self) -> tuple[MachineResource, ...]:
        return (*self.READS, MASK_REG) if self.mask.value.data else self.READS


class VectorVectorOp(MaskableVectorOp, ABC):
    """`MNEMONIC rd, rs1, rs2[, mask]` on two rows."""

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    rs2 = operand_def(GpType)

    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), gp("rs1", RS1), gp("rs2", RS2), MASK)

    def __init__(self, rd: SSAValue, rs1: SSAValue, rs2: SSAValue, mask: int = 0) -> None:
        super().__init__(operands=[rd, rs1, rs2], properties={"mask": IntegerAttr(mask, ui4)})


class VectorScalarOp(MaskableVectorOp, ABC):
    """`MNEMONIC rd, rs1, f2[, mask]` on a row and a broadcast scalar."""

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    rs2 = operand_def(FpType)

    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), gp("rs1", RS1), fp("rs2", RS2), MASK)

    def __init__(self, rd: SSAValue, rs1: SSAValue, rs2: SSAValue, mask: int = 0) -> None:
        super().__init__(operands=[rd, rs1, rs2], properties={"mask": IntegerAttr(mask, ui4)})


class VectorUnaryOp(MaskableVectorOp, ABC):
    """`MNEMONIC rd, rs1, mask` on one row."""

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)

    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), gp("rs1", RS1), MISPLACED_MASK)

    def __init__(self, rd: SSAValue, rs1: SSAValue, mask: int = 0) -> None:
        super().__init__(operands=[rd, rs1], properties={"mask": IntegerAttr(mask, ui4)})


class VectorReductionOp(MaskableVectorOp, ABC):
    """`MNEMONIC fd, rs1[, mask]`: combine one row into f[rd], which is read and written. Dropped when fd is f0."""

    rd_in = operand_def(FpType)
    rs1 = operand_def(GpType)
    rd = result_def(FpType)

    WRITES: ClassVar[tuple[MachineResource, ...]] = ()
    DROPPED_BY_F0: ClassVar[bool] = True

    def __init__(self, rd_in: SSAValue, rs1: SSAValue, mask: int = 0, rd: FpType = FP) -> None:
        super().__init__(
            operands=[rd_in, rs1],
            result_types=[rd],
            properties={"mask": IntegerAttr(mask, ui4)},
        )


class UnmaskedVectorOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC rd, rs1, rs2` without a mask flag."""

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    rs2 = operand_def(GpType)

    UNIT: ClassVar[Unit] = Unit.VECTOR
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), gp("rs1", RS1), gp("rs2", RS2))
    READS: ClassVar[tuple[MachineResource, ...]] = (VRAM,)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (VRAM,)

    def __init__(self, rd: SSAValue, rs1: SSAValue, rs2: SSAValue) -> None:
        super().__init__(operands=[rd, rs1, rs2])
