"""Matrix products, reductions, norms, softmax, attention and embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from xdsl.dialects.builtin import f32
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.aten.elementwise import binary
from plena_mlir.frontend.aten.registry import imports
from plena_mlir.frontend.builder import GraphBuilder, Operand


@imports("linear.default")
def linear(builder: GraphBuilder, input: Operand, weight: Operand, bias: Operand | None) -> SSAValue:
    bias_value = None if bias is None else builder.tensor(bias)
    return builder.emit(pt.LinearOp(builder.tensor(input), builder.tensor(weight), bias_value))


@imports("matmul.default", "mm.default", "bmm.default")
def matmul(builder: GraphBuilder, x: Operand, other: Operand | None = None, mat2: Operand | None = None) -> SSAValue:
    right = other if mat2 is None else mat2
    assert right is not None
    lhs, rhs = builder.tensor(x), builder.tensor(right)
    if len(pt.shape_of(lhs)) < 2 or len(pt.shape_of(rhs)) < 2:
        raise ModelImportError(
            f"matmul of shapes {pt.shape_of(lhs)} and {pt.shape_of(rhs)} is not supported",
            where=builder.path,
            hint="give both operands at least two dimensions",
        )
    return builder.emit(pt.MatmulOp(lhs, rhs))


@imports("addmm.default", "baddbmm.default")
def addmm(
    builder: GraphBuilder,
    x: Operand,
    beta: float,
    alpha: float,
    mat1: Operand | None = None,
    mat2: Operand | None = None,
    batch1: Operand | None = None,
    batch2: Operand | None = None,
) -> SSAValue:
    left, right = (mat1, mat2) if batch1 is None else (batch1, batch2)
    assert left is not None
    product: Operand = matmul(builder, left, right)
    if alpha != 1:
        product = binary(builder, pt.MulOp, product, alpha)
    if beta == 0:
        return builder.tensor(product)
    scaled = x if beta == 1 else binary(builder, pt.MulOp, x, beta)
    return binary(builder, pt.AddOp, product, scaled)


@imports("scaled_dot_product_attention.default")
def attention(
    builder: GraphBuilder,
    query: Operand,
    key: Operand,
    value: Operand,
    attn_mask: Operand | None,
    is_causal: bool,
    scale: float | None,
    enable_gqa: bool,
) -> SSAValue:
    mask = None if attn_mask is None else builder.tensor(attn_mask)
    q, k, v = builder.tensor(query), builder.tensor(key), builder.tensor(value)
    return builder.emit(pt.SdpaOp(q, k, v, mask, is_causal=is_causal, scale=scale, gqa=enable_gqa))


@imports("softmax.int", "_softmax.default", ignored=("dtype", "half_to_float"))
def softmax(builder: GraphBuilder, x: Operand, dim: int) -> SSAValue:
    return builder.emit(pt.SoftmaxOp(builder.tensor(x, builder.result_element), dim))


@imports("sum.dim_IntList", "sum.default", ignored=("dtype",))
def total(builder: GraphBuilder, x: Operand, dim: Sequence[int] | None = None, keepdim: bool = False) -> SSAValue:
    return builder.emit(pt.SumOp(builder.tensor(x, builder.result_element), dim or [], keepdim=keepdim))


@imports("mean.dim", "mean.default", ignored=("dtype",))
def mean(builder: GraphBuilder, x: Operand, dim: Sequence[int] | None = None, keepdim: bool = False) -> SSAValue:
    return builder.emit(pt.MeanOp(builder.tensor(x, builder.result_element), dim or [], keepdim=keepdim))


@imports("linalg_vector_norm.default", "norm.ScalarOpt_dim", ignored=("dtype",))
def vector_norm(
    builder: GraphBuilder,
    x: Operand,
    dim: Sequence[int] | None,
    keepdim: bool,
    ord: float | None = None,
    p: float | None = None,
) -> SSAValue:
    """The Euclidean norm: the root of the sum of squares."""
    order = p if ord is None else ord
    if order is not None and order != 2:
        raise ModelImportError(f"a norm of order {order} is not supported", where=builder.path, hint="the Euclidean norm (2) is")
    value = builder.tensor(x)
    squares = builder.emit(pt.MulOp(value, value))
    return builder.emit(pt.SqrtOp(builder.emit(pt.SumOp(squares, dim or [], keepdim=keepdim))))


@imports("amax.default")
def amax(builder: GraphBuilder, x: Operand, dim: Sequence[int], keepdim: bool) -> SSAValue:
    return builder.emit(pt.AmaxOp(builder.tensor(x), dim, keepdim=keepdim))


@imports("var.dim")
def variance_unbiased(builder: GraphBuilder, x: Operand, dim: Sequence[int] | None, unbiased: bool, keepdim: bool) -> SSAValue:
    return variance(builder, x, dim, 1.0 if unbiased else 0.0, keepdim)


@imports("var.correction")
def variance(builder: GraphBuilder, x: Operand, dim: Sequence[int] | None, correction: float | None, keepdim: bool) -> SSAValue:
    value = builder.tensor(x)
    dims = dim or []
    centred = binary(builder, pt.SubOp, value, builder.emit(pt.MeanOp(value, dims, keepdim=True)))
    squares = binary(builder, pt.MulOp, centred, centred)
    summed = builder.emit(pt.SumOp(squares, dims, keepdim=keepdim))
    shape = pt.shape_of(value)
    count = 1
    for axis in dims or range(len(shape)):
        count *= shape[axis]
    return binary(builder, pt.DivOp, summed, count - (1.0 if correction is None else correction))


@imports("layer_norm.default", ignored=("cudnn_enable",))
def layer_norm(
    builder: GraphBuilder,
    input: Operand,
    normalized_shape: Sequence[int],
    weight: Operand | None,
    bias: Operand | None,
    eps: float,
) -> SSAValue:
    _check_last_dimension(builder, "layer_norm", normalized_shape)
    gain = None if weight is None else builder.tensor(weight)
    shift = None if bias is None else builder.tensor(bias)
    return builder.emit(pt.LayerNormOp(builder.tensor(input), gain, shift, eps))


@imports("rms_norm.default")
def rms_norm(
    builder: GraphBuilder, input: Operand, normalized_shape: Sequence[int], weight: Operand | None, eps: float | None
) -> SSAValue:
    _check_last_dimension(builder, "rms_norm", normalized_shape)
    gain = None if weight is None else builder.tensor(weight)
    return builder.emit(pt.RmsNormOp(builder.tensor(input), gain, torch.finfo(torch.float32).eps if eps is None else eps))


def _check_last_dimension(builder: GraphBuilder, name: str, normalized_shape: Sequence[int]) -> None:
    if len(normalized_shape) != 1:
        raise ModelImportError(
            f"{name} over the last {len(normalized_shape)} dimensions is not supported",
            where=builder.path,
            hint="norms over the last dimension are",
        )


@imports("embedding.default", ignored=("padding_idx",))
def embedding(builder: GraphBuilder, weight: Operand, indices: Operand) -> SSAValue:
    return builder.emit(pt.EmbeddingOp(builder.tensor(weight, f32), builder.tensor(indices)))
