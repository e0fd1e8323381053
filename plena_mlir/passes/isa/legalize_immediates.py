"""legalize-immediates: constants become instructions whose immediates fit their fields.

`li c` is `S_ADDI_INT r, gp0, c` below 2^18, else `S_LUI_INT r, c >> 12` and `S_ADDI_INT r, r, c & 0xFFF` (machine specification,
section 4.3; the second is left out when it would add 0). Runs before or after register allocation.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter

from plena_mlir.dialects.plena_isa import GetGpOp, GpType, LiOp, SAddiIntOp, SLuiIntOp
from plena_mlir.passes.isa.places import IMMEDIATE_SPAN

_LOW_BITS = 12


@dataclass(frozen=True)
class LegalizeImmediatesPass(ModulePass):
    """Replace every `plena_isa.li`."""

    name = "legalize-immediates"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        constants = [nested for nested in op.walk() if isinstance(nested, LiOp)]
        if not constants:
            return
        zero = GetGpOp()
        first = op.body.block.first_op
        assert first is not None
        op.body.block.insert_op_before(zero, first)
        for constant in constants:
            new = _instructions(constant.value.value.data, zero.rd, constant.rd.type)
            for instruction in new:
                instruction.location = constant.location
            Rewriter.replace_op(constant, new)


def _instructions(value: int, zero: SSAValue, register: GpType) -> list[Operation]:
    if value < IMMEDIATE_SPAN:
        return [SAddiIntOp(zero, value, register)]
    upper = SLuiIntOp(value >> _LOW_BITS, register)
    lower = value & ((1 << _LOW_BITS) - 1)
    return [upper, SAddiIntOp(upper.rd, lower, register)] if lower else [upper]
