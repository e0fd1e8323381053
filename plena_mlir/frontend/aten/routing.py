"""Choices that depend on the input: the greatest elements, and what is read at positions computed on the way."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import i64
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.aten.registry import imports
from plena_mlir.frontend.builder import GraphBuilder, Operand


@imports("topk.default", ignored=("sorted",))
def topk(builder: GraphBuilder, x: Operand, k: int, dim: int) -> tuple[SSAValue, SSAValue]:
    """The positions, and the values read there; best first, which an unsorted topk may be too."""
    value = builder.tensor(x)
    if dim % len(pt.shape_of(value)) != len(pt.shape_of(value)) - 1:
        raise ModelImportError(f"topk on dimension {dim} is not supported", where=builder.path, hint="on the last one it is")
    ids = builder.emit(pt.TopkOp(value, k))
    return builder.emit(pt.GatherOp(value, ids)), ids


@imports("gather.default", ignored=("sparse_grad",))
def gather(builder: GraphBuilder, x: Operand, dim: int, index: Operand) -> SSAValue:
    value, ids = builder.tensor(x), builder.tensor(index, i64)
    rank = len(pt.shape_of(value))
    if dim % rank != rank - 1 or pt.shape_of(value)[:-1] != pt.shape_of(ids)[:-1]:
        raise ModelImportError(
            f"gather on dimension {dim} of {pt.shape_of(value)} is not supported",
            where=builder.path,
            hint="on the last dimension, with positions for every row, it is",
        )
    return builder.emit(pt.GatherOp(value, ids))


@imports("index.Tensor")
def index(builder: GraphBuilder, x: Operand, indices: Sequence[Operand | None]) -> SSAValue:
    """One index tensor of rank 1 that selects whole parts of a stack."""
    first = indices[0] if len(indices) == 1 else None
    ids = None if first is None else builder.tensor(first)
    if ids is None or len(pt.shape_of(ids)) != 1 or pt.element_of(ids) != i64:
        raise ModelImportError(
            "indexing other than by one list of positions on the first dimension is not supported",
            where=builder.path,
            hint="take contiguous slices, or gather rows with an embedding",
        )
    return builder.emit(pt.IndexSelectOp(builder.tensor(x), ids))


@imports("index_select.default")
def index_select(builder: GraphBuilder, x: Operand, dim: int, index: Operand) -> SSAValue:
    if dim % len(pt.shape_of(builder.tensor(x))) != 0:
        raise ModelImportError(f"index_select on dimension {dim} is not supported", where=builder.path, hint="on the first it is")
    return builder.emit(pt.IndexSelectOp(builder.tensor(x), builder.tensor(index)))


@imports("max.dim")
def maximum(builder: GraphBuilder, x: Operand, dim: int, keepdim: bool) -> tuple[SSAValue, SSAValue]:
    """The values, and the positions, which disappear again if nobody reads them."""
    value = builder.tensor(x)
    rank = len(pt.shape_of(value))
    if dim % rank != rank - 1:
        raise ModelImportError(f"max on dimension {dim} is not supported", where=builder.path, hint="on the last one it is")
    values = builder.emit(pt.AmaxOp(value, [rank - 1], keepdim=keepdim))
    return values, builder.reshape(builder.emit(pt.TopkOp(value, 1)), builder.result_shape)
