"""Functions of rows, as sequences of row operations with one rounding each; their formulas are those of the golden."""

from __future__ import annotations

from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor.approximations import (
    GELU_CUBIC,
    GELU_SCALE,
    TANH_DENOMINATOR,
    TANH_FACTOR,
    TANH_LIMIT,
    TANH_NUMERATOR,
)
from plena_mlir.dialects.plena_tile import RowBinary, RowScalar, RowUnary
from plena_mlir.passes.tile.emitter import Emitter


class RowFunction:
    """A function whose constants and scratch rows are set up once, and which is then applied to row after row.

    Lanes that hold 0 keep it, so that the padding of an activation stays zero.
    """

    def __init__(self, emitter: Emitter, scratch_rows: int, *constants: float) -> None:
        self.emitter = emitter
        self.constants = [emitter.constant(value) for value in constants]
        self._scratch = emitter.rows(1, scratch_rows) if scratch_rows else None

    def scratch(self, row: int) -> SSAValue:
        """The place of a scratch row."""
        assert self._scratch is not None
        return self.emitter.at(self._scratch, 0, row, 0)

    def apply(self, source: SSAValue, target: SSAValue) -> None:
        """target = function of source; both may be one place."""
        raise NotImplementedError

    # --- single operations on places ------------------------------------------------------------------------------------------

    def scalar(self, kind: RowScalar, target: SSAValue, row: SSAValue, constant: int) -> None:
        """target = row kind the constant of that number."""
        self.emitter.add(tile.RowScalarOp(kind, target, row, self.constants[constant]))

    def binary(self, kind: RowBinary, target: SSAValue, lhs: SSAValue, rhs: SSAValue) -> None:
        self.emitter.add(tile.RowBinaryOp(kind, target, lhs, rhs))

    def unary(self, kind: RowUnary, target: SSAValue, row: SSAValue) -> None:
        self.emitter.add(tile.RowUnaryOp(kind, target, row))


class _Gated(RowFunction):
    """x * 1 / (1 + exp(-argument)); constant 0 is one."""

    def gate(self, source: SSAValue, target: SSAValue, negated: SSAValue) -> None:
        """target = source / (1 + exp(negated)), where `negated` is overwritten."""
        self.unary(RowUnary.EXP, negated, negated)
        self.scalar(RowScalar.ADD, negated, negated, 0)
        self.unary(RowUnary.RECIPROCAL, negated, negated)
        self.binary(RowBinary.MUL, target, source, negated)


class Silu(_Gated):
    """x * sigmoid(x)."""

    def __init__(self, emitter: Emitter) -> None:
        super().__init__(emitter, 1, 1.0, 0.0)

    def apply(self, source: SSAValue, target: SSAValue) -> None:
        negated = self.scratch(0)
        self.scalar(RowScalar.RSUB, negated, source, 1)
        self.gate(source, target, negated)


class Gelu(_Gated):
    """x / (1 + exp(-s x (1 + c x^2))); the signs are in the constants."""

    def __init__(self, emitter: Emitter) -> None:
        super().__init__(emitter, 1, 1.0, -GELU_SCALE * GELU_CUBIC, -GELU_SCALE)

    def apply(self, source: SSAValue, target: SSAValue) -> None:
        negated = self.scratch(0)
        self.binary(RowBinary.MUL, negated, source, source)
        self.scalar(RowScalar.MUL, negated, negated, 1)
        self.scalar(RowScalar.ADD, negated, negated, 2)
        self.binary(RowBinary.MUL, negated, source, negated)
        self.gate(source, target, negated)


class Relu(RowFunction):
    """max(x, 0)."""

    def __init__(self, emitter: Emitter) -> None:
        super().__init__(emitter, 0, 0.0)

    def apply(self, source: SSAValue, target: SSAValue) -> None:
        self.scalar(RowScalar.MAX, target, source, 0)


class CappedTanh(RowFunction):
    """cap * tanh(x): x / 15 (y^2 + 105 y + 945) / (y^2 + 28 y + 63) with y = x^2, x clamped."""

    def __init__(self, emitter: Emitter, cap: float) -> None:
        limits, factor = (TANH_LIMIT, -TANH_LIMIT), cap * TANH_FACTOR
        super().__init__(emitter, 3, *limits, *TANH_NUMERATOR, *TANH_DENOMINATOR, factor)

    def apply(self, source: SSAValue, target: SSAValue) -> None:
        square, numerator, denominator = (self.scratch(row) for row in range(3))
        self.scalar(RowScalar.MIN, target, source, 0)
        self.scalar(RowScalar.MAX, target, target, 1)
        self.binary(RowBinary.MUL, square, target, target)
        for polynomial, linear in ((numerator, 2), (denominator, 4)):
            self.scalar(RowScalar.ADD, polynomial, square, linear)
            self.binary(RowBinary.MUL, polynomial, polynomial, square)
            self.scalar(RowScalar.ADD, polynomial, polynomial, linear + 1)
        self.unary(RowUnary.RECIPROCAL, denominator, denominator)
        self.binary(RowBinary.MUL, numerator, numerator, denominator)
        self.binary(RowBinary.MUL, target, numerator, target)
        self.scalar(RowScalar.MUL, target, target, 6)


class SoftCap(CappedTanh):
    """cap * tanh(x / cap)."""

    def __init__(self, emitter: Emitter, cap: float) -> None:
        super().__init__(emitter, cap)
        self.constants.append(emitter.constant(1.0 / cap))

    def apply(self, source: SSAValue, target: SSAValue) -> None:
        self.scalar(RowScalar.MUL, target, source, 7)
        super().apply(target, target)
