"""Mixtures of experts: the choice of experts per row, their weights, and linear layers whose matrix differs from row to row.

The primitives (`topk`, `gather`, `index_select`) mirror ATen. The others keep the pairs of a row and an expert it chose as rows of
their own, R * k of them, the k of one row next to each other; so everything between two expert layers is an op on rows as usual.
"""

from __future__ import annotations

from enum import StrEnum
from math import prod

from xdsl.dialects.builtin import I64, IntegerAttr, StringAttr, TensorType, i64
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import irdl_op_definition, operand_def, opt_operand_def, prop_def

from plena_mlir.dialects.plena_tensor.base import TensorOp
from plena_mlir.dialects.plena_tensor.shapes import Shape, element_of, require, shape_of


class Normalised(StrEnum):
    """Over which experts the softmax of the routing weights sums: those that a row chose, or all."""

    CHOSEN = "chosen"
    ALL = "all"


@irdl_op_definition
class TopkOp(TensorOp):
    """The positions of the k greatest elements on the last dimension, best first, equal ones in order: [..., E] -> i64 [..., k]."""

    name = "plena_tensor.topk"

    x = operand_def(TensorType)
    k = prop_def(IntegerAttr[I64])

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, k: int) -> None:
        self.build_like([x], (*shape_of(x)[:-1], k), {"k": IntegerAttr(k, i64)}, element=i64)

    def expected_shape(self) -> Shape:
        *leading, experts = shape_of(self.x)
        k = self.k.value.data
        require(1 <= k <= experts, f"the {k} greatest of {experts} elements")
        return (*leading, k)

    def expected_element(self) -> Attribute:
        return i64


@irdl_op_definition
class GatherOp(TensorOp):
    """x at the positions `ids` of its last dimension: x [..., E], ids i64 [..., k] -> [..., k]."""

    name = "plena_tensor.gather"

    x = operand_def(TensorType)
    ids = operand_def(TensorType)

    assembly_format = "$x `,` $ids attr-dict `:` type($x) `,` type($ids) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, ids: SSAValue | Operation) -> None:
        self.build_like([x, ids], shape_of(ids))

    def expected_shape(self) -> Shape:
        x, ids = shape_of(self.x), shape_of(self.ids)
        require(element_of(self.ids) == i64, f"ids must be i64, not {element_of(self.ids)}")
        require(len(x) == len(ids) >= 1 and x[:-1] == ids[:-1], f"ids {ids} do not point into the rows of {x}")
        return ids


@irdl_op_definition
class IndexSelectOp(TensorOp):
    """The parts x[ids[i]] of a stack: x [E, ...], ids i64 [N] -> [N, ...]."""

    name = "plena_tensor.index_select"

    x = operand_def(TensorType)
    ids = operand_def(TensorType)

    assembly_format = "$x `,` $ids attr-dict `:` type($x) `,` type($ids) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, ids: SSAValue | Operation) -> None:
        self.build_like([x, ids], (*shape_of(ids), *shape_of(x)[1:]))

    def expected_shape(self) -> Shape:
        require(element_of(self.ids) == i64, f"ids must be i64, not {element_of(self.ids)}")
        require(len(shape_of(self.ids)) == 1 and len(shape_of(self.x)) >= 1, "ids [N] select from a stack [E, ...]")
        return (*shape_of(self.ids), *shape_of(self.x)[1:])


