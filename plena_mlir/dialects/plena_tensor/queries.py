"""Questions that passes ask about plena_tensor values."""

from __future__ import annotations

from typing import TypeVar

from xdsl.dialects.builtin import IndexType
from xdsl.ir import BlockArgument, Operation, OpResult, SSAValue

from plena_mlir.dialects.plena_tensor.base import TensorOp
from plena_mlir.dialects.plena_tensor.blocks import EmptyRowsOp
from plena_mlir.dialects.plena_tensor.contractions import EmbeddingOp, LayerNormOp, LinearOp, SdpaOp
from plena_mlir.dialects.plena_tensor.movement import ConstantOp, ExpandOp, ReshapeOp
from plena_mlir.dialects.plena_tensor.pooling import SumRowsOp
from plena_mlir.dialects.plena_tensor.shapes import shape_of
from plena_mlir.dialects.plena_tensor.transformer import AttentionOp, RmsNormOp, RopeOp

OpT = TypeVar("OpT", bound=Operation)

LAYER_OPS = (LinearOp, EmbeddingOp, SdpaOp, AttentionOp, RmsNormOp, LayerNormOp, RopeOp, EmptyRowsOp, SumRowsOp)
"""Ops that compute activations: a model applies none of them to weights alone."""


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
