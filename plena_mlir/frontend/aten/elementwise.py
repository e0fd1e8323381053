"""Arithmetic, activations, casts and selections."""

from __future__ import annotations

from typing import Literal

import torch
from xdsl.dialects.builtin import f32, i1
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.aten.registry import imports
from plena_mlir.frontend.builder import GraphBuilder, Operand

UNARY: dict[str, type[pt.UnaryOp]] = {
    "neg.default": pt.NegOp,
    "exp.default": pt.ExpOp,
    "log.default": pt.LogOp,
    "sqrt.default": pt.SqrtOp,
    "rsqrt.default": pt.RsqrtOp,
    "reciprocal.default": pt.ReciprocalOp,
    "tanh.default": pt.TanhOp,
    "sigmoid.default": pt.SigmoidOp,
    "silu.default": pt.SiluOp,
    "relu.default": pt.ReluOp,
    "abs.default": pt.AbsOp,
    "cos.default": pt.CosOp,
    "sin.default": pt.SinOp,
}

BINARY: dict[str, type[pt.BinaryOp]] = {
    "mul.Tensor": pt.MulOp,
    "mul.Scalar": pt.MulOp,
    "div.Tensor": pt.DivOp,
    "div.Scalar": pt.DivOp,
    "maximum.default": pt.MaximumOp,
    "minimum.default": pt.MinimumOp,
    "max.other": pt.MaximumOp,
    "min.other": pt.MinimumOp,
}


def unary(builder: GraphBuilder, kind: type[pt.UnaryOp], x: Operand) -> SSAValue:
    """`kind` of x in the node's element type."""
    return builder.emit(kind(builder.tensor(x, builder.result_element)))


def binary(builder: GraphBuilder, kind: type[pt.BinaryOp], lhs: Operand, rhs: Operand) -> SSAValue:
    """`kind` of the operands, both in the node's element type, as torch's type promotion has it."""
    element = builder.result_element
    return builder.emit(kind(builder.tensor(lhs, element), builder.tensor(rhs, element)))


def _register_uniform() -> None:
    for target, unary_kind in UNARY.items():

        def import_unary(builder: GraphBuilder, x: Operand, kind: type[pt.UnaryOp] = unary_kind) -> SSAValue:
            return unary(builder, kind, x)

        imports(target)(import_unary)
    for target, binary_kind in BINARY.items():

        def import_binary(builder: GraphBuilder, x: Operand, other: Operand, kind: type[pt.BinaryOp] = binary_kind) -> SSAValue:
            return binary(builder, kind, x, other)

        imports(target)(import_binary)


_register_uniform()


@imports("add.Tensor", "add.Scalar")
def add(builder: GraphBuilder, x: Operand, other: Operand, alpha: float) -> SSAValue:
    return binary(builder, pt.AddOp, x, _scaled(builder, other, alpha))


@imports("sub.Tensor", "sub.Scalar")
def sub(builder: GraphBuilder, x: Operand, other: Operand, alpha: float) -> SSAValue:
    return binary(builder, pt.SubOp, x, _scaled(builder, other, alpha))


@imports("rsub.Tensor", "rsub.Scalar")
def rsub(builder: GraphBuilder, x: Operand, other: Operand, alpha: float) -> SSAValue:
    return binary(builder, pt.SubOp, other, _scaled(builder, x, alpha))


def _scaled(builder: GraphBuilder, value: Operand, alpha: float) -> Operand:
    return value if alpha == 1 else binary(builder, pt.MulOp, value, alpha)


@imports("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar")
def power(builder: GraphBuilder, x: Operand, exponent: Operand) -> SSAValue:
    return binary(builder, pt.PowOp, x, exponent)


@imports("square.default")
def square(builder: GraphBuilder, x: Operand) -> SSAValue:
    return binary(builder, pt.MulOp, x, x)


