"""The two roundings to bf16 on every upper half of a float32 with telling lower halves, and the preload of FP SRAM on every half.

`tools/check_bf16.py` does the first for all 2^32 values.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from plena_mlir.emulator import Machine
from plena_mlir.emulator.files import read_fpsram
from plena_mlir.numerics import round_bf16, to_bits
from plena_mlir.numerics.bf16 import round_register, round_registers
from plena_mlir.target import load_target
from tests.numerics import oracles

U32 = NDArray[np.uint32]

LOWER_HALVES = [
    *(1 << bit for bit in range(16)),
    *((1 << bit) - 1 for bit in range(17)),
    *(0x8000 + (1 << bit) for bit in range(15)),
    *(0x5555, 0xAAAA, 0xFFFE),
]
"""Nothing, single bits, runs, the tie of 0x8000 and what lies one unit and more above and below it."""


@pytest.fixture(scope="module")
def samples() -> U32:
    """float32 bits."""
    upper = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    return (upper[:, None] | np.unique(np.array(LOWER_HALVES, np.uint32))).reshape(-1)


def is_nan(bits: U32) -> NDArray[np.bool_]:
    return (bits & np.uint32(0x7FFFFFFF)) > 0x7F800000


def test_every_upper_half_stored_in_vector_sram(samples: U32):
    found = round_bf16(samples.view(np.float32)).view(np.uint32)
    nan = is_nan(samples)
    np.testing.assert_array_equal(found[~nan], oracles.nearest_bf16(samples[~nan]))
    np.testing.assert_array_equal(found[nan], oracles.stored_nan(samples[nan]))
    # Some NaN become infinities, which the oracle for numbers would never give.
    assert ((found[nan] & 0x7FFFFF) == 0).any()


def test_every_upper_half_in_a_register(samples: U32):
    found = round_registers(samples.view(np.float32)).view(np.uint32)
    nan = is_nan(samples)
    np.testing.assert_array_equal(found[~nan], oracles.nearest_bf16(samples[~nan]))
    np.testing.assert_array_equal(found[nan], (samples[nan] & 0xFFFF0000) | 0x00400000)


def test_numbers_round_as_those_of_ml_dtypes(samples: U32):
    numbers = samples[~is_nan(samples)].view(np.float32)
    with np.errstate(over="ignore"):
        expected = numbers.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(round_bf16(numbers).view(np.uint32), expected.view(np.uint32))


def test_one_value_at_a_time():
    assert np.isnan(round_register(np.uint32(0x7F800001).view(np.float32)))
    assert round_register(np.float32(1.00390625)) == 1.0
    nans = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF], np.uint32).view(np.float32)
    assert to_bits(round_bf16(nans)).tolist() == [0x7FC0, 0xFFC0, 0x7F80, 0x7F80]


def test_every_half_preloaded_into_fp_sram(tmp_path: Path):
    machine = Machine(load_target("8x4x4"))
    halves = np.arange(1 << 16, dtype="<u2").reshape(-1, machine.target.fp_sram_words)
    exact = oracles.half_values().reshape(halves.shape)
    for row, values in zip(halves, exact, strict=True):
        path = tmp_path / "fpsram.bin"
        path.write_bytes(row.tobytes())
        machine.load_fpsram(read_fpsram(path))
        found = machine.state.scalars.fp.view(np.uint32)
        nan = np.isnan(values)
        np.testing.assert_array_equal(found[~nan], oracles.nearest_bf16(values[~nan].astype(np.float32).view(np.uint32)))
        # A NaN stays one, quiet, with its sign and the upper bits of its payload, however small that is.
        payload = (row[nan].astype(np.uint32) & 0x3FF) >> 3
        np.testing.assert_array_equal(
            found[nan], ((row[nan].astype(np.uint32) & 0x8000) << 16) | ((0x7FC0 | payload) << 16).astype(np.uint32)
        )
