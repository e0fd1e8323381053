"""Constants in FP SRAM: which words the preload file holds, and the exact products that build what a half cannot hold.

The preload file is IEEE half (machine specification, section 1.5), the registers are bf16. A bf16 value outside the range of half
is a half times powers of two, each exact in both formats; the program multiplies them once at its start and keeps the product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import DenseArrayBase, DictionaryAttr, IntegerAttr, ModuleOp, i16, i64

from plena_mlir.errors import LoweringError
from plena_mlir.numerics import round_bf16

PRELOAD_ATTRIBUTE = "plena.fpsram_preload"
"""Module attribute `{address = first word, halves = array<i16: ...>}`: what the FP SRAM must hold when the program starts.

The words are bit patterns of IEEE half, as the preload file has them: the text of an array of floats could not hold an infinity.
"""

_GREATEST_EXPONENT = 15
_LEAST_EXPONENT = -14
_LEAST_POWER = -24


def as_bf16(value: float) -> float:
    """The bf16 nearest to a constant."""
    return float(round_bf16(np.array([value], np.float32))[0])


def half_factors(value: float) -> tuple[float, ...]:
    """Halves whose product, taken from left to right in bf16, is exactly the bf16 `value`; one when half holds the value."""
    with np.errstate(over="ignore"):
        if float(np.float16(value)) == value:
            return (value,)
    mantissa, exponent = math.frexp(value)
    exponent -= 1
    first = min(max(exponent, _LEAST_EXPONENT), _GREATEST_EXPONENT)
    factors = [math.ldexp(mantissa * 2, first)]
    rest = exponent - first
    while rest:
        power = min(max(rest, _LEAST_POWER), _GREATEST_EXPONENT)
        factors.append(math.ldexp(1.0, power))
        rest -= power
    return tuple(factors)


@dataclass(frozen=True)
class Product:
    """A word that the program computes at its start: the product of preloaded words."""

    word: int
    factor_words: tuple[int, ...]


@dataclass
class FpConstants:
    """Words of FP SRAM from `first_word` on, given out to constants as they are asked for.

    Raises `LoweringError` when the FP SRAM has no room for another.
    """

    first_word: int
    capacity: int
    products: list[Product] = field(default_factory=list[Product])
    _values: list[float] = field(default_factory=list[float])
    _words: dict[tuple[float, float], int] = field(default_factory=dict[tuple[float, float], int])

    @property
    def end(self) -> int:
        """The first word after the constants."""
        return self.first_word + len(self._values)

    def word_of(self, value: float) -> int:
        """The word that holds a bf16 constant."""
        if math.isnan(value):
            raise LoweringError("NaN is not a constant the FP SRAM preload can hold")
        key = (value, math.copysign(1.0, value))
        if key not in self._words:
            factors = half_factors(value)
            if len(factors) == 1:
                self._words[key] = self._new_word(value)
            else:
                factor_words = tuple(self.word_of(factor) for factor in factors)
                self._words[key] = self._new_word(0.0)
                self.products.append(Product(self._words[key], factor_words))
        return self._words[key]

    def _new_word(self, preload: float) -> int:
        if self.end >= self.capacity:
            raise LoweringError(
                f"FP SRAM has {self.capacity} words, and buffers and constants need more",
                hint="their number is fixed; use a shorter sequence, or a target with a smaller MLEN",
            )
        self._values.append(preload)
        return self.end - 1

    def attribute(self) -> DictionaryAttr:
        """The preload as an attribute of the module."""
        halves = DenseArrayBase.from_list(i16, np.array(self._values, np.float16).view(np.int16).tolist())
        return DictionaryAttr({"address": IntegerAttr(self.first_word, i64), "halves": halves})


def preloaded_constants(module: ModuleOp) -> tuple[int, NDArray[np.float32]]:
    """The first word and the values of the constants that the FP SRAM of a program must hold when it starts."""
    preload = module.attributes.get(PRELOAD_ATTRIBUTE)
    if not isinstance(preload, DictionaryAttr):
        return 0, np.zeros(0, np.float32)
    address, halves = preload.data["address"], preload.data["halves"]
    assert isinstance(address, IntegerAttr) and isinstance(halves, DenseArrayBase)
    return address.value.data, np.array(halves.get_values(), np.int16).view(np.float16).astype(np.float32)
