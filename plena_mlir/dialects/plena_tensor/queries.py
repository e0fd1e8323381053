"""Questions that passes ask about plena_tensor values."""

from __future__ import annotations

from typing import TypeVar

from xdsl.dialects.builtin import IndexType
from xdsl.dialects.func import FuncOp
from xdsl.ir import BlockArgument, Operation, OpResult, SSAValue

from plena_mlir.dialects.plena_tensor.base import TensorOp
from plena_mlir.dialects.plena_tensor.blocks import EmptyRowsOp
from plena_mlir.dialects.plena_tensor.contractions import EmbeddingOp, LayerNormOp, LinearOp, SdpaOp
from plena_mlir.dialects.plena_tensor.movement import ConcatOp, ConstantOp, ExpandOp, PermuteOp, ReshapeOp, SliceOp
from plena_mlir.dialects.plena_tensor.pooling import SumRowsOp
from plena_mlir.dialects.plena_tensor.shapes import shape_of
from plena_mlir.dialects.plena_tensor.transformer import AttentionOp, RmsNormOp, RopeOp

OpT = TypeVar("OpT", bound=Operation)

LAYER_OPS = (LinearOp, EmbeddingOp, SdpaOp, AttentionOp, RmsNormOp, LayerNormOp, RopeOp, EmptyRowsOp, SumRowsOp)
"""Ops that compute activations: a model applies none of them to weights alone."""


MOVEMENT_OPS = (ReshapeOp, PermuteOp, ExpandOp, SliceOp, ConcatOp)
"""Ops that move elements and compute nothing."""


def defined_by(value: SSAValue | None, op_type: type[OpT]) -> OpT | None:
    """The op that defines `value` if it is an `op_type`."""
    return value.op if isinstance(value, OpResult) and isinstance(value.op, op_type) else None


def is_weight(value: SSAValue) -> bool:
    """Whether a value depends on parameters, constants and the layer index only."""
    pending, seen = [value], {value}
    while pending:
        found = pending.pop()
        if isinstance(found, BlockArgument):
            if not isinstance(found.type, IndexType):
                return False
            continue
        op = found.owner
        if isinstance(op, LAYER_OPS) or not isinstance(op, TensorOp):
            return False
        new = [operand for operand in op.operands if operand not in seen and not isinstance(operand.type, IndexType)]
        pending += new
        seen.update(new)
    return True


def is_input(value: SSAValue) -> bool:
    """Whether a value is an argument of the function, or arguments (and constants) rearranged.

    The host puts such a value in place when it writes the inputs, so that no code of the program has to.
    """
    if isinstance(value, BlockArgument):
        return isinstance(value.block.parent_op(), FuncOp)
    op = value.owner
    if not isinstance(op, MOVEMENT_OPS):
        return False
    constants = [operand for operand in op.operands if is_constant(operand)]
    return len(constants) < len(op.operands) and all(operand in constants or is_input(operand) for operand in op.operands)


def is_constant(value: SSAValue) -> bool:
    """Whether a value is made of constants in the IR alone."""
    op = value.owner
    if isinstance(op, ConstantOp):
        return True
    return isinstance(op, MOVEMENT_OPS) and all(is_constant(operand) for operand in op.operands)


def scalar_value(value: SSAValue) -> float | None:
    """The number that a constant repeats everywhere, looking through reshapes and expansions; None for anything else."""
    while (op := defined_by(value, ReshapeOp) or defined_by(value, ExpandOp)) is not None:
        value = op.x
    constant = defined_by(value, ConstantOp)
    if constant is None:
        return None
    values = {value for value in constant.value.get_values() if isinstance(value, int | float)}
    return float(values.pop()) if len(values) == 1 else None


def is_row(value: SSAValue, features: int) -> bool:
    """Whether a value is one row of `features` elements: shape [features], possibly with leading sizes of 1."""
    shape = shape_of(value)
    return len(shape) >= 1 and shape[-1] == features and all(size == 1 for size in shape[:-1])


def same_value(a: SSAValue, b: SSAValue, depth: int = 4) -> bool:
    """Whether two values are the same expression, looking `depth` ops deep: export repeats what a module computes twice."""
    if a is b:
        return True
    if depth == 0 or not isinstance(a, OpResult) or not isinstance(b, OpResult) or not isinstance(a.op, TensorOp):
        return False
    x, y = a.op, b.op
    if type(x) is not type(y) or x.properties != y.properties or a.type != b.type or len(x.operands) != len(y.operands):
        return False
    return all(same_value(p, q, depth - 1) for p, q in zip(x.operands, y.operands, strict=True))
