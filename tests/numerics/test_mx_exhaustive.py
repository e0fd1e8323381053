"""The machine's MX formats on every code, every scale byte and every bf16 value."""

import ml_dtypes
import numpy as np
import pytest

from plena_mlir.numerics import MXFP8_E4M3, MXFP8_E5M2, MxFormat, from_bits, mx_decode, mx_encode
from plena_mlir.numerics.mx import element_table

ALL_BF16 = from_bits(np.arange(1 << 16, dtype=np.uint16))
FORMATS = [
    pytest.param(MXFP8_E4M3, ml_dtypes.float8_e4m3, id="E4M3"),
    pytest.param(MXFP8_E5M2, ml_dtypes.float8_e5m2, id="E5M2"),
]


@pytest.mark.parametrize(("fmt", "ieee"), FORMATS)
def test_codes_are_those_of_the_ieee_format_but_for_subnormals(fmt: MxFormat, ieee: type):
    codes = np.arange(256, dtype=np.uint8)
    expected = codes.view(ieee).astype(np.float32)
    # The machine gives codes with exponent 0 the scale of a bias one larger.
    subnormal = (codes & 0x7F) >> fmt.mantissa_bits == 0
    expected[subnormal] /= 2
    np.testing.assert_array_equal(element_table(fmt), expected)
    np.testing.assert_array_equal(np.signbit(element_table(fmt)), np.signbit(expected))


@pytest.mark.parametrize(("fmt", "ieee"), FORMATS)
def test_every_code_at_every_scale(fmt: MxFormat, ieee: type):
    elements = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    scales = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 256 // fmt.block, axis=1)
    powers = np.concatenate([[0.0], np.ldexp(1.0, np.arange(1, 255) - 127), [np.inf]]).astype(np.float32)
    with np.errstate(all="ignore"):
        expected = element_table(fmt)[None, :] * powers[:, None]
    np.testing.assert_array_equal(mx_decode(elements, scales, fmt), expected)


@pytest.mark.parametrize(("fmt", "ieee"), FORMATS)
def test_every_bf16_value_as_the_maximum_of_its_block(fmt: MxFormat, ieee: type):
    blocks = np.zeros((ALL_BF16.size, 8), np.float32)
    blocks[:, 3] = ALL_BF16
    elements, scales = mx_encode(blocks, fmt)

    bias, steps = fmt.bias, 1 << fmt.mantissa_bits
    magnitude = np.abs(ALL_BF16)
    largest = np.where(np.isnan(magnitude), np.float32(0), magnitude)
    with np.errstate(all="ignore"):
        power = np.clip(np.floor(np.log2(largest + np.float32(1e-9))), -127, 127)
        t = np.ldexp(magnitude, -power.astype(int))
        r = np.floor(np.log2(t + np.float32(1e-9)))
        e = np.clip(r, -bias, bias)
        q = np.ldexp(t, -e.astype(int))
        u = np.where(e > -bias, q - 1, q) * steps
        k = np.clip(np.rint(np.floor(4 * np.minimum(u, 1e6)) / 4), 0, steps - 1)
    k[r > bias] = steps - 1
    # An infinity takes the greatest finite code, since r is greater than any exponent.
    k[np.isinf(magnitude)], e[np.isinf(magnitude)] = steps - 1, bias
    codes = np.where(ALL_BF16 < 0, 128, 0) + (e + bias) * steps + k
    zero = largest == 0
    codes[zero] = 0
    np.testing.assert_array_equal(scales[:, 0], np.where(zero, 0, power + 127))
    np.testing.assert_array_equal(elements[:, 3], codes)
    assert not np.delete(elements, 3, axis=1).any()


@pytest.mark.parametrize(("fmt", "ieee"), FORMATS)
def test_nan_beside_numbers_encodes_as_one(fmt: MxFormat, ieee: type):
    blocks = np.full((1, 8), 4.0, np.float32)
    blocks[0, 5] = np.nan
    elements, scales = mx_encode(blocks, fmt)
    assert scales.tolist() == [[129]]
    assert elements[0].tolist() == [fmt.bias << fmt.mantissa_bits] * 8


@pytest.mark.parametrize(("fmt", "ieee"), FORMATS)
def test_both_variants_differ_on_zeros_only(fmt: MxFormat, ieee: type):
    blocks = np.zeros((ALL_BF16.size, 8), np.float32)
    finite = np.isfinite(ALL_BF16)
    blocks[finite, 0], blocks[finite, 1] = ALL_BF16[finite], np.float32(0.75)
    machine, staging = mx_encode(blocks, fmt), mx_encode(blocks, fmt, variant="staging")
    negative_zero = machine[0] == 128
    np.testing.assert_array_equal(np.where(negative_zero, 0, machine[0]), staging[0])
    assert negative_zero.any()
    zero_block = machine[1] == 0
    np.testing.assert_array_equal(np.where(zero_block, 97, machine[1]), staging[1])
