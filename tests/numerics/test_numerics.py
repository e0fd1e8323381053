"""The machine's arithmetic against its specification: rounding, tables, matrix products, reductions, MX formats."""

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from plena_mlir.errors import ImageError, TargetError
from plena_mlir.numerics import (
    MXFP8_E4M3,
    MXFP8_E5M2,
    MxFormat,
    exp_bf16,
    from_bits,
    matmul_nn,
    matmul_nt,
    mx_decode,
    mx_encode,
    mx_format,
    mx_quantize,
    reciprocal_bf16,
    reduce_max,
    reduce_sum,
    round_bf16,
    sqrt_bf16,
)
from plena_mlir.numerics.mx_format import element_table

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent.parent / "data" / "machine_vectors.json").read_text())["vectors"]
ALL_BF16 = from_bits(np.arange(1 << 16, dtype=np.uint16))


def of_kind(kind: str) -> list[Any]:
    return [pytest.param(vector, id=vector["name"]) for vector in VECTORS if vector["kind"] == kind]


def floats(values: list[float | str]) -> np.ndarray:
    return np.array([float(value) for value in values], np.float32)


def test_unary_tables():
    finite = ALL_BF16[np.isfinite(ALL_BF16)]
    with np.errstate(all="ignore"):
        exact = np.exp(np.clip(finite.astype(np.float64), -88, 88)).astype(np.float32)
        np.testing.assert_array_equal(exp_bf16(finite), exact.astype(ml_dtypes.bfloat16).astype(np.float32))
        np.testing.assert_array_equal(reciprocal_bf16(finite), round_bf16(1 / finite))
        np.testing.assert_array_equal(sqrt_bf16(finite), round_bf16(np.sqrt(finite)))
    limits = exp_bf16(np.array([np.inf, -np.inf, np.nan], np.float32))
    assert limits[0] == np.float32(1.6548889e38)
    assert limits[1] == np.float32(6.0611427e-39)
    assert np.isnan(limits[2])


@pytest.mark.parametrize(("m", "n", "k"), [(4, 4, 64), (64, 64, 64), (3, 5, 7), (1, 8, 2), (11, 20, 7), (8, 6, 13)])
def test_products_add_in_ascending_k(m: int, n: int, k: int):
    rng = np.random.default_rng(1)
    # Magnitudes far apart make every other order of addition round differently.
    x = (rng.normal(size=(m, k)) * 10.0 ** rng.integers(-15, 15, (m, k))).astype(np.float32)
    w = (rng.normal(size=(n, k)) * 10.0 ** rng.integers(-15, 15, (n, k))).astype(np.float32)
    expected = np.zeros((m, n))
    for index in range(k):
        expected += x[:, index : index + 1].astype(np.float64) * w[:, index].astype(np.float64)
    np.testing.assert_array_equal(matmul_nt(x, w), expected.astype(np.float32))
    np.testing.assert_array_equal(matmul_nn(x, w.T), expected.astype(np.float32))


def test_products_let_nan_through():
    x = np.zeros((2, 8), np.float32)
    w = np.zeros((3, 8), np.float32)
    w[1, 5] = np.nan
    assert np.isnan(matmul_nt(x, w)).tolist() == [[False, True, False]] * 2


def test_row_sum_adds_to_the_register():
    rows = round_bf16(np.random.default_rng(2).normal(size=(5, 16)).astype(np.float32))
    registers = np.arange(5, dtype=np.float32)
    sums = np.array([np.float32(sum(map(float, row))) for row in rows], np.float32)
    np.testing.assert_array_equal(reduce_sum(rows, registers), round_bf16(registers + sums))


def test_row_max_carries_nan_but_the_register_drops_it():
    rows = np.array([[1, 2, 3], [1, np.nan, 3], [-5, -6, -7]], np.float32)
    np.testing.assert_array_equal(reduce_max(rows, np.array([2, 2, -np.inf], np.float32)), [3, 2, -5])


@pytest.mark.parametrize("vector", of_kind("e4m3_decode"))
def test_element_codes(vector: dict[str, Any]):
    codes = [int(code, 16) for code in vector["codes"]]
    np.testing.assert_array_equal(element_table(MXFP8_E4M3)[codes], floats(list(vector["codes"].values())))


@pytest.mark.parametrize("vector", of_kind("mx_encode_block"))
def test_block_encoding(vector: dict[str, Any]):
    block = floats(vector["input_bf16"])
    for variant, key in (("machine", "emulator"), ("staging", "staging_tool")):
        if key in vector:
            elements, scales = mx_encode(block, MXFP8_E4M3, variant=variant)
            assert [f"{element:02x}" for element in elements] == [code.lower() for code in vector[key]["elements"]]
            assert scales.tolist() == [vector[key]["scale"]]
    np.testing.assert_array_equal(mx_quantize(block, MXFP8_E4M3), floats(vector["decoded"]))


def test_block_scale_of_float32_values_follows_float32_log2():
    below_eight = np.nextafter(np.float32(8), np.float32(0))
    _, scales = mx_encode(np.full(8, below_eight, np.float32), MXFP8_E4M3)
    assert scales.tolist() == [127 + int(np.floor(np.log2(below_eight)))]
    assert scales.tolist() == [130]


@pytest.mark.parametrize("fmt", [MXFP8_E4M3, MXFP8_E5M2, mx_format("mxfp8_e4m3", "ocp"), mx_format("mxfp8_e5m2", "ocp")])
def test_encoding_a_decoded_block_changes_nothing(fmt: MxFormat):
    values = np.random.default_rng(3).normal(size=(64, 32)).astype(np.float32)
    once = mx_quantize(values, fmt)
    np.testing.assert_array_equal(mx_quantize(once, fmt), once)
    assert np.abs(once - values).max() <= 0.25 * np.abs(values).max()


def test_threads_do_not_change_the_result():
    values = np.random.default_rng(4).normal(size=(600, 1024)).astype(np.float32)
    elements, scales = mx_encode(values, MXFP8_E4M3)
    for row in (0, 299, 300, 599):
        row_elements, row_scales = mx_encode(values[row], MXFP8_E4M3)
        np.testing.assert_array_equal(elements[row], row_elements)
        np.testing.assert_array_equal(scales[row], row_scales)
    np.testing.assert_array_equal(mx_decode(elements, scales, MXFP8_E4M3), mx_quantize(values, MXFP8_E4M3))


def test_staging_refuses_what_it_cannot_hold():
    with pytest.raises(ImageError, match="infinities or NaN"):
        mx_encode(np.full(8, np.inf, np.float32), MXFP8_E4M3, variant="staging")
    with pytest.raises(TargetError, match="no such machine format"):
        MxFormat(4, 4)
