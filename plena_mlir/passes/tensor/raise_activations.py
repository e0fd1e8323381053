"""raise-activations: gelu by its tanh formula, x * sigmoid(x), caps by tanh, and relu, however their arithmetic is written."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena_tensor.approximations import GELU_CUBIC, GELU_SCALE
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.polynomials import Polynomial, Variables, polynomial

TOLERANCE = 1e-5
"""Relative error allowed in the coefficients of a formula, which models write with five digits or more."""


def _is(found: Polynomial, expected: Polynomial) -> bool:
    nonzero = {monomial: value for monomial, value in found.items() if value != 0.0}
    return nonzero.keys() == expected.keys() and all(isclose(nonzero[m], expected[m], rel_tol=TOLERANCE) for m in expected)


class RaiseGelu(RewritePattern):
    """x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))  ->  gelu(x) in its tanh form"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        variables = Variables()
        whole = polynomial(op.result, variables)
        for number, value in enumerate(variables.values):
            tanh = pt.defined_by(value, pt.TanhOp)
            if tanh is None or len(variables.values) != 2:
                continue
            x = 1 - number
            if not _is(whole, {(x,): 0.5, (0, 1): 0.5}):
                continue
            argument = polynomial(tanh.x, variables)
            if _is(argument, {(x,): GELU_SCALE / 2, (x, x, x): GELU_SCALE / 2 * GELU_CUBIC}):
                replace(rewriter, op, pt.GeluOp(variables.values[x], "tanh"))
                return


def _scaled(value: SSAValue, x: SSAValue) -> float | None:
    """b if the value is b * x."""
    variables = Variables()
    number = variables.number(x)
    found = polynomial(value, variables)
    return found[number,] if found.keys() == {(number,)} else None


class RaiseSilu(RewritePattern):
    """x * sigmoid(b x)  ->  silu(b x) / b"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        for x, gate in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            sigmoid = pt.defined_by(gate, pt.SigmoidOp)
            slope = None if sigmoid is None else _scaled(sigmoid.x, x)
            if sigmoid is None or not slope:
                continue
            silu = pt.SiluOp(sigmoid.x)
            inverse = pt.splat(1.0 / slope)
            replace(rewriter, op, [silu] if slope == 1.0 else [silu, inverse, pt.MulOp(silu, inverse)])
            return


def _factor(value: SSAValue) -> tuple[SSAValue, float] | None:
    """(x, b) if the value is x * b or x / (1 / b) with a number b."""
    op = value.owner
    if isinstance(op, pt.DivOp):
        divisor = pt.scalar_value(op.rhs)
        return None if not divisor else (op.lhs, 1.0 / divisor)
    if isinstance(op, pt.MulOp):
        for x, other in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            factor = pt.scalar_value(other)
            if factor is not None:
                return x, factor
    return None


class RaiseSoftCap(RewritePattern):
    """c * tanh(x / c)  ->  soft_cap(x) with the cap c"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MulOp, rewriter: PatternRewriter) -> None:
        outer = _factor(op.result)
        tanh = None if outer is None else pt.defined_by(outer[0], pt.TanhOp)
        inner = None if tanh is None else _factor(tanh.x)
        if outer is not None and inner is not None and outer[1] > 0 and isclose(outer[1] * inner[1], 1.0, rel_tol=TOLERANCE):
            replace(rewriter, op, pt.SoftCapOp(inner[0], outer[1]))


class RaiseTanh(RewritePattern):
    """tanh(x)  ->  soft_cap(x) with the cap 1"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.TanhOp, rewriter: PatternRewriter) -> None:
        replace(rewriter, op, pt.SoftCapOp(op.x, 1.0))


class RaiseRelu(RewritePattern):
    """max(x, 0)  ->  relu(x)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MaximumOp, rewriter: PatternRewriter) -> None:
        for x, other in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            if pt.scalar_value(other) == 0.0 and pt.shape_of(x) == pt.shape_of(op.result) and not pt.is_weight(x):
                replace(rewriter, op, pt.ReluOp(x))
                return


@dataclass(frozen=True)
class RaiseActivationsPass(ModulePass):
    """Recover activation functions from arithmetic, on tensors of any rank."""

    name = "raise-activations"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseGelu(), RaiseSilu(), RaiseSoftCap(), RaiseRelu())
        rewrite(op, RaiseTanh())
