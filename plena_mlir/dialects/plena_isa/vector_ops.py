"""Instructions of the vector unit (machine specification, section 4.2).

V = VLEN, H = HLEN; x = VR(gp[rs1]) is the first operand's row, y = VR(gp[rs2]) or the broadcast f[rs2] the second; results go to
the row at gp[rd], rounded to bf16. A nonzero mask flag applies the global V_MASK: bit h selects lanes h*H..h*H+H-1, selected
lanes get the result, the others a copy of x (not the old destination).
"""

from __future__ import annotations

from typing import ClassVar

from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def

from plena_mlir.dialects.plena_isa.abstract_ops import UI4, PlenaIsaInstruction, ui4
from plena_mlir.dialects.plena_isa.effects import FP_SRAM, INT_SRAM, VRAM, MachineResource
from plena_mlir.dialects.plena_isa.formats import (
    FUNCT1,
    NO_FIELD,
    RD,
    RS1,
    RS2,
    RS3,
    OperandSpec,
    Role,
    TimingClass,
    Unit,
    fp,
    gp,
    literal,
)
from plena_mlir.dialects.plena_isa.registers import FpType, GpType
from plena_mlir.dialects.plena_isa.vector_formats import (
    MISPLACED_MASK,
    MaskableVectorOp,
    UnmaskedVectorOp,
    VectorReductionOp,
    VectorScalarOp,
    VectorUnaryOp,
    VectorVectorOp,
)


@irdl_op_definition
class VAddVvOp(VectorVectorOp):
    """`x + y`."""

    name = "plena_isa.v_add_vv"

    OPCODE: ClassVar[int] = 0x0D
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_ADD


@irdl_op_definition
class VAddVfOp(VectorScalarOp):
    """`x + f`."""

    name = "plena_isa.v_add_vf"

    OPCODE: ClassVar[int] = 0x0E
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_ADD


@irdl_op_definition
class VSubVvOp(VectorVectorOp):
    """`x - y`."""

    name = "plena_isa.v_sub_vv"

    OPCODE: ClassVar[int] = 0x0F
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_ADD


@irdl_op_definition
class VSubVfOp(MaskableVectorOp):
    """`x - f` for order 0, `f - x` otherwise: `V_SUB_VF rd, rs1, f2, mask, order`."""

    name = "plena_isa.v_sub_vf"

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    rs2 = operand_def(FpType)
    order = prop_def(IntegerAttr[UI4])

    OPCODE: ClassVar[int] = 0x10
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_ADD
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (
        gp("rd", RD),
        gp("rs1", RS1),
        fp("rs2", RS2),
        literal("mask", RS3),
        literal("order", FUNCT1),
    )

    def __init__(self, rd: SSAValue, rs1: SSAValue, rs2: SSAValue, mask: int = 0, order: int = 0) -> None:
        super().__init__(operands=[rd, rs1, rs2], properties={"mask": IntegerAttr(mask, ui4), "order": IntegerAttr(order, ui4)})


@irdl_op_definition
class VMulVvOp(VectorVectorOp):
    """`x * y`."""

    name = "plena_isa.v_mul_vv"

    OPCODE: ClassVar[int] = 0x11
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_MUL


@irdl_op_definition
class VMulVfOp(VectorScalarOp):
    """`x * f`."""

    name = "plena_isa.v_mul_vf"

    OPCODE: ClassVar[int] = 0x12
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_MUL


@irdl_op_definition
class VExpVOp(VectorUnaryOp):
    """`exp(clamp(x, -88, 88))`; NaN stays. Lanes that the mask leaves out get the clamped x."""

    name = "plena_isa.v_exp_v"

    OPCODE: ClassVar[int] = 0x13
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_EXP


@irdl_op_definition
class VReciVOp(VectorUnaryOp):
    """`1 / x`; 1/0 is inf and 1/-0 is -inf."""

    name = "plena_isa.v_reci_v"

    OPCODE: ClassVar[int] = 0x14
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_RECI


@irdl_op_definition
class VRedSumOp(VectorReductionOp):
    """`f[rd] = bf16(f[rd] + sum(x))`. With the mask flag each selected head contributes H times its sum and the lanes left out
    are still counted once. With f0 the instruction does nothing.
    """

    name = "plena_isa.v_red_sum"

    OPCODE: ClassVar[int] = 0x15
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_SUM
    # The reference assembler drops the mask flag, which the machine does read.
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (
        fp("rd", RD, Role.TIED),
        gp("rs1", RS1),
        literal("mask", RS3, optional=True, reference_field=NO_FIELD),
    )


