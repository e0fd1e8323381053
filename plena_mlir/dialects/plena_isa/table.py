"""The instruction set as a table, derived from the operation classes."""

from __future__ import annotations

from plena_mlir.dialects.plena_isa.abstract_ops import PlenaIsaInstruction
from plena_mlir.dialects.plena_isa.control_ops import CONTROL_OPS
from plena_mlir.dialects.plena_isa.formats import OPCODE_MASK, InstructionSpec
from plena_mlir.dialects.plena_isa.hbm_ops import HBM_OPS
from plena_mlir.dialects.plena_isa.matrix_ops import MATRIX_OPS
from plena_mlir.dialects.plena_isa.scalar_fp_ops import SCALAR_FP_OPS
from plena_mlir.dialects.plena_isa.scalar_int_ops import SCALAR_INT_OPS
from plena_mlir.dialects.plena_isa.vector_ops import VECTOR_OPS


def _by_opcode(op: type[PlenaIsaInstruction]) -> int:
    return op.OPCODE


INSTRUCTION_OPS: tuple[type[PlenaIsaInstruction], ...] = tuple(
    sorted(
        (*MATRIX_OPS, *VECTOR_OPS, *SCALAR_FP_OPS, *SCALAR_INT_OPS, *HBM_OPS, *CONTROL_OPS),
        key=_by_opcode,
    )
)
"""The operation class of every instruction, by ascending opcode."""

INSTRUCTIONS: tuple[InstructionSpec, ...] = tuple(op.spec() for op in INSTRUCTION_OPS)
"""Every instruction as plain data, by ascending opcode."""

_BY_OPCODE = {spec.opcode: spec for spec in INSTRUCTIONS}


def spec_of(word: int) -> InstructionSpec | None:
    """The instruction that a word holds by its opcode, if there is one."""
    return _BY_OPCODE.get(word & OPCODE_MASK)
