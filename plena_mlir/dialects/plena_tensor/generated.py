"""Constant matrices that a rule generates, so that neither the IR nor the parameter store holds their elements."""

from __future__ import annotations

from xdsl.dialects.builtin import I64, Float64Type, FloatAttr, IntegerAttr, f32, f64, i64
from xdsl.ir import Attribute
from xdsl.irdl import IRDLOperation, irdl_op_definition, opt_prop_def, prop_def

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
class BandMaskOp(TensorOp):
    """A matrix [queries, keys] of 0 where a query may see a key, and `fill` elsewhere.

    Query q sees key k when k <= q + offset and, with a `window`, k > q + offset - window.
    """

    name = "plena_tensor.band_mask"

    offset = prop_def(IntegerAttr[I64])
    window = opt_prop_def(IntegerAttr[I64])
    fill = prop_def(FloatAttr[Float64Type])

    assembly_format = "attr-dict `:` type($result)"

    def __init__(self, queries: int, keys: int, fill: float, *, offset: int = 0, window: int | None = None) -> None:
        properties: dict[str, Attribute | None] = {
            "offset": IntegerAttr(offset, i64),
            "window": None if window is None else IntegerAttr(window, i64),
            "fill": FloatAttr(fill, f64),
        }
        IRDLOperation.__init__(self, result_types=[tensor_type((queries, keys), f32)], properties=properties)

    def expected_shape(self) -> Shape:
        require(len(shape_of(self.result)) == 2, "a mask has two dimensions")
        return shape_of(self.result)

    def expected_element(self) -> Attribute:
        return f32