@irdl_op_definition
class VRedMaxOp(VectorReductionOp):
    """`f[rd] = max(f[rd], max(x))`. NaN in the row propagates to the row maximum; the last max ignores a NaN side. The mask flag
    does not change the value. With f0 the instruction does nothing.
    """

    name = "plena_isa.v_red_max"

    OPCODE: ClassVar[int] = 0x16
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_MAX
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (fp("rd", RD, Role.TIED), gp("rs1", RS1), MISPLACED_MASK)


@irdl_op_definition
class VPsVOp(UnmaskedVectorOp):
    """Prefix scan. Assembles, but the machine does not implement it and traps."""

    name = "plena_isa.v_ps_v"

    OPCODE: ClassVar[int] = 0x31
    TIMING: ClassVar[TimingClass] = TimingClass.NONE
    ALWAYS_TRAPS: ClassVar[bool] = True


@irdl_op_definition
class VShftVOp(UnmaskedVectorOp):
    """Shift x toward higher lanes by gp[rs2] lanes; zeros enter at lane 0, a shift of V or more gives zeros."""

    name = "plena_isa.v_shft_v"

    OPCODE: ClassVar[int] = 0x32
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_MUL


@irdl_op_definition
class CHadamardTransformOp(UnmaskedVectorOp):
    """Hadamard transform. Assembles, but the machine does not implement it and traps."""

    name = "plena_isa.c_hadamard_transform"

    OPCODE: ClassVar[int] = 0x33
    TIMING: ClassVar[TimingClass] = TimingClass.NONE
    ALWAYS_TRAPS: ClassVar[bool] = True


@irdl_op_definition
class VMaxVfOp(VectorScalarOp):
    """`max(x, f)`; NaN on either side gives NaN, +0 against -0 keeps x."""

    name = "plena_isa.v_max_vf"

    OPCODE: ClassVar[int] = 0x35
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_MAX


@irdl_op_definition
class VMinVfOp(VectorScalarOp):
    """`min(x, f)`; NaN on either side gives NaN, +0 against -0 keeps x."""

    name = "plena_isa.v_min_vf"

    OPCODE: ClassVar[int] = 0x36
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_MAX


@irdl_op_definition
class VTopkOp(PlenaIsaInstruction):
    """The k greatest of n logits with softmax weights: `V_TOPK rd, rs1, rs2[, policy]`. Policy 0 is n = 32, k = 4, policy 1 is
    n = 128, k = 8, any other traps. Reads ceil(n/V) rows from gp[rs1]; writes INT SRAM[gp[rs2] + j] = lane index and
    FP SRAM[gp[rd] + j] = exp(l_j - max) / sum over the chosen, best first, ties by lower lane.
    """

    name = "plena_isa.v_topk"

    rd = operand_def(GpType)
    rs1 = operand_def(GpType)
    rs2 = operand_def(GpType)
    policy = prop_def(IntegerAttr[UI4])

    OPCODE: ClassVar[int] = 0x37
    UNIT: ClassVar[Unit] = Unit.VECTOR
    TIMING: ClassVar[TimingClass] = TimingClass.VECTOR_TOPK
    FORMAT: ClassVar[tuple[OperandSpec, ...]] = (
        gp("rd", RD),
        gp("rs1", RS1),
        gp("rs2", RS2),
        literal("policy", RS3, optional=True),
    )
    READS: ClassVar[tuple[MachineResource, ...]] = (VRAM,)
    WRITES: ClassVar[tuple[MachineResource, ...]] = (INT_SRAM, FP_SRAM)

    def __init__(self, rd: SSAValue, rs1: SSAValue, rs2: SSAValue, policy: int = 0) -> None:
        super().__init__(operands=[rd, rs1, rs2], properties={"policy": IntegerAttr(policy, ui4)})


VECTOR_OPS: tuple[type[PlenaIsaInstruction], ...] = (
    VAddVvOp,
    VAddVfOp,
    VSubVvOp,
    VSubVfOp,
    VMulVvOp,
    VMulVfOp,
    VExpVOp,
    VReciVOp,
    VRedSumOp,
    VRedMaxOp,
    VPsVOp,
    VShftVOp,
    CHadamardTransformOp,
    VMaxVfOp,
    VMinVfOp,
    VTopkOp,
)
