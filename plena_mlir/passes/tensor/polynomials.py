"""Arithmetic as polynomials, so that a formula is recognised however it is written."""

from __future__ import annotations

from typing import TypeAlias

from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt

Monomial: TypeAlias = tuple[int, ...]
"""The variables of a product, by number and in order; a variable appears as often as its degree says."""

Polynomial: TypeAlias = dict[Monomial, float]
"""Coefficients by monomial; the empty monomial is the constant."""

MAX_DEPTH = 8
MAX_DEGREE = 4


class Variables:
    """The values that a polynomial does not look into, in the order in which they were met."""

    def __init__(self) -> None:
        self.values: list[SSAValue] = []

    def number(self, value: SSAValue) -> int:
        """The variable that stands for a value; equal expressions are one variable."""
        for number, known in enumerate(self.values):
            if pt.same_value(known, value):
                return number
        self.values.append(value)
        return len(self.values) - 1


def _product(a: Polynomial, b: Polynomial) -> Polynomial | None:
    result: Polynomial = {}
    for left, x in a.items():
        for right, y in b.items():
            monomial = tuple(sorted(left + right))
            if len(monomial) > MAX_DEGREE:
                return None
            result[monomial] = result.get(monomial, 0.0) + x * y
    return result


def _sum(a: Polynomial, b: Polynomial, factor: float) -> Polynomial:
    result = dict(a)
    for monomial, coefficient in b.items():
        result[monomial] = result.get(monomial, 0.0) + factor * coefficient
    return result


def polynomial(value: SSAValue, variables: Variables, depth: int = MAX_DEPTH) -> Polynomial:
    """The value as a polynomial of what is no sum, difference, product, whole power, or quotient by a number."""
    number = pt.scalar_value(value)
    if number is not None:
        return {(): number}
    found = _expand(value, variables, depth - 1) if depth > 0 else None
    return {(variables.number(value),): 1.0} if found is None else found


def _expand(value: SSAValue, variables: Variables, depth: int) -> Polynomial | None:
    op = value.owner
    match op:
        case pt.AddOp() | pt.SubOp():
            left, right = (polynomial(operand, variables, depth) for operand in (op.lhs, op.rhs))
            return _sum(left, right, 1.0 if isinstance(op, pt.AddOp) else -1.0)
        case pt.MulOp():
            return _product(polynomial(op.lhs, variables, depth), polynomial(op.rhs, variables, depth))
        case pt.NegOp():
            return _sum({}, polynomial(op.x, variables, depth), -1.0)
        case pt.DivOp():
            divisor = pt.scalar_value(op.rhs)
            return None if not divisor else _sum({}, polynomial(op.lhs, variables, depth), 1.0 / divisor)
        case pt.PowOp():
            return _power(polynomial(op.lhs, variables, depth), pt.scalar_value(op.rhs))
        case _:
            return None


def _power(base: Polynomial, exponent: float | None) -> Polynomial | None:
    if exponent is None or exponent != int(exponent) or not 1 <= exponent <= MAX_DEGREE:
        return None
    result: Polynomial | None = base
    for _ in range(int(exponent) - 1):
        result = None if result is None else _product(result, base)
    return result
