"""Constant bounds of structured loops."""

from __future__ import annotations

from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import BlockArgument, SSAValue

from plena_mlir.errors import LoweringError


def constant_value(value: SSAValue) -> int | None:
    """The integer an index value always has, if an arith.constant defines it."""
    if isinstance(value.owner, arith.ConstantOp) and isinstance(value.owner.value, IntegerAttr):
        return value.owner.value.value.data
    return None


def bounds(loop: scf.ForOp) -> tuple[int, int, int]:
    """(lower bound, upper bound, step) of a loop whose bounds are constants."""
    lower, upper, step = (constant_value(value) for value in (loop.lb, loop.ub, loop.step))
    if lower is None or upper is None or step is None:
        raise LoweringError("the loop has a bound that is not a constant", where=str(loop.name))
    return lower, upper, step


def trip_count(induction_variable: SSAValue) -> int:
    """How often the loop of an induction variable runs."""
    assert isinstance(induction_variable, BlockArgument)
    loop = induction_variable.block.parent_op()
    assert isinstance(loop, scf.ForOp)
    lower, upper, step = bounds(loop)
    return -(-(upper - lower) // step)