@irdl_op_definition
class MoeWeightsOp(TensorOp):
    """The weights of the experts that rows chose: softmax of the logits [R, E] at ids [R, k] -> [R, k].

    `normalised` says what the softmax sums over: the `chosen` experts of a row, so that its weights add up to 1, or `all`.
    """

    name = "plena_tensor.moe_weights"

    logits = operand_def(TensorType)
    ids = operand_def(TensorType)
    normalised = prop_def(StringAttr)

    assembly_format = "$logits `,` $ids attr-dict `:` type($logits) `,` type($ids) `->` type($result)"

    def __init__(self, logits: SSAValue | Operation, ids: SSAValue | Operation, normalised: Normalised) -> None:
        self.build_like([logits, ids], shape_of(ids), {"normalised": StringAttr(normalised.value)})

    def expected_shape(self) -> Shape:
        logits, ids = shape_of(self.logits), shape_of(self.ids)
        require(self.normalised.data in list(Normalised), f"weights normalised over {self.normalised}")
        require(element_of(self.ids) == i64, f"ids must be i64, not {element_of(self.ids)}")
        require(len(logits) == len(ids) == 2 and logits[0] == ids[0], f"ids {ids} do not point into logits {logits}")
        return ids


@irdl_op_definition
class ExpertLinearOp(TensorOp):
    """Row i times the transpose of weight[ids[i]], plus bias[ids[i]] if there is one.

    weight [E, N, K], bias [E, N], ids i64 [R, k], read row by row. x is [R * k, K], or [R, K] and each row is used by the k experts
    it chose; the result is [R * k, N].
    """

    name = "plena_tensor.expert_linear"

    x = operand_def(TensorType)
    weight = operand_def(TensorType)
    ids = operand_def(TensorType)
    bias = opt_operand_def(TensorType)

    assembly_format = "$x `,` $weight `,` $ids (`,` $bias^)? attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        x: SSAValue | Operation,
        weight: SSAValue | Operation,
        ids: SSAValue | Operation,
        bias: SSAValue | Operation | None = None,
    ) -> None:
        self.build_like([x, weight, ids, [] if bias is None else [bias]], (prod(shape_of(ids)), shape_of(weight)[1]))

    @property
    def repeats(self) -> int:
        """How many experts each row of x is given to: 1, or the k of ids."""
        return prod(shape_of(self.ids)) // shape_of(self.x)[0]

    def expected_shape(self) -> Shape:
        x, weight, ids = shape_of(self.x), shape_of(self.weight), shape_of(self.ids)
        require(element_of(self.ids) == i64, f"ids must be i64, not {element_of(self.ids)}")
        require(len(ids) == 2 and len(weight) == 3, f"experts need ids [R, k] and weights [E, N, K], got {ids} and {weight}")
        require(len(x) == 2 and x[1] == weight[2], f"rows {x} do not match the weights {weight}")
        require(x[0] in (prod(ids), ids[0]), f"{x[0]} rows for {ids[0]} x {ids[1]} choices")
        require(self.bias is None or shape_of(self.bias) == weight[:2], f"the bias does not match the weights {weight}")
        return (prod(ids), weight[1])


@irdl_op_definition
class MoeCombineOp(TensorOp):
    """The sum over a row's experts of what they computed times their weights: y [R * k, H], weights [R, k] -> [R, H]."""

    name = "plena_tensor.moe_combine"

    y = operand_def(TensorType)
    weights = operand_def(TensorType)

    assembly_format = "$y `,` $weights attr-dict `:` type($y) `,` type($weights) `->` type($result)"

    def __init__(self, y: SSAValue | Operation, weights: SSAValue | Operation) -> None:
        self.build_like([y, weights], (shape_of(weights)[0], shape_of(y)[1]))

    def expected_shape(self) -> Shape:
        y, weights = shape_of(self.y), shape_of(self.weights)
        require(len(y) == len(weights) == 2 and y[0] == prod(weights), f"rows {y} do not match the weights {weights}")
        return (weights[0], y[1])


TOPK_POLICIES = ((32, 4), (128, 8))
"""(experts, choices) of the two forms of V_TOPK (machine specification, section 4.2)."""


def topk_policy(experts: int, k: int) -> int | None:
    """The first policy of V_TOPK that chooses at least k of at least so many experts; None if there is none."""
    fitting = (number for number, (most, chosen) in enumerate(TOPK_POLICIES) if experts <= most and k <= chosen)
    return next(fitting, None)
