"""Elementwise ops: arithmetic with numpy broadcasting, unary functions, cast and select."""

from __future__ import annotations

from typing import Literal

from xdsl.dialects.builtin import Float64Type, FloatAttr, StringAttr, TensorType, f64, i1
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, prop_def

from plena_mlir.dialects.plena_tensor.base import BinaryOp, TensorOp, UnaryOp
from plena_mlir.dialects.plena_tensor.shapes import Shape, broadcast_shape, element_of, require, shape_of


@irdl_op_definition
class AddOp(BinaryOp):
    """lhs + rhs."""

    name = "plena_tensor.add"


@irdl_op_definition
class SubOp(BinaryOp):
    """lhs - rhs."""

    name = "plena_tensor.sub"


@irdl_op_definition
class MulOp(BinaryOp):
    """lhs * rhs."""

    name = "plena_tensor.mul"


@irdl_op_definition
class DivOp(BinaryOp):
    """lhs / rhs."""

    name = "plena_tensor.div"


@irdl_op_definition
class PowOp(BinaryOp):
    """lhs ** rhs."""

    name = "plena_tensor.pow"


@irdl_op_definition
class MaximumOp(BinaryOp):
    """The larger of lhs and rhs."""

    name = "plena_tensor.maximum"


@irdl_op_definition
class MinimumOp(BinaryOp):
    """The smaller of lhs and rhs."""

    name = "plena_tensor.minimum"


@irdl_op_definition
class NegOp(UnaryOp):
    """-x."""

    name = "plena_tensor.neg"


@irdl_op_definition
class ExpOp(UnaryOp):
    """e ** x."""

    name = "plena_tensor.exp"


@irdl_op_definition
class LogOp(UnaryOp):
    """The natural logarithm of x."""

    name = "plena_tensor.log"


@irdl_op_definition
class SqrtOp(UnaryOp):
    """The square root of x."""

    name = "plena_tensor.sqrt"


@irdl_op_definition
class RsqrtOp(UnaryOp):
    """1 / sqrt(x)."""

    name = "plena_tensor.rsqrt"


@irdl_op_definition
class ReciprocalOp(UnaryOp):
    """1 / x."""

    name = "plena_tensor.reciprocal"


@irdl_op_definition
class TanhOp(UnaryOp):
    """The hyperbolic tangent of x."""

    name = "plena_tensor.tanh"


@irdl_op_definition
class SigmoidOp(UnaryOp):
    """1 / (1 + exp(-x))."""

    name = "plena_tensor.sigmoid"


@irdl_op_definition
class SiluOp(UnaryOp):
    """x * sigmoid(x), also called swish."""

    name = "plena_tensor.silu"


@irdl_op_definition
class ReluOp(UnaryOp):
    """max(x, 0)."""

    name = "plena_tensor.relu"


@irdl_op_definition
class AbsOp(UnaryOp):
    """The absolute value of x."""

    name = "plena_tensor.abs"


@irdl_op_definition
class CosOp(UnaryOp):
    """The cosine of x, in radians."""

    name = "plena_tensor.cos"


@irdl_op_definition
class SinOp(UnaryOp):
    """The sine of x, in radians."""

    name = "plena_tensor.sin"


@irdl_op_definition
class GeluOp(UnaryOp):
    """x times the normal distribution function: exactly (`approximate = "none"`) or by its tanh formula (`"tanh"`)."""

    name = "plena_tensor.gelu"

    approximate = prop_def(StringAttr)

    def __init__(self, x: SSAValue | Operation, approximate: Literal["none", "tanh"] = "none") -> None:
        self.build_like([x], shape_of(x), {"approximate": StringAttr(approximate)})

    def verify_(self) -> None:
        super().verify_()
        require(self.approximate.data in ("none", "tanh"), f'approximate must be "none" or "tanh", not {self.approximate}')


@irdl_op_definition
class SoftCapOp(UnaryOp):
    """cap * tanh(x / cap): x while it is small, and never beyond cap."""

    name = "plena_tensor.soft_cap"

    cap = prop_def(FloatAttr[Float64Type])

    def __init__(self, x: SSAValue | Operation, cap: float) -> None:
        self.build_like([x], shape_of(x), {"cap": FloatAttr(cap, f64)})

    def verify_(self) -> None:
        super().verify_()
        require(self.cap.value.data > 0, f"the cap must be positive, not {self.cap.value.data}")


@irdl_op_definition
class CastOp(TensorOp):
    """x in another element type (f32, i64, i1), rounded toward zero to integers; the shape stays."""

    name = "plena_tensor.cast"

    x = operand_def(TensorType)

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, element: Attribute) -> None:
        self.build_like([x], shape_of(x), element=element)

    def expected_shape(self) -> Shape:
        return shape_of(self.x)

    def expected_element(self) -> Attribute:
        return element_of(self.result)


@irdl_op_definition
class WhereOp(TensorOp):
    """`on_true` where the i1 condition holds, else `on_false`; all three broadcast."""

    name = "plena_tensor.where"

    condition = operand_def(TensorType)
    on_true = operand_def(TensorType)
    on_false = operand_def(TensorType)

    assembly_format = (
        "$condition `,` $on_true `,` $on_false attr-dict `:`"
        " type($condition) `,` type($on_true) `,` type($on_false) `->` type($result)"
    )

    def __init__(self, condition: SSAValue | Operation, on_true: SSAValue | Operation, on_false: SSAValue | Operation) -> None:
        shape = broadcast_shape(shape_of(condition), shape_of(on_true), shape_of(on_false))
        self.build_like([condition, on_true, on_false], shape, element=element_of(on_true))

    def expected_shape(self) -> Shape:
        require(element_of(self.condition) == i1, f"the condition must be i1, not {element_of(self.condition)}")
        require(element_of(self.on_true) == element_of(self.on_false), "both branches need one element type")
        return broadcast_shape(shape_of(self.condition), shape_of(self.on_true), shape_of(self.on_false))

    def expected_element(self) -> Attribute:
        return element_of(self.on_true)
