"""Instructions of the matrix unit (machine specification, section 4.1).

L = MLEN, K = BLEN, H = HLEN, B = BROADCAST_AMOUNT. Addresses count elements. T(m) is the L x L tile of Matrix SRAM that holds
address m; VR(a) is the Vector SRAM row at address a. Compute instructions add to an accumulator, which only its write-out clears.
"""

from __future__ import annotations

from abc import ABC
from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def

from plena_mlir.dialects.plena_isa.abstract_ops import UI18, PlenaIsaInstruction, ui18
from plena_mlir.dialects.plena_isa.effects import HM_ACC, HV_ACC, M_ACC, MRAM, V_ACC, VRAM, MachineResource
from plena_mlir.dialects.plena_isa.formats import (
    IMM18,
    IMM22,
    RD,
    RS1,
    RS2,
    OperandKind,
    OperandSpec,
    TimingClass,
    Unit,
    gp,
    literal,
)
from plena_mlir.dialects.plena_isa.registers import GpType

# The reference assembler writes the immediate of these into the 22-bit position; the machine reads the 18-bit one.
_WRITE_OUT_IMMEDIATE = literal("imm", IMM18, reference_field=IMM22)


class MatrixComputeOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC 0, rs1, rs2`: one operand tile of Matrix SRAM, rows of Vector SRAM, into an accumulator."""

    rs1 = operand_def(GpType)
    rs2 = operand_def(GpType)

    UNIT: ClassVar[Unit] = Unit.MATRIX
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (
        OperandSpec("zero", OperandKind.ZERO, RD),
        gp("rs1", RS1),
        gp("rs2", RS2),
    )

    def __init__(self, rs1: SSAValue, rs2: SSAValue) -> None:
        super().__init__(operands=[rs1, rs2])


class MatrixOffsetComputeOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC rd, rs1, rs2`: the matrix address is gp[rs1] + gp[rd]. rd is a source."""

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    rs2 = operand_def(GpType)

    UNIT: ClassVar[Unit] = Unit.MATRIX
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), gp("rs1", RS1), gp("rs2", RS2))

    def __init__(self, rd: SSAValue, rs1: SSAValue, rs2: SSAValue) -> None:
        super().__init__(operands=[rd, rs1, rs2])


class MatrixWriteOutOp(PlenaIsaInstruction, ABC):
    """`MNEMONIC rd, imm`: write an accumulator to Vector SRAM at gp[rd] + imm and clear it."""

    rd = operand_def(GpType)
    imm = prop_def(IntegerAttr[UI18])

    UNIT: ClassVar[Unit] = Unit.MATRIX
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_WRITE_OUT
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), _WRITE_OUT_IMMEDIATE)

    def __init__(self, rd: SSAValue, imm: int = 0) -> None:
        super().__init__(operands=[rd], properties={"imm": IntegerAttr(imm, ui18)})


@irdl_op_definition
class MMmOp(MatrixComputeOp):
    """Multiply K rows by K columns of a tile: with m = gp[rs1], v = gp[rs2] and c0 = (m mod L^2) / L,
    `m_acc += X @ T(m)[:, c0:c0+K]`, X = rows VR(v + i*L) for i < K. Output columns j*K.. are addressed by base + j*K*L.
    Traps unless m mod L^2 is a multiple of K*L.
    """

    name = "plena_isa.m_mm"

    OPCODE: ClassVar[int] = 0x01
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_TILE
    READS: ClassVar[tuple[MachineResource, ...]] = (MRAM, VRAM, M_ACC)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (M_ACC,)


@irdl_op_definition
class MTmmOp(MatrixComputeOp):
    """Multiply K rows by K rows of a tile: as M_MM on the transposed tile, `m_acc += X @ T(m)^T[:, c0:c0+K]`, so that tile rows
    c0..c0+K-1 are the outputs. The operands are swapped against M_MM: v = gp[rs1], m = gp[rs2].
    """

    name = "plena_isa.m_tmm"

    OPCODE: ClassVar[int] = 0x02
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_TILE
    READS: ClassVar[tuple[MachineResource, ...]] = (MRAM, VRAM, M_ACC)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (M_ACC,)


@irdl_op_definition
class MBmmOp(MatrixComputeOp):
    """Multiply L rows by one H-row slice of a tile, for B heads: m = gp[rs1], v = gp[rs2], h0 = m mod L^2,
    `hm_acc[b] += 0.25 * (P_b @ T(m)[h0:h0+H, :])` with head-interleaved lanes P_b[i,d] = VR(v + i*L)[d*B + b].
    Traps unless B*H = L, h0 < L and h0 is a multiple of H.
    """

    name = "plena_isa.m_bmm"

    OPCODE: ClassVar[int] = 0x03
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_TILE
    READS: ClassVar[tuple[MachineResource, ...]] = (MRAM, VRAM, HM_ACC)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (HM_ACC,)


@irdl_op_definition
class MBtmmOp(MatrixComputeOp):
    """Multiply L rows by the transpose of one H-column slice of a tile, for B heads: m = gp[rs1], v = gp[rs2], h0 = m mod L^2,
    `hm_acc[b] += 0.25 * (Q_b @ T(m)[:, h0:h0+H]^T)` with head-contiguous lanes Q_b[i,d] = VR(v + i*L)[b*H + d], i < L.
    Traps unless B*H = L, h0 < L and h0 is a multiple of H. With H = L this is a whole-tile X @ W^T.
    """

    name = "plena_isa.m_btmm"

    OPCODE: ClassVar[int] = 0x04
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_TILE
    READS: ClassVar[tuple[MachineResource, ...]] = (MRAM, VRAM, HM_ACC)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (HM_ACC,)


@irdl_op_definition
class MBmmWoOp(MatrixWriteOutOp):
    """Write out hm_acc: with ad = gp[rd] + imm (row aligned), row ad/L + b*L + i = hm_acc[b][i]; then hm_acc = 0.
    B*L rows are written.
    """

    name = "plena_isa.m_bmm_wo"

    OPCODE: ClassVar[int] = 0x05
    READS: ClassVar[tuple[MachineResource, ...]] = (HM_ACC,)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (VRAM, HM_ACC)


@irdl_op_definition
class MMmWoOp(PlenaIsaInstruction):
    """Write out m_acc: `M_MM_WO rd, rs1, imm`. With ad = gp[rd] + imm, lane = ad mod L (a multiple of K) and row stride
    s = gp[rs1] rows (1 when the rs1 field is gp0), lanes lane..lane+K-1 of row (ad - lane)/L + i*s become m_acc[i] for i < K;
    the other lanes stay; then m_acc = 0.
    """

    name = "plena_isa.m_mm_wo"

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    imm = prop_def(IntegerAttr[UI18])

    OPCODE: ClassVar[int] = 0x06
    UNIT: ClassVar[Unit] = Unit.MATRIX
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_WRITE_OUT
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (gp("rd", RD), gp("rs1", RS1), literal("imm", IMM18))
    READS: ClassVar[tuple[MachineResource, ...]] = (M_ACC, VRAM)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (VRAM, M_ACC)

    def __init__(self, rd: SSAValue, rs1: SSAValue, imm: int = 0) -> None:
        super().__init__(operands=[rd, rs1], properties={"imm": IntegerAttr(imm, ui18)})


@irdl_op_definition
class MMvOp(MatrixComputeOp):
    """Multiply one row by K columns of a tile: m = gp[rs1], v = gp[rs2], off = m mod L^2,
    `v_acc += VR(v) @ T(m)[:, off:off+K]`. Traps unless off < L and off is a multiple of K.
    """

    name = "plena_isa.m_mv"

    OPCODE: ClassVar[int] = 0x07
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_VECTOR
    READS: ClassVar[tuple[MachineResource, ...]] = (MRAM, VRAM, V_ACC)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (V_ACC,)


@irdl_op_definition
class MTmvOp(MatrixComputeOp):
    """Multiply one row by the first K rows of a tile: m = gp[rs1] (tile aligned, else it traps), v = gp[rs2],
    `v_acc += VR(v) @ T(m)^T[:, 0:K]`.
    """

    name = "plena_isa.m_tmv"

    OPCODE: ClassVar[int] = 0x08
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_VECTOR
    READS: ClassVar[tuple[MachineResource, ...]] = (MRAM, VRAM, V_ACC)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (V_ACC,)


@irdl_op_definition
class MBmvOp(MatrixOffsetComputeOp):
    """The one-row form of M_BMM. The machine traps on it whatever the operands."""

    name = "plena_isa.m_bmv"

    OPCODE: ClassVar[int] = 0x09
    TIMING: ClassVar[TimingClass] = TimingClass.NONE
    READS: ClassVar[tuple[MachineResource, ...]] = (MRAM, VRAM, HV_ACC)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (HV_ACC,)
    ALWAYS_TRAPS: ClassVar[bool] = True


@irdl_op_definition
class MBtmvOp(MatrixOffsetComputeOp):
    """The one-row form of M_BTMM: m = gp[rs1] + gp[rd], v = gp[rs2], h0 = m mod L^2,
    `hv_acc[b] += 0.25 * (q_b @ T(m)[:, h0:h0+H]^T)` with q_b[d] = VR(v)[b*H + d].
    """

    name = "plena_isa.m_btmv"

    OPCODE: ClassVar[int] = 0x0A
    TIMING: ClassVar[TimingClass] = TimingClass.MATRIX_VECTOR_BROADCAST
    READS: ClassVar[tuple[MachineResource, ...]] = (MRAM, VRAM, HV_ACC)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (HV_ACC,)


@irdl_op_definition
class MMvWoOp(MatrixWriteOutOp):
    """Write out v_acc: with ad = gp[rd] + imm, lanes ad mod L .. + K-1 of one row become v_acc; then v_acc = 0."""

    name = "plena_isa.m_mv_wo"

    OPCODE: ClassVar[int] = 0x0B
    READS: ClassVar[tuple[MachineResource, ...]] = (V_ACC, VRAM)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (VRAM, V_ACC)


@irdl_op_definition
class MBmvWoOp(MatrixWriteOutOp):
    """Write out hv_acc: with ad = gp[rd] + imm (row aligned), row ad/L + b = hv_acc[b]; then hv_acc = 0."""

    name = "plena_isa.m_bmv_wo"

    OPCODE: ClassVar[int] = 0x0C
    READS: ClassVar[tuple[MachineResource, ...]] = (HV_ACC,)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (VRAM, HV_ACC)


MATRIX_OPS: tuple[type[PlenaIsaInstruction], ...] = (
    MMmOp,
    MTmmOp,
    MBmmOp,
    MBtmmOp,
    MBmmWoOp,
    MMmWoOp,
    MMvOp,
    MTmvOp,
    MBmvOp,
    MBtmvOp,
    MMvWoOp,
    MBmvWoOp,
)
