"""Base classes of the plena_tensor ops: one tensor result, pure, shape checked against a rule."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Self

from xdsl.dialects.builtin import TensorType
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import IRDLOperation, ParsePropInAttrDict, operand_def, result_def, traits_def
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from plena_mlir.dialects.plena_tensor.shapes import Shape, broadcast_shape, element_of, shape_of, tensor_type, type_of


class TensorOp(IRDLOperation, ABC):
    """An op without side effects whose one result is a tensor of a shape that operands and properties decide."""

    result = result_def(TensorType)

    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)

    @abstractmethod
    def expected_shape(self) -> Shape:
        """The shape the result must have; raises `VerifyException` if the operands do not fit each other."""

    def expected_element(self) -> Attribute:
        """The element type the result must have: that of the first operand unless the op says otherwise."""
        return element_of(self.operands[0])

    def verify_(self) -> None:
        shape = self.expected_shape()
        if shape_of(self.result) != shape:
            raise VerifyException(f"result has shape {shape_of(self.result)}, expected {shape}")
        if element_of(self.result) != self.expected_element():
            raise VerifyException(f"result has element type {element_of(self.result)}, expected {self.expected_element()}")

    def on(self, x: SSAValue | Operation) -> Self:
        """This op on other rows `x` [..., features]: all else stays. For ops that work on each row of their first operand alone."""
        shape = (*shape_of(x)[:-1], shape_of(self.result)[-1])
        types = [tensor_type(shape, element_of(self.result))]
        operands = [SSAValue.get(x), *self.operands[1:]]
        return type(self).create(operands=operands, result_types=types, properties=dict(self.properties))

    def build_like(
        self,
        operands: Sequence[SSAValue | Operation | Sequence[SSAValue | Operation]],
        shape: Shape,
        properties: Mapping[str, Attribute | None] | None = None,
        element: Attribute | None = None,
    ) -> None:
        """The common constructor: operands per definition, result shape, properties; element type of the first operand."""
        if element is None:
            first = operands[0]
            element = element_of(first[0] if isinstance(first, Sequence) else first)
        IRDLOperation.__init__(self, operands=operands, result_types=[tensor_type(shape, element)], properties=properties)


class UnaryOp(TensorOp, ABC):
    """One operand, result of the same type, element by element."""

    x = operand_def(TensorType)

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation) -> None:
        self.build_like([x], shape_of(x))

    def expected_shape(self) -> Shape:
        return shape_of(self.x)


class BinaryOp(TensorOp, ABC):
    """Two operands of one element type, element by element with numpy broadcasting."""

    lhs = operand_def(TensorType)
    rhs = operand_def(TensorType)

    assembly_format = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)"

    def __init__(self, lhs: SSAValue | Operation, rhs: SSAValue | Operation) -> None:
        self.build_like([lhs, rhs], broadcast_shape(shape_of(lhs), shape_of(rhs)))

    def expected_shape(self) -> Shape:
        if type_of(self.lhs).element_type != type_of(self.rhs).element_type:
            raise VerifyException(f"operands have element types {element_of(self.lhs)} and {element_of(self.rhs)}")
        return broadcast_shape(shape_of(self.lhs), shape_of(self.rhs))
