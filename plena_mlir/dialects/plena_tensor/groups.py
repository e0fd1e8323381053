"""How the features of an activation [rows, features] lie: in one group, or in one for each head that an op reads or writes.

Groups are padded to whole blocks of the machine's rows, so that MX blocks of weights never span two of them.
"""

from __future__ import annotations

from xdsl.dialects import scf
from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects.plena_tensor.blocks import PutRowsOp, TakeRowsOp
from plena_mlir.dialects.plena_tensor.contractions import LayerNormOp
from plena_mlir.dialects.plena_tensor.elementwise import (
    AddOp,
    GeluOp,
    MaximumOp,
    MinimumOp,
    MulOp,
    ReluOp,
    SiluOp,
    SoftCapOp,
    SubOp,
)
from plena_mlir.dialects.plena_tensor.movement import ConcatOp, SliceOp
from plena_mlir.dialects.plena_tensor.pooling import SumRowsOp
from plena_mlir.dialects.plena_tensor.transformer import AttentionOp, QuantizeOp, RmsNormOp, RopeOp

ROW_BY_ROW_OPS = (
    AddOp,
    SubOp,
    MulOp,
    MaximumOp,
    MinimumOp,
    SiluOp,
    GeluOp,
    ReluOp,
    SoftCapOp,
    SliceOp,
    SumRowsOp,
    RmsNormOp,
    LayerNormOp,
)
"""Ops whose result lies as the activations do that they read (a slice of an activation takes rows)."""

_SAME_FEATURES = (*ROW_BY_ROW_OPS, QuantizeOp, TakeRowsOp, PutRowsOp)


def groups_of(value: SSAValue) -> int:
    """The groups of what no row-by-row op computes: the heads of the first attention, rope or grouped norm that it reaches, or that
    computes it."""
    return _groups(value, set())


def _groups(value: SSAValue, seen: set[SSAValue]) -> int:
    seen.add(value)
    for use in value.uses:
        op = use.operation
        if isinstance(op, AttentionOp):
            return (op.heads if use.index == 0 else op.kv_heads).value.data
        if isinstance(op, RopeOp):
            return op.heads.value.data
        if isinstance(op, RmsNormOp | LayerNormOp) and op.group_count > 1:
            return op.group_count
        for result in continuations(op, use.index):
            groups = 1 if result in seen else _groups(result, seen)
            if groups != 1:
                return groups
    owner = value.owner
    if isinstance(owner, AttentionOp | RopeOp):
        return owner.heads.value.data
    return 1


def continuations(op: Operation, operand: int) -> tuple[SSAValue, ...]:
    """The values that have the features of an operand of `op`: results of row-wise ops, and what loops carry on."""
    if isinstance(op, _SAME_FEATURES) or (isinstance(op, ConcatOp) and op.dim.value.data == 0):
        return (op.result,)
    if isinstance(op, scf.ForOp) and operand >= 3:
        return (op.body.block.args[operand - 2], op.results[operand - 3])
    if isinstance(op, scf.YieldOp) and isinstance(loop := op.parent_op(), scf.ForOp):
        return (loop.results[operand],)
    return ()
