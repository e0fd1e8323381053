"""What passes ask about plena_tensor values: weights, constants, rows."""

from __future__ import annotations

import pytest
from xdsl.dialects import test as test_dialect
from xdsl.dialects.builtin import DenseIntOrFPElementsAttr, IndexType, TensorType, f32
from xdsl.ir import Block, SSAValue

from plena_mlir.dialects import plena_tensor as pt


def activation(*shape: int) -> SSAValue:
    return Block(arg_types=[pt.tensor_type(shape)]).args[0]


def parameter(*shape: int) -> pt.ParameterOp:
    return pt.ParameterOp("w", pt.tensor_type(shape))


def test_expressions_of_parameters_and_constants_are_weights() -> None:
    folded = pt.MulOp(parameter(4, 8), pt.splat(0.5))
    assert pt.is_weight(pt.QuantizeOp(pt.PermuteOp(folded, (1, 0)), pt.QuantizeFormat.WEIGHT).result)


def test_the_parameter_of_a_rolled_layer_is_a_weight() -> None:
    layer = Block(arg_types=[IndexType()]).args[0]
    assert pt.is_weight(pt.ParameterOp("h.{}.w", pt.tensor_type((8,)), layer).result)


@pytest.mark.parametrize(
    "value",
    [
        activation(4, 8),
        pt.MulOp(parameter(8), activation(4, 8)).result,
        pt.LinearOp(parameter(4, 8), parameter(8, 8)).result,
        test_dialect.TestOp(result_types=[pt.tensor_type((8,))]).res[0],
    ],
)
def test_what_depends_on_inputs_or_comes_from_a_layer_op_is_no_weight(value: SSAValue) -> None:
    assert not pt.is_weight(value)


def test_a_long_chain_of_residual_sums_is_no_weight() -> None:
    value = activation(4, 8)
    for _ in range(5000):
        value = pt.AddOp(value, pt.LinearOp(value, parameter(8, 8))).result
    assert not pt.is_weight(value)


def test_a_repeated_number_is_found_through_rearrangements() -> None:
    constant = pt.ConstantOp(DenseIntOrFPElementsAttr.from_list(TensorType(f32, (1, 3)), [2.5] * 3))
    assert pt.scalar_value(pt.ExpandOp(pt.ReshapeOp(constant, (3, 1)), (3, 4)).result) == 2.5


def test_different_numbers_and_parameters_are_no_scalar() -> None:
    constant = pt.ConstantOp(DenseIntOrFPElementsAttr.from_list(TensorType(f32, (2,)), [2.5, 2.0]))
    assert pt.scalar_value(constant.result) is None
    assert pt.scalar_value(parameter(1).result) is None


def test_rows_may_have_leading_ones_only() -> None:
    assert pt.is_row(parameter(8).result, 8)
    assert pt.is_row(parameter(1, 1, 8).result, 8)
    assert not pt.is_row(parameter(2, 8).result, 8)
    assert not pt.is_row(parameter(8, 1).result, 8)
    assert not pt.is_row(parameter().result, 8)


def test_an_op_is_found_by_its_kind_only() -> None:
    mul = pt.MulOp(activation(4), activation(4))
    assert pt.defined_by(mul.result, pt.MulOp) is mul
    assert pt.defined_by(mul.result, pt.AddOp) is None
    assert pt.defined_by(mul.lhs, pt.MulOp) is None
    assert pt.defined_by(None, pt.MulOp) is None
