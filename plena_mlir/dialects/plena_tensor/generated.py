"""Constant matrices that a rule generates, so that neither the IR nor the parameter store holds their elements."""

from __future__ import annotations

from xdsl.dialects.builtin import Float64Type, FloatAttr, f32, f64
from xdsl.ir import Attribute
from xdsl.irdl import IRDLOperation, irdl_op_definition, prop_def

from plena_mlir.dialects.plena_tensor.base import TensorOp
from plena_mlir.dialects.plena_tensor.shapes import Shape, require, shape_of, tensor_type


@irdl_op_definition
class IdentityOp(TensorOp):
    """The identity matrix [n, n]."""

    name = "plena_tensor.identity"

    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, size: int) -> None:
        IRDLOperation.__init__(self, result_types=[tensor_type((size, size), f32)])

    def expected_shape(self) -> Shape:
        shape = shape_of(self.result)
        require(len(shape) == 2 and shape[0] == shape[1], f"an identity is square, not {shape}")
        return shape

    def expected_element(self) -> Attribute:
        return f32


@irdl_op_definition
class CausalMaskOp(TensorOp):
    """A matrix [queries, keys] that is 0 where key <= query and `fill` above the diagonal."""

    name = "plena_tensor.causal_mask"

    fill = prop_def(FloatAttr[Float64Type])

    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, queries: int, keys: int, fill: float) -> None:
        IRDLOperation.__init__(self, result_types=[tensor_type((queries, keys), f32)], properties={"fill": FloatAttr(fill, f64)})

    def expected_shape(self) -> Shape:
        require(len(shape_of(self.result)) == 2, "a mask has two dimensions")
        return shape_of(self.result)

    def expected_element(self) -> Attribute:
        return f32
