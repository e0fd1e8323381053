"""MX formats of both profiles on every code, scale byte and bf16 value, against a statement of their rules in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from plena_mlir.errors import TargetError
from plena_mlir.numerics import MxFormat, from_bits, mx_decode, mx_encode
from plena_mlir.numerics.mx_format import RULES, Variant, element_table, encoder_rule, mx_format, scale_table
from tests.numerics import oracles

F32 = NDArray[np.float32]

ALL_BF16 = from_bits(np.arange(1 << 16, dtype=np.uint16))
ALL_CODES = np.arange(256, dtype=np.uint8)


class Element(NamedTuple):
    """An element type: its fields, and its name in ml_dtypes under OCP."""

    exponent_bits: int
    mantissa_bits: int
    ocp: Any

    def format(self, rules: str) -> MxFormat:
        return MxFormat(self.exponent_bits, self.mantissa_bits, rules=rules)


ELEMENTS = [
    pytest.param(Element(4, 3, ml_dtypes.float8_e4m3fn), id="E4M3"),
    pytest.param(Element(5, 2, ml_dtypes.float8_e5m2), id="E5M2"),
]
each_element = pytest.mark.parametrize("element", ELEMENTS)
each_variant = pytest.mark.parametrize("variant", ["machine", "staging"])
each_rules = pytest.mark.parametrize("rules", RULES)


def alone() -> F32:
    """Every bf16 value as the largest of its block, whatever it is: beside zeros."""
    blocks = np.zeros((ALL_BF16.size, 8), np.float32)
    blocks[:, 3] = ALL_BF16
    return blocks


def beside() -> F32:
    """Every bf16 value beside others: equal to its negative, and to powers of two and odd numbers of many magnitudes."""
    others = np.array([1.9921875, 448, 2.0**-40, -(2.0**-126), 1.5 * 2.0**100], np.float32)
    blocks = np.zeros((others.size, ALL_BF16.size, 8), np.float32)
    blocks[:, :, 0], blocks[:, :, 5], blocks[:, :, 6] = ALL_BF16, -ALL_BF16, others[:, None]
    return blocks.reshape(-1, 8)


def finite(blocks: F32) -> F32:
    """The blocks that can be staged."""
    return blocks[np.isfinite(blocks).all(axis=1)]


def expected_codes(blocks: F32, element: Element, rules: str, variant: Variant):
    with np.errstate(invalid="ignore"):
        exact = blocks.astype(np.float64)
    if rules == "ocp":
        return oracles.ocp_encode(exact, element.exponent_bits, element.mantissa_bits)
    return oracles.machine_encode(exact, element.exponent_bits, element.mantissa_bits, staging=variant == "staging")


@each_rules
@each_variant
@each_element
@pytest.mark.parametrize("blocks", [alone, beside])
def test_encoding_of_every_bf16_value(blocks: Any, element: Element, variant: Variant, rules: str):
    values = blocks() if variant == "machine" else finite(blocks())
    elements, scales = mx_encode(values, element.format(rules), variant=variant)
    codes, bytes_ = expected_codes(values, element, rules, variant)
    np.testing.assert_array_equal(scales[:, 0], bytes_)
    np.testing.assert_array_equal(elements, codes)


@each_rules
@each_element
def test_encoding_of_float32_values_between_the_codes(element: Element, rules: str):
    """Elements are scaled and rounded once, from float32: midpoints of codes, and the float32 values around them."""
    codes = np.sort(np.abs(element_table(element.format(rules))[:127].astype(np.float64)))
    codes = codes[np.isfinite(codes)]
    middles = np.concatenate([(codes[1:] + codes[:-1]) / 2, codes]).astype(np.float32)
    near = np.concatenate([middles, np.nextafter(middles, np.float32(np.inf)), np.nextafter(middles, np.float32(0))])
    # With and without the largest code in the block, and both far from 1, where nothing but the scale may change.
    blocks = np.zeros((near.size, 2, 3, 8), np.float32)
    blocks[..., 2] = near[:, None, None]
    blocks[:, 1, :, 7] = codes[-1]
    blocks *= np.array([1, 2.0**-30, 2.0**90], np.float32)[:, None] if rules == "ocp" else 1
    values = blocks.reshape(-1, 8)
    elements, scales = mx_encode(values, element.format(rules))
    expected, bytes_ = expected_codes(values, element, rules, "machine")
    np.testing.assert_array_equal(scales[:, 0], bytes_)
    np.testing.assert_array_equal(elements, expected)


@each_element
def test_codes_of_the_machine(element: Element):
    expected = oracles.machine_codes(element.exponent_bits, element.mantissa_bits).astype(np.float32)
    found = element_table(element.format("plena"))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), ALL_CODES >= 128)


@each_element
def test_codes_of_ocp_are_those_of_ml_dtypes(element: Element):
    found = element_table(element.format("ocp"))
    np.testing.assert_array_equal(found, ALL_CODES.view(element.ocp).astype(np.float32))
    np.testing.assert_array_equal(np.signbit(found), ALL_CODES >= 128)
    positive = oracles.ocp_codes(element.exponent_bits, element.mantissa_bits)
    np.testing.assert_array_equal(found[: positive.size], positive)


def test_scale_bytes():
    powers = [2.0 ** (byte - 127) for byte in range(255)]
    np.testing.assert_array_equal(scale_table("plena"), np.array([0.0, *powers[1:], np.inf], np.float32))
    np.testing.assert_array_equal(scale_table("ocp"), np.array([*powers, np.nan], np.float32))
    np.testing.assert_array_equal(scale_table("ocp"), ALL_CODES.view(ml_dtypes.float8_e8m0fnu).astype(np.float32))


@each_rules
@each_element
def test_every_code_at_every_scale(element: Element, rules: str):
    fmt = element.format(rules)
    elements = np.tile(ALL_CODES, (256, 1))
    scales = np.repeat(ALL_CODES[:, None], 256 // fmt.block, axis=1)
    if rules == "ocp":
        values = ALL_CODES.view(element.ocp).astype(np.float64)
        powers = ALL_CODES.view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    else:
        values = oracles.machine_codes(element.exponent_bits, element.mantissa_bits)
        powers = np.array([0.0, *(2.0 ** (byte - 127) for byte in range(1, 255)), np.inf])
    with np.errstate(all="ignore"):
        expected = (values * powers[:, None]).astype(np.float32)
    np.testing.assert_array_equal(mx_decode(elements, scales, fmt), expected)


@each_element
def test_ocp_rounds_as_ml_dtypes_but_saturates(element: Element):
    """Every bf16 value at a scale of one, which a block has whose largest element has the largest exponent."""
    fmt = element.format("ocp")
    top = float(element_table(fmt)[fmt.largest_code])
    blocks = np.zeros((ALL_BF16.size, 8), np.float32)
    blocks[:, 0], blocks[:, 1] = ALL_BF16, 2.0**fmt.largest_exponent
    blocks = blocks[~(np.abs(ALL_BF16) >= 2.0 ** (fmt.largest_exponent + 1))]
    elements, scales = mx_encode(blocks, fmt)
    assert (scales == 127).all()
    values = blocks[:, 0]
    with np.errstate(invalid="ignore"):
        theirs = values.astype(element.ocp)
    beyond = ~np.isnan(values) & ~np.isfinite(theirs.astype(np.float32))
    # Beyond the largest finite value, they have NaN for E4M3 and infinity for E5M2.
    np.testing.assert_array_equal(elements[~beyond, 0], theirs.view(np.uint8)[~beyond])
    assert beyond.any()
    assert (np.abs(values[beyond]) > top).all()
    assert (elements[beyond, 0] & 0x7F == fmt.largest_code).all()


@each_element
def test_special_values_under_ocp(element: Element):
    fmt = element.format("ocp")
    block = np.array([[np.inf, -np.inf, np.nan, -0.0, 1.0, 3e38, 0.0, 2.0**-140]], np.float32)
    elements, scales = mx_encode(block, fmt)
    decoded = mx_decode(elements, scales, fmt)[0]
    assert scales.tolist() == [[127 + 128 - fmt.largest_exponent]]
    assert decoded[[0, 1]].tolist() == [np.inf, -np.inf]
    assert np.isnan(decoded[2])
    np.testing.assert_array_equal(np.signbit(decoded[3:5]), [True, False])
    assert abs(decoded[5] - 3e38) < 3e37
    # A NaN does not hide the others, and a block of nothing else decodes to NaN.
    np.testing.assert_array_equal(mx_encode(np.full((1, 8), np.nan, np.float32), fmt)[0], [[fmt.nan_code] * 8])


@each_element
def test_the_machine_makes_one_of_nan_beside_numbers(element: Element):
    fmt = element.format("plena")
    blocks = np.full((1, 8), 4.0, np.float32)
    blocks[0, 5] = np.nan
    elements, scales = mx_encode(blocks, fmt)
    assert scales.tolist() == [[129]]
    assert elements[0].tolist() == [fmt.bias << fmt.mantissa_bits] * 8


@each_rules
@each_element
def test_the_largest_error_is_a_bound_that_is_nearly_reached(element: Element, rules: str):
    fmt = element.format(rules)
    blocks = np.zeros((1 << 15, 8), np.float32)
    blocks[:, 0] = np.linspace(1, 2, 1 << 15, endpoint=False)
    decoded = mx_decode(*mx_encode(blocks, fmt), fmt)
    error = (np.abs(decoded - blocks).max(axis=1) / blocks[:, 0]).max()
    assert 0.99 * fmt.largest_error < error <= fmt.largest_error


def test_ocp_has_one_rule_for_the_machine_and_for_staging():
    fmt = mx_format("mxfp8_e4m3", "ocp")
    np.testing.assert_array_equal(encoder_rule(fmt, "machine"), encoder_rule(fmt, "staging"))


def test_other_rules_and_element_types_are_refused():
    with pytest.raises(TargetError, match="unknown numerics"):
        MxFormat(4, 3, rules="ieee")
    with pytest.raises(TargetError, match="no such OCP format"):
        MxFormat(3, 4, rules="ocp")
