"""Where tensors come from (parameters, constants) and how they are rearranged without arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from xdsl.dialects.builtin import I64, DenseArrayBase, DenseIntOrFPElementsAttr, IndexType, IntegerAttr, StringAttr, TensorType
from xdsl.dialects.builtin import f32 as f32_type
from xdsl.dialects.builtin import i64 as i64_type
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import (
    AnyAttr,
    IRDLOperation,
    ParamAttrConstraint,
    VarConstraint,
    base,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    prop_def,
    result_def,
    var_operand_def,
)

from plena_mlir.dialects.plena_tensor.base import TensorOp
from plena_mlir.dialects.plena_tensor.shapes import (
    AnyTensor,
    Shape,
    check_expand,
    check_reshape,
    concat_shape,
    element_of,
    int_array,
    permuted_shape,
    require,
    shape_of,
    sliced_shape,
)

MAX_CONSTANT_BYTES = 4096
"""Larger constants live in the parameter store, so that the IR stays small."""


@irdl_op_definition
class ParameterOp(TensorOp):
    """A tensor of the parameter store, by its Hugging Face state-dict name.

    Inside the loop over rolled layers the name holds one `{}` and the op takes the layer index, which replaces it:
    `plena_tensor.parameter "model.layers.{}.mlp.up_proj.weight" [%l] : tensor<64x32xf32>`.
    """

    name = "plena_tensor.parameter"

    parameter_name = prop_def(StringAttr, prop_name="name")
    layer = opt_operand_def(IndexType)

    assembly_format = "$name (`[` $layer^ `]`)? attr-dict `:` type($result)"

    def __init__(self, name: str, result_type: AnyTensor, layer: SSAValue | Operation | None = None) -> None:
        IRDLOperation.__init__(self, operands=[layer], result_types=[result_type], properties={"name": StringAttr(name)})

    def expected_shape(self) -> Shape:
        places = self.parameter_name.data.count("{}")
        require(places == (self.layer is not None), f"name {self.parameter_name} has {places} index places for its operand")
        return shape_of(self.result)

    def expected_element(self) -> Attribute:
        return element_of(self.result)


@irdl_op_definition
class ConstantOp(TensorOp):
    """A small literal tensor (at most 4 KB); larger constants are parameters named `const.N`."""

    name = "plena_tensor.constant"

    T: ClassVar = VarConstraint("T", base(TensorType))

    result = result_def(T)
    value = prop_def(ParamAttrConstraint(DenseIntOrFPElementsAttr, (T, AnyAttr())))

    assembly_format = "$value attr-dict"

    def __init__(self, value: DenseIntOrFPElementsAttr[Any]) -> None:
        IRDLOperation.__init__(self, result_types=[value.get_type()], properties={"value": value})

    def expected_shape(self) -> Shape:
        size = len(self.value.data.data)
        require(
            size <= MAX_CONSTANT_BYTES, f"a constant of {size} bytes (limit {MAX_CONSTANT_BYTES}) belongs in the parameter store"
        )
        return self.value.get_shape()

    def expected_element(self) -> Attribute:
        return self.value.get_element_type()


def splat(number: float) -> ConstantOp:
    """A rank 0 float constant."""
    return ConstantOp(DenseIntOrFPElementsAttr.from_list(TensorType(f32_type, ()), [number]))


@irdl_op_definition
class ReshapeOp(TensorOp):
    """The same elements in row-major order under another shape."""

    name = "plena_tensor.reshape"

    x = operand_def(TensorType)

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, shape: Sequence[int]) -> None:
        self.build_like([x], tuple(shape))

    def expected_shape(self) -> Shape:
        check_reshape(shape_of(self.x), shape_of(self.result))
        return shape_of(self.result)


@irdl_op_definition
class ExpandOp(TensorOp):
    """Dimensions of size 1 repeated, and leading dimensions added, up to the result's shape."""

    name = "plena_tensor.expand"

    x = operand_def(TensorType)

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, shape: Sequence[int]) -> None:
        self.build_like([x], tuple(shape))

    def expected_shape(self) -> Shape:
        check_expand(shape_of(self.x), shape_of(self.result))
        return shape_of(self.result)


@irdl_op_definition
class PermuteOp(TensorOp):
    """Dimensions reordered: dimension i of the result is dimension `perm[i]` of x."""

    name = "plena_tensor.permute"

    x = operand_def(TensorType)
    perm = prop_def(DenseArrayBase.constr(i64_type))

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, perm: Sequence[int]) -> None:
        self.build_like([x], permuted_shape(shape_of(x), perm), {"perm": int_array(perm)})

    @property
    def order(self) -> tuple[int, ...]:
        """The permutation as Python integers."""
        return tuple(int(value) for value in self.perm.get_values())

    def expected_shape(self) -> Shape:
        return permuted_shape(shape_of(self.x), self.order)


@irdl_op_definition
class SliceOp(TensorOp):
    """x[start:end:step] on one dimension; 0 <= start <= end <= size, step >= 1."""

    name = "plena_tensor.slice"

    x = operand_def(TensorType)
    dim = prop_def(IntegerAttr[I64])
    start = prop_def(IntegerAttr[I64])
    end = prop_def(IntegerAttr[I64])
    step = prop_def(IntegerAttr[I64])

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, dim: int, start: int, end: int, step: int = 1) -> None:
        values = {"dim": dim, "start": start, "end": end, "step": step}
        properties = {key: IntegerAttr(value, i64_type) for key, value in values.items()}
        self.build_like([x], sliced_shape(shape_of(x), dim, start, end, step), properties)

    def expected_shape(self) -> Shape:
        bounds = (self.dim.value.data, self.start.value.data, self.end.value.data, self.step.value.data)
        return sliced_shape(shape_of(self.x), *bounds)


@irdl_op_definition
class ConcatOp(TensorOp):
    """The operands one after the other on one dimension."""

    name = "plena_tensor.concat"

    inputs = var_operand_def(TensorType)
    dim = prop_def(IntegerAttr[I64])

    assembly_format = "$inputs attr-dict `:` functional-type(operands, results)"

    def __init__(self, inputs: Sequence[SSAValue | Operation], dim: int) -> None:
        shape = concat_shape([shape_of(value) for value in inputs], dim)
        self.build_like([inputs], shape, {"dim": IntegerAttr(dim, i64_type)})

    def expected_shape(self) -> Shape:
        require(len({element_of(value) for value in self.inputs}) == 1, "concat operands need one element type")
        return concat_shape([shape_of(value) for value in self.inputs], self.dim.value.data)
