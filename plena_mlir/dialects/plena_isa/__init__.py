"""The plena_isa dialect: one operation per machine instruction, on typed registers.

Before register allocation values live in virtual registers and the IR is SSA; afterwards every register type names its physical
register, and the IR prints as assembly line by line. `table.INSTRUCTIONS` lists the same declarations as plain data.
"""

from xdsl.ir import Dialect

from plena_mlir.dialects.plena_isa.abstract_ops import PlenaIsaInstruction
from plena_mlir.dialects.plena_isa.control_ops import (
    CBreakOp,
    CLoopEndOp,
    CLoopStartOp,
    CSetAddrRegOp,
    CSetScaleRegOp,
    CSetStrideRegOp,
    CSetVMaskRegOp,
)
from plena_mlir.dialects.plena_isa.formats import InstructionSpec, OperandKind, OperandSpec, Role, TimingClass, Unit
from plena_mlir.dialects.plena_isa.hbm_ops import HPrefetchMOp, HPrefetchVOp, HStoreVOp
from plena_mlir.dialects.plena_isa.matrix_ops import (
    MBmmOp,
    MBmmWoOp,
    MBmvOp,
    MBmvWoOp,
    MBtmmOp,
    MBtmvOp,
    MMmOp,
    MMmWoOp,
    MMvOp,
    MMvWoOp,
    MTmmOp,
    MTmvOp,
)
from plena_mlir.dialects.plena_isa.pseudo_ops import GetAddrOp, GetFpOp, GetGpOp, LiOp
from plena_mlir.dialects.plena_isa.registers import ADDR, FP, GP, AddrType, FpType, GpType, PlenaRegisterType
from plena_mlir.dialects.plena_isa.scalar_fp_ops import (
    SAddFpOp,
    SExpFpOp,
    SLdFpOp,
    SMapVFpOp,
    SMaxFpOp,
    SMulFpOp,
    SReciFpOp,
    SSqrtFpOp,
    SStFpOp,
    SSubFpOp,
)
from plena_mlir.dialects.plena_isa.scalar_int_ops import (
    SAddiIntOp,
    SAddIntOp,
    SLdIntOp,
    SLuiIntOp,
    SMulIntOp,
    SStIntOp,
    SSubIntOp,
)
from plena_mlir.dialects.plena_isa.structure_ops import LoopOp, YieldOp
from plena_mlir.dialects.plena_isa.table import INSTRUCTION_OPS, INSTRUCTIONS
from plena_mlir.dialects.plena_isa.vector_ops import (
    CHadamardTransformOp,
    VAddVfOp,
    VAddVvOp,
    VExpVOp,
    VMaxVfOp,
    VMinVfOp,
    VMulVfOp,
    VMulVvOp,
    VPsVOp,
    VReciVOp,
    VRedMaxOp,
    VRedSumOp,
    VShftVOp,
    VSubVfOp,
    VSubVvOp,
    VTopkOp,
)

PlenaIsa = Dialect(
    "plena_isa",
    [*INSTRUCTION_OPS, GetGpOp, GetFpOp, GetAddrOp, LiOp, LoopOp, YieldOp],
    [GpType, FpType, AddrType],
)
