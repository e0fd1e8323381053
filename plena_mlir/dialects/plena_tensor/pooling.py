"""Pooling: what makes one row of several."""

from __future__ import annotations

from xdsl.dialects.builtin import I64, IntegerAttr, TensorType, i64
from xdsl.ir import Operation, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def

from plena_mlir.dialects.plena_tensor.base import TensorOp
from plena_mlir.dialects.plena_tensor.shapes import Shape, require, shape_of


@irdl_op_definition
class SumRowsOp(TensorOp):
    """The sum of the rows of each sequence: x [sequences * rows, features] -> [sequences, features]."""

    name = "plena_tensor.sum_rows"

    x = operand_def(TensorType)
    sequences = prop_def(IntegerAttr[I64])

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, sequences: int) -> None:
        self.build_like([x], (sequences, shape_of(x)[-1]), {"sequences": IntegerAttr(sequences, i64)})

    @property
    def rows(self) -> int:
        """How many rows one sum takes."""
        return shape_of(self.x)[0] // self.sequences.value.data

    def expected_shape(self) -> Shape:
        x, sequences = shape_of(self.x), self.sequences.value.data
        require(len(x) == 2 and sequences >= 1 and x[0] % sequences == 0, f"{x} are not the rows of {sequences} sequences")
        return (sequences, x[1])
