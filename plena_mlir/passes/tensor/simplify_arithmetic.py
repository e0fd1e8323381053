"""simplify-arithmetic: arithmetic on activations in the few forms that the machine has.

Quotients, negations and powers become products, differences with weights become sums, and weight operands get one of three
shapes: a number [], a row [F], or one row per position [R, F].
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite

MAX_POWER = 3


class ProductForQuotient(RewritePattern):
    """x / w  ->  x * (1 / w), w a weight"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.DivOp, rewriter: PatternRewriter) -> None:
        if pt.is_weight(op.lhs) or not pt.is_weight(op.rhs):
            return
        number = pt.scalar_value(op.rhs)
        inverse = pt.splat(1.0 / number) if number else pt.ReciprocalOp(op.rhs)
        replace(rewriter, op, [inverse, pt.MulOp(op.lhs, inverse)])


class ProductForNegation(RewritePattern):
    """-x  ->  x * -1"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.NegOp, rewriter: PatternRewriter) -> None:
        if not pt.is_weight(op.x):
            minus = pt.splat(-1.0)
            replace(rewriter, op, [minus, pt.MulOp(op.x, minus)])


class ProductForPower(RewritePattern):
    """x^2  ->  x * x;  x^3  ->  x * x * x"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.PowOp, rewriter: PatternRewriter) -> None:
        exponent = pt.scalar_value(op.rhs)
        if pt.is_weight(op.lhs) or exponent is None or exponent not in range(2, MAX_POWER + 1):
            return
        ops = [pt.MulOp(op.lhs, op.lhs)]
        for _ in range(int(exponent) - 2):
            ops.append(pt.MulOp(ops[-1], op.lhs))
        replace(rewriter, op, ops)


class SumForDifference(RewritePattern):
    """x - w  ->  x + -w;  w - x  ->  x * -1 + w;  w a weight"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SubOp, rewriter: PatternRewriter) -> None:
        left, right = pt.is_weight(op.lhs), pt.is_weight(op.rhs)
        if left == right:
            return
        minus = pt.splat(-1.0)
        negated = pt.MulOp(op.lhs if left else op.rhs, minus) if right else pt.MulOp(op.rhs, minus)
        other = op.lhs
        replace(rewriter, op, [minus, negated, pt.AddOp(negated, other) if left else pt.AddOp(other, negated)])


class ShapeWeightOperand(RewritePattern):
    """A weight operand of a sum, product, maximum or minimum takes the shape [], [F] or [R, F]."""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.AddOp | pt.MulOp | pt.MaximumOp | pt.MinimumOp, rewriter: PatternRewriter) -> None:
        if pt.is_weight(op.result) or len(pt.shape_of(op.result)) != 2:
            return
        operands = [self._shaped(operand, pt.shape_of(op.result), rewriter, op) for operand in op.operands]
        if any(new is not old for new, old in zip(operands, op.operands, strict=True)):
            replace(rewriter, op, type(op)(*operands))

    @staticmethod
    def _shaped(value: SSAValue, whole: pt.Shape, rewriter: PatternRewriter, op: pt.TensorOp) -> SSAValue:
        shape = pt.shape_of(value)
        if not pt.is_weight(value) or shape in ((), whole[1:], whole):
            return value
        number = pt.scalar_value(value)
        new: list[pt.TensorOp]
        if number is not None:
            new = [pt.splat(number)]
        elif all(size == 1 for size in shape[:-1]):
            row = pt.ReshapeOp(value, shape[-1:])
            new = [row] if shape[-1] == whole[1] else [row, pt.ExpandOp(row, whole[1:])]
        else:
            new = [pt.ExpandOp(value, whole)]
        for shaped in new:
            shaped.location = op.location
        rewriter.insert(new)
        return new[-1].result


@dataclass(frozen=True)
class SimplifyArithmeticPass(ModulePass):
    """Leave sums, differences and products of activations, and sums and products with weights of known shapes."""

    name = "simplify-arithmetic"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, ProductForQuotient(), ProductForNegation(), ProductForPower(), SumForDifference())
        rewrite(op, ShapeWeightOperand())
