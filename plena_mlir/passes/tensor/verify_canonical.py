"""verify-canonical: refuse whatever the lowering to tiles does not expect.

The canonical form of a function of plena_tensor:

* inputs are arguments of the function, rearranged to [rows, features], or to ids of rank 1;
* activations are rank 2, computed by embedding, rms_norm, layer_norm, linear, rope, attention, add, sub, mul, silu, gelu, relu,
  soft_cap, maximum and minimum with a number, quantize, sum_rows, concatenations, the ops of experts, or slices of rows; token ids
  are rank 1;
* linear weights, embedding tables, keys and values, and every row or table of weights are read through `quantize`;
* weights are expressions of movement and arithmetic on parameters and constants;
* repeated layers are `scf.for` with constant bounds that carry activations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import IndexType, ModuleOp, TensorType, i64
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError
from plena_mlir.passes.tensor.assign_precision import stored_operands

WEIGHT_OPS = (
    pt.ParameterOp,
    pt.ConstantOp,
    pt.ReshapeOp,
    pt.PermuteOp,
    pt.ExpandOp,
    pt.SliceOp,
    pt.ConcatOp,
    pt.CastOp,
    pt.WhereOp,
    pt.AddOp,
    pt.SubOp,
    pt.MulOp,
    pt.MaximumOp,
    pt.MatmulOp,
    pt.NegOp,
    pt.ReciprocalOp,
    pt.QuantizeOp,
)
"""What weight expressions are made of."""

ACTIVATION_OPS = (
    pt.EmbeddingOp,
    pt.RmsNormOp,
    pt.LayerNormOp,
    pt.LinearOp,
    pt.RopeOp,
    pt.AttentionOp,
    pt.AddOp,
    pt.SubOp,
    pt.MulOp,
    pt.SiluOp,
    pt.GeluOp,
    pt.ReluOp,
    pt.SoftCapOp,
    pt.MaximumOp,
    pt.MinimumOp,
    pt.QuantizeOp,
    pt.SliceOp,
    pt.SumRowsOp,
    pt.ConcatOp,
    pt.TopkOp,
    pt.MoeWeightsOp,
    pt.ExpertLinearOp,
    pt.MoeCombineOp,
)
"""What computes activations."""


def _refuse(op: Operation, problem: str, hint: str | None = None) -> LoweringError:
    return LoweringError(f"{op.name} {problem}", where=module_path(op) or None, hint=hint)


def check_activation(op: pt.TensorOp) -> None:
    """Raise `LoweringError` unless an op on activations is in canonical form."""
    for operand in op.operands:
        if isinstance(operand.type, TensorType) and pt.is_input(operand):
            _check_value(op, operand)
    if not isinstance(op, ACTIVATION_OPS):
        raise _refuse(op, "cannot be lowered", "the compiler lowers " + ", ".join(kind.name[13:] for kind in ACTIVATION_OPS))
    if len(pt.shape_of(op.result)) != 2:
        raise _refuse(op, f"computes an activation of shape {pt.shape_of(op.result)}, not [rows, features]")
    if isinstance(op, pt.SliceOp) and op.dim.value.data != 0:
        raise _refuse(op, "takes features, only rows can be taken")
    if isinstance(op, pt.BinaryOp):
        for operand in op.operands:
            if pt.shape_of(operand) != pt.shape_of(op.result) and not pt.is_weight(operand):
                raise _refuse(op, f"broadcasts an activation of shape {pt.shape_of(operand)}")
    for number, form in stored_operands(op):
        raise _refuse(op, f"reads operand {number} outside the {form} format", "run assign-precision")


def check_weight(op: pt.TensorOp) -> None:
    """Raise `LoweringError` unless an op on weights can be evaluated when the image is written."""
    if not isinstance(op, WEIGHT_OPS):
        raise _refuse(op, "has no place in a weight expression")


def _check_loop(op: scf.ForOp, check_block: Callable[[Block], None]) -> None:
    for bound in (op.lb, op.ub, op.step):
        if not isinstance(bound.owner, arith.ConstantOp):
            raise _refuse(op, "has a bound that is no constant")
    for value in op.body.block.args[1:]:
        _check_value(op, value)
    check_block(op.body.block)


def _check_value(op: Operation, value: SSAValue) -> None:
    """Inputs and carried values are [rows, features], or token ids."""
    if not isinstance(value.type, TensorType):
        raise _refuse(op, f"takes a value of type {value.type}")
    ids = pt.element_of(value) == i64
    if len(pt.shape_of(value)) != (1 if ids else 2):
        raise _refuse(op, f"takes a value of shape {pt.shape_of(value)}, not [rows, features] or ids [rows]")


def check_block(block: Block) -> None:
    """Raise `LoweringError` for the first op of a block that is not in canonical form."""
    for op in block.ops:
        match op:
            case pt.TensorOp():
                if pt.is_weight(op.result):
                    check_weight(op)
                elif pt.is_input(op.result):
                    pass
                else:
                    check_activation(op)
            case scf.ForOp():
                _check_loop(op, check_block)
            case func.ReturnOp():
                for value in op.operands:
                    if pt.is_input(value) or pt.is_weight(value):
                        raise _refuse(op, "returns an input or a weight as it is", "a program computes something")
            case scf.YieldOp():
                pass
            case arith.ConstantOp() if isinstance(op.result.type, IndexType):
                pass
            case _:
                raise _refuse(op, "has no place in a canonical function")


@dataclass(frozen=True)
class VerifyCanonicalPass(ModulePass):
    """Check the canonical form that the lowering to tiles takes; changes nothing."""

    name = "verify-canonical"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for function in op.body.block.ops:
            if isinstance(function, func.FuncOp):
                check_block(function.body.block)
