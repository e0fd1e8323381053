"""FP SRAM constants: halves, and products of halves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.errors import LoweringError
from plena_mlir.numerics import from_bits, round_bf16
from plena_mlir.passes.isa.fp_constants import PRELOAD_ATTRIBUTE, FpConstants, as_bf16, half_factors, preloaded_constants


@given(st.integers(0, 0xFFFF))
def test_every_finite_bf16_is_an_exact_product_of_halves(bits: int) -> None:
    value = float(from_bits(np.array([bits], np.uint16))[0])
    if not math.isfinite(value):
        return
    product = np.float32(1.0)
    for factor in half_factors(value):
        assert float(np.float16(factor)) == factor
        product = round_bf16(np.array([product * np.float32(factor)], np.float32))[0]
    assert np.float32(product).view(np.uint32) == np.float32(value).view(np.uint32)


def test_equal_constants_share_a_word_and_zeros_keep_their_sign() -> None:
    constants = FpConstants(first_word=10, capacity=20)
    assert [constants.word_of(value) for value in (0.5, -0.0, 0.5, 0.0)] == [10, 11, 10, 12]


def test_the_preload_starts_behind_the_buffers() -> None:
    constants = FpConstants(first_word=3, capacity=20)
    constants.word_of(as_bf16(1e30))
    constants.word_of(float("-inf"))
    module = ModuleOp([], {PRELOAD_ATTRIBUTE: constants.attribute()})
    address, values = preloaded_constants(module)
    assert address == 3
    assert len(values) == constants.end - 3
    assert values[-1] == -np.inf
    (product,) = constants.products
    assert values[product.word - 3] == 0, "the program computes this word"
    assert math.prod(float(values[word - 3]) for word in product.factor_words) == as_bf16(1e30)


@pytest.mark.parametrize(("first_word", "value", "message"), [(20, 1.0, "has 20 words"), (0, math.nan, "NaN")])
def test_what_cannot_be_preloaded_is_refused(first_word: int, value: float, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        FpConstants(first_word, 20).word_of(value)
