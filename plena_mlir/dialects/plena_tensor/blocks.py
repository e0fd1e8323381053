"""Blocks of rows: what a program that keeps only part of its rows at a time is made of."""

from __future__ import annotations

from xdsl.dialects.builtin import I64, IndexType, IntegerAttr, TensorType, i64
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import IRDLOperation, irdl_op_definition, operand_def, prop_def

from plena_mlir.dialects.plena_tensor.base import TensorOp
from plena_mlir.dialects.plena_tensor.shapes import Shape, element_of, require, shape_of, tensor_type


@irdl_op_definition
class EmptyRowsOp(TensorOp):
    """A tensor [rows, features] that `put_rows` is about to fill; zeros until then."""

    name = "plena_tensor.empty_rows"

    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, shape: Shape) -> None:
        IRDLOperation.__init__(self, result_types=[tensor_type(shape)])

    def expected_shape(self) -> Shape:
        require(len(shape_of(self.result)) == 2, "rows of features have rank 2")
        return shape_of(self.result)

    def expected_element(self) -> Attribute:
        return element_of(self.result)


@irdl_op_definition
class TakeRowsOp(TensorOp):
    """The rows of x [S, F] from `block * block_rows` on, as many as the result has."""

    name = "plena_tensor.take_rows"

    x = operand_def(TensorType)
    block = operand_def(IndexType)
    block_rows = prop_def(IntegerAttr[I64])

    assembly_format = "$x `[` $block `]` attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, block: SSAValue | Operation, rows: int, block_rows: int) -> None:
        self.build_like([x, block], (rows, shape_of(x)[1]), {"block_rows": IntegerAttr(block_rows, i64)})

    def expected_shape(self) -> Shape:
        return (shape_of(self.result)[0], shape_of(self.x)[1])


@irdl_op_definition
class PutRowsOp(TensorOp):
    """x [S, F] with its rows from `block * block_rows` on replaced by `rows` [R, F]."""

    name = "plena_tensor.put_rows"

    x = operand_def(TensorType)
    rows = operand_def(TensorType)
    block = operand_def(IndexType)
    block_rows = prop_def(IntegerAttr[I64])

    assembly_format = "$rows `into` $x `[` $block `]` attr-dict `:` type($rows) `,` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, rows: SSAValue | Operation, block: SSAValue | Operation, block_rows: int) -> None:
        self.build_like([x, rows, block], shape_of(x), {"block_rows": IntegerAttr(block_rows, i64)})

    def expected_shape(self) -> Shape:
        require(shape_of(self.rows)[1] == shape_of(self.x)[1], "rows and tensor have different features")
        return shape_of(self.x)
