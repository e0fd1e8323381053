"""Transfers between HBM and the SRAMs (machine specification, section 4.6).

base = a[rs2] + gp[rs1] in bytes; the scales are at a[rs2] + SCALE_REG + gp[rs1] // 8. Row i starts i*st bytes after the base, with
st = STRIDE_REG when the stride operand is 1 and the row length otherwise; its scales start i*st/8 bytes after the scale base. The
precision operand picks one of the two formats the settings give the transfer.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def

from plena_mlir.dialects.plena_isa.abstract_ops import UI4, PlenaIsaInstruction, ui4
from plena_mlir.dialects.plena_isa.effects import HBM, MRAM, SCALE_REG, STRIDE_REG, VRAM, MachineResource
from plena_mlir.dialects.plena_isa.formats import (
    FUNCT1,
    RD,
    RS1,
    RS2,
    RS3,
    OperandSpec,
    TimingClass,
    Unit,
    addr,
    gp,
    literal,
)
from plena_mlir.dialects.plena_isa.registers import AddrType, GpType


class HbmTransferOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC rd, rs1, a2, stride, precision`: rd holds the SRAM address, rs1 the byte offset from the address register."""

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    rs2 = operand_def(AddrType)
    stride = prop_def(IntegerAttr[UI4])
    precision = prop_def(IntegerAttr[UI4])

    UNIT: ClassVar[Unit] = Unit.HBM
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (
        gp("rd", RD),
        gp("rs1", RS1),
        addr("rs2", RS2),
        literal("stride", RS3),
        literal("precision", FUNCT1),
    )

    def __init__(self, rd: SSAValue, rs1: SSAValue, rs2: SSAValue, stride: int = 0, precision: int = 0) -> None:
        super().__init__(
            operands=[rd, rs1, rs2],
            properties={"stride": IntegerAttr(stride, ui4), "precision": IntegerAttr(precision, ui4)},
        )

    def resources_read(self) -> tuple[MachineResource, ...]:
        return (*self.READS, STRIDE_REG) if self.stride.value.data == 1 else self.READS


@irdl_op_definition
class HPrefetchMOp(HbmTransferOp):
    """Load HBM_M_Prefetch_Amount rows of MLEN elements into the Matrix SRAM tiles from gp[rd] (tile aligned), row-major.
    Precision 0 is the weight format, else the KV format.
    """

    name = "plena_isa.h_prefetch_m"

    OPCODE: ClassVar[int] = 0x28
    TIMING: ClassVar[TimingClass] = TimingClass.PREFETCH_MATRIX
    READS: ClassVar[tuple[MachineResource, ...]] = (HBM, SCALE_REG)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (MRAM,)


@irdl_op_definition
class HPrefetchVOp(HbmTransferOp):
    """Load HBM_V_Prefetch_Amount rows of VLEN elements into consecutive Vector SRAM rows from gp[rd]; rows past the end are
    dropped. Precision 0 is the activation format, else the KV format.
    """

    name = "plena_isa.h_prefetch_v"

    OPCODE: ClassVar[int] = 0x29
    TIMING: ClassVar[TimingClass] = TimingClass.PREFETCH_VECTOR
    READS: ClassVar[tuple[MachineResource, ...]] = (HBM, SCALE_REG)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (VRAM,)


@irdl_op_definition
class HStoreVOp(HbmTransferOp):
    """Store HBM_V_Writeback_Amount consecutive Vector SRAM rows from gp[rd] to HBM, MX-encoded. Precision 0 is the activation
    format, else the KV format.
    """

    name = "plena_isa.h_store_v"

    OPCODE: ClassVar[int] = 0x2A
    TIMING: ClassVar[TimingClass] = TimingClass.STORE_VECTOR
    READS: ClassVar[tuple[MachineResource, ...]] = (VRAM, SCALE_REG)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (HBM,)


HBM_OPS: tuple[type[PlenaIsaInstruction], ...] = (HPrefetchMOp, HPrefetchVOp, HStoreVOp)