@imports("clamp.default", "clamp.Tensor", "hardtanh.default")
def clamp(
    builder: GraphBuilder,
    x: Operand,
    min: Operand | None = None,
    max: Operand | None = None,
    min_val: float | None = None,
    max_val: float | None = None,
) -> SSAValue:
    low, high = (min, max) if min_val is None else (min_val, max_val)
    value = builder.tensor(x, builder.result_element)
    if low is not None:
        value = binary(builder, pt.MaximumOp, value, low)
    return value if high is None else binary(builder, pt.MinimumOp, value, high)


@imports("relu6.default")
def relu6(builder: GraphBuilder, x: Operand) -> SSAValue:
    return clamp(builder, x, 0.0, 6.0)


@imports("clamp_min.default")
def clamp_min(builder: GraphBuilder, x: Operand, min: Operand) -> SSAValue:
    return binary(builder, pt.MaximumOp, x, min)


@imports("gelu.default")
def gelu(builder: GraphBuilder, x: Operand, approximate: Literal["none", "tanh"]) -> SSAValue:
    return builder.emit(pt.GeluOp(builder.tensor(x), approximate))


@imports("where.self", "where.ScalarOther", "where.ScalarSelf", "where.Scalar")
def where(builder: GraphBuilder, condition: Operand, x: Operand, other: Operand) -> SSAValue:
    element = builder.result_element
    return builder.emit(pt.WhereOp(builder.tensor(condition, i1), builder.tensor(x, element), builder.tensor(other, element)))


@imports("masked_fill.Scalar", "masked_fill.Tensor")
def masked_fill(builder: GraphBuilder, x: Operand, mask: Operand, value: Operand) -> SSAValue:
    return where(builder, mask, value, x)


@imports(
    "to.dtype",
    "to.dtype_layout",
    "to.device",
    "to.other",
    "_to_copy.default",
    "type_as.default",
    ignored=("dtype", "other"),
)
def cast(builder: GraphBuilder, x: Operand) -> SSAValue:
    return builder.tensor(x, builder.result_element)


@imports(
    "alias.default",
    "detach.default",
    "clone.default",
    "contiguous.default",
    "lift_fresh_copy.default",
    "view.dtype",
    ignored=("dtype",),
)
def identity(builder: GraphBuilder, x: Operand) -> SSAValue:
    value = builder.tensor(x)
    if pt.element_of(value) != builder.result_element:
        raise ModelImportError("reading a tensor's bits as another type is not supported", where=builder.path)
    return value


@imports("dropout.default", ignored=("p",))
def dropout(builder: GraphBuilder, input: Operand, train: bool) -> SSAValue:
    if train:
        raise ModelImportError("dropout in training mode is random", where=builder.path, hint="call eval() on the model")
    return builder.tensor(input)


@imports("copy.default")
def copy(builder: GraphBuilder, x: Operand, src: Operand) -> SSAValue:
    return builder.expand(builder.tensor(src, builder.result_element), builder.result_shape)


@imports("zeros_like.default", "new_zeros.default", "zero.default", ignored=("x", "size", "dtype"))
def zeros(builder: GraphBuilder) -> torch.Tensor:
    return _filled(builder, 0)


@imports("ones_like.default", "new_ones.default", ignored=("x", "size", "dtype"))
def ones(builder: GraphBuilder) -> torch.Tensor:
    return _filled(builder, 1)


@imports("full_like.default", "new_full.default", "fill.Scalar", ignored=("x", "size", "dtype"))
def full(builder: GraphBuilder, fill_value: float | None = None, value: float | None = None) -> torch.Tensor:
    return _filled(builder, value if fill_value is None else fill_value)


def _filled(builder: GraphBuilder, value: float | None) -> torch.Tensor:
    dtype = torch.float32 if builder.result_element == f32 else torch.int64
    dtype = torch.bool if builder.result_element == i1 else dtype
    return torch.full(builder.result_shape, 0.0 if value is None else value, dtype=dtype)
