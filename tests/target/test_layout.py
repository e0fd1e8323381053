"""Packing matrices into MX elements and scales, and back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from plena_mlir.errors import ImageError
from plena_mlir.numerics import MXFP8_E4M3, MXFP8_E5M2, mx_decode, mx_format, mx_quantize
from plena_mlir.numerics.mx_format import RULES
from plena_mlir.target.layout import GlobalData, Layout, pack, unpack

F32 = NDArray[np.float32]


def matrix(rows: int, columns: int) -> F32:
    return np.random.default_rng(0).standard_normal((rows, columns)).astype(np.float32)


def decoded(data: GlobalData, shape: tuple[int, ...]) -> F32:
    return mx_decode(data.elements.reshape(shape), data.scales.reshape(*shape[:-1], -1), MXFP8_E4M3)


def test_each_packing_puts_every_element_in_its_place() -> None:
    x = matrix(16, 24)
    q = mx_quantize(x, MXFP8_E4M3, variant="staging")
    tiles = decoded(pack(x, Layout("tiles"), (2, 3, 8, 8), MXFP8_E4M3), (2, 3, 8, 8))
    rows = decoded(pack(x, Layout("rows"), (16, 3, 8), MXFP8_E4M3), (16, 3, 8))
    blocks = decoded(pack(x, Layout("column_blocks"), (3, 16, 8), MXFP8_E4M3), (3, 16, 8))
    for r in range(16):
        for c in range(24):
            assert tiles[r // 8, c // 8, r % 8, c % 8] == q[r, c]
            assert rows[r, c // 8, c % 8] == q[r, c]
            assert blocks[c // 8, r, c % 8] == q[r, c]


def test_groups_are_padded_with_zeros_and_so_is_the_rest_of_the_buffer() -> None:
    x = matrix(4, 12)
    # Two heads of 6 features padded to 8 each, in pairs of rows padded to 3, in a buffer of 8 rows by 24 features.
    layout = Layout("rows", rows=(2, 3), cols=(6, 8))
    values = decoded(pack(x, layout, (8, 3, 8), MXFP8_E4M3), (8, 3, 8)).reshape(8, 24)
    expected = np.zeros((8, 24), np.float32)
    for r in range(4):
        for c in range(12):
            expected[r // 2 * 3 + r % 2, c // 6 * 8 + c % 6] = x[r, c]
    np.testing.assert_array_equal(values, mx_quantize(expected, MXFP8_E4M3, variant="staging"))


def test_a_vector_is_one_row() -> None:
    x = matrix(1, 16)
    one, two = pack(x[0], Layout("rows"), (1, 2, 8), MXFP8_E4M3), pack(x, Layout("rows"), (1, 2, 8), MXFP8_E4M3)
    np.testing.assert_array_equal(one.elements, two.elements)
    np.testing.assert_array_equal(one.scales, two.scales)


@pytest.mark.parametrize(("terms", "bound"), [(1, 0.1), (2, 0.01), (3, 0.001)])
def test_terms_narrow_the_error_of_every_block(terms: int, bound: float) -> None:
    x = matrix(8, 16)
    shape = (8, 2, 8) if terms == 1 else (terms, 8, 2, 8)
    layout = Layout("rows", terms=terms)
    back = unpack(pack(x, layout, shape, MXFP8_E4M3), layout, shape, MXFP8_E4M3, (8, 16))
    largest = np.abs(x.reshape(8, 2, 8)).max(axis=-1, keepdims=True)
    assert (np.abs((back - x).reshape(8, 2, 8)) / largest).max() <= bound


def test_a_scale_shift_is_an_exact_factor() -> None:
    x = matrix(8, 8)
    plain, shifted = (pack(x, Layout("tiles", scale_shift=shift), (1, 1, 8, 8), MXFP8_E4M3) for shift in (0, 2))
    np.testing.assert_array_equal(decoded(shifted, (1, 1, 8, 8)), 4 * decoded(plain, (1, 1, 8, 8)))


@pytest.mark.parametrize("fmt", [MXFP8_E4M3, MXFP8_E5M2])
@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout("tiles", rows=(4, 8), cols=(8, 16), scale_shift=2), (2, 4, 8, 8)),
        (Layout("rows", terms=2), (2, 10, 2, 8)),
        (Layout("column_blocks", cols=(8, 8), scale_shift=-3), (3, 8, 8)),
    ],
)
def test_unpack_is_the_inverse_of_pack(layout: Layout, shape: tuple[int, ...], fmt: object) -> None:
    x = matrix(8, 16)
    back = unpack(pack(x, layout, shape, fmt), layout, shape, fmt, (8, 16))
    q = mx_quantize(x, fmt, variant="staging")
    if layout.terms == 2:
        q = q + mx_quantize(x - q, fmt, variant="staging")
    np.testing.assert_array_equal(back, q)


@pytest.mark.parametrize("name", ["mxfp8_e4m3", "mxfp8_e5m2"])
def test_a_scale_shift_under_ocp_is_a_factor_of_every_block(name: str) -> None:
    fmt, x = mx_format(name, "ocp"), matrix(8, 16)
    x[0, :8] = 0
    x[1, :8] *= np.float32(2.0**-130)
    layout, shape = Layout("rows", scale_shift=2), (8, 2, 8)
    data = pack(x, layout, shape, fmt)
    plain = pack(x, Layout("rows"), shape, fmt)
    # The scale byte 0 is the factor 2^-127 there and takes part: that of zeros, and that of the smallest numbers.
    assert (plain.scales[[0, 2]] == 0).all()
    np.testing.assert_array_equal(data.scales, plain.scales + 2)
    np.testing.assert_array_equal(data.elements, plain.elements)
    q = mx_quantize(x, fmt, variant="staging")
    assert q[1, :8].any()
    np.testing.assert_array_equal(mx_decode(data.elements.reshape(8, 16), data.scales.reshape(8, 2), fmt), 4 * q)
    np.testing.assert_array_equal(unpack(data, layout, shape, fmt, (8, 16)), q)
    with pytest.raises(ImageError, match="out of range"):
        pack(x, Layout("rows", scale_shift=-1), shape, fmt)


@pytest.mark.parametrize(
    ("layout", "shape", "problem"),
    [
        (Layout("rows", rows=(3, 4)), (8, 2, 8), "does not divide into groups of 3 rows"),
        (Layout("rows"), (4, 2, 8), r"takes .8, 16. with its padding, the buffer has .4, 16."),
        (Layout("tiles"), (8, 2, 8), "cannot hold a matrix packed as tiles"),
        (Layout("rows", terms=2), (8, 2, 8), "no leading dimension for 2 terms"),
        (Layout("rows", scale_shift=200), (8, 2, 8), "out of range"),
    ],
)
def test_what_does_not_fit_is_refused(layout: Layout, shape: tuple[int, ...], problem: str) -> None:
    with pytest.raises(ImageError, match=problem):
        pack(matrix(8, 16), layout, shape, MXFP8_E4M3)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ImageError, match="infinities or NaN"):
        pack(np.full((8, 8), np.inf, np.float32), Layout("rows"), (8, 1, 8), MXFP8_E4M3)


@pytest.mark.parametrize("fill", [0.0, np.nan])
def test_filled_data_decode_to_the_fill(fill: float) -> None:
    data = GlobalData.filled(16, fill)
    for fmt in (mx_format(name, rules) for name in ("mxfp8_e4m3", "mxfp8_e5m2") for rules in RULES):
        np.testing.assert_array_equal(mx_decode(data.elements, data.scales, fmt), np.full(16, fill))
