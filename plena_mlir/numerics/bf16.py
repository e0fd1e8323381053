"""bf16 as the machine rounds it, and the unary functions as tables over all 65,536 values (machine specification, section 3).

A bf16 value is held as the float32 of the same value.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.numerics.compile import in_chunks, inline_kernel, kernel

F32: TypeAlias = NDArray[np.float32]
U32: TypeAlias = NDArray[np.uint32]
Real: TypeAlias = "float | np.float32"
Integer: TypeAlias = "int | np.int64"

EXP_LIMIT = 88.0
"""The machine clamps the argument of exp to +-88."""


@inline_kernel
def store_bits(bits: Integer) -> Integer:
    """float32 bits rounded as a Vector SRAM write does: to nearest even, the payload of a NaN rounded like a number.

    A NaN whose rounded payload is zero becomes an infinity.
    """
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    nan = (bits & 0xFF800000) | (rounded & 0x007F0000)
    return nan if (bits & 0x7FFFFFFF) > 0x7F800000 else rounded


@inline_kernel
def store_f32(value: Real) -> Real:
    """A float32 as it reads back from the Vector SRAM."""
    return np.uint32(store_bits(np.int64(np.float32(value).view(np.uint32)))).view(np.float32)


@kernel
def round_rows_into(source: U32, target: U32, start: int, stop: int) -> None:
    """target[start:stop] = the stored form of source[start:stop], both flat float32 bits."""
    for index in range(start, stop):
        target[index] = store_bits(np.int64(source[index]))


@kernel
def round_register(value: Real) -> Real:
    """A float32 rounded as the f registers and the FP SRAM do: to nearest even, NaN stays a quiet NaN."""
    bits = np.int64(np.float32(value).view(np.uint32))
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    if (bits & 0x7FFFFFFF) > 0x7F800000:
        rounded = (bits & 0xFFFF0000) | 0x00400000
    return np.uint32(rounded).view(np.float32)


def round_bf16(values: F32) -> F32:
    """`values` (any shape) rounded as a Vector SRAM write rounds them."""
    source = np.ascontiguousarray(values, dtype=np.float32)
    target = np.empty_like(source)
    bits_in, bits_out = (source.reshape(-1).view(np.uint32), target.reshape(-1).view(np.uint32))
    in_chunks(lambda start, stop: round_rows_into(bits_in, bits_out, start, stop), bits_in.size, smallest=1 << 20)
    return target


@kernel
def round_registers_into(source: F32, target: F32) -> None:
    """target = source, both flat, each value rounded as the FP SRAM does."""
    for index in range(source.shape[0]):
        target[index] = round_register(source[index])


def round_registers(values: F32) -> F32:
    """`values` (any shape) rounded as the f registers and the FP SRAM round them."""
    source = np.ascontiguousarray(values, dtype=np.float32)
    target = np.empty_like(source)
    round_registers_into(source.reshape(-1), target.reshape(-1))
    return target


def to_bits(values: F32) -> NDArray[np.uint16]:
    """The bf16 bits of values that are bf16 already."""
    return (np.ascontiguousarray(values, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)


def from_bits(bits: NDArray[np.uint16]) -> F32:
    """The float32 values of bf16 bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


@cache
def exp_table() -> F32:
    """exp(clamp(x, -88, 88)) by the bf16 bits of x, computed in float64, rounded to float32 and then to bf16."""
    with np.errstate(all="ignore"):
        inputs = from_bits(np.arange(1 << 16, dtype=np.uint16)).astype(np.float64)
        return round_bf16(np.exp(np.clip(inputs, -EXP_LIMIT, EXP_LIMIT)).astype(np.float32))


@cache
def reciprocal_table() -> F32:
    """1 / x by the bf16 bits of x."""
    with np.errstate(all="ignore"):
        return round_bf16(np.float32(1.0) / from_bits(np.arange(1 << 16, dtype=np.uint16)))


@cache
def sqrt_table() -> F32:
    """The square root of x by the bf16 bits of x; NaN below zero."""
    with np.errstate(all="ignore"):
        return round_bf16(np.sqrt(from_bits(np.arange(1 << 16, dtype=np.uint16))))


def exp_bf16(values: F32) -> F32:
    """exp(clamp(x, -88, 88)) of bf16 values, as the machine computes it."""
    return exp_table()[to_bits(values)]


def reciprocal_bf16(values: F32) -> F32:
    """1 / x of bf16 values, as the machine computes it."""
    return reciprocal_table()[to_bits(values)]


def sqrt_bf16(values: F32) -> F32:
    """sqrt(x) of bf16 values, as the machine computes it."""
    return sqrt_table()[to_bits(values)]
