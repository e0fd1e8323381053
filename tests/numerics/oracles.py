"""Slow statements of the machine's number formats in float64, straight from their specifications, with no code of the package.

Every float32, every quotient by a power of two and every midpoint of neighbouring codes here is exact in float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
U32 = NDArray[np.uint32]

FLOOR = float(np.float32(1e-9))
"""What the machine adds before it takes a log2, in float32."""


def exact_floor_log2(x: F64) -> NDArray[np.int64]:
    """floor(log2(x)) of positive numbers."""
    return np.frexp(x)[1].astype(np.int64) - 1


def machine_floor_log2(x: F64) -> NDArray[np.int64]:
    """The same with the log2 in float32, which is the next integer just below a power of two; 200 for infinity."""
    return np.floor(np.minimum(np.log2(x.astype(np.float32).astype(np.float64)).astype(np.float32), 200)).astype(np.int64)


def _largest(blocks: F64) -> F64:
    """The largest magnitude of each block [n, 8], where NaN does not count."""
    magnitudes = np.abs(blocks)
    return np.where(np.isnan(magnitudes), 0, magnitudes).max(axis=1)


# --- the machine (machine specification, section 8) -------------------------------------------------------------------------------


def machine_codes(exponent_bits: int, mantissa_bits: int) -> F64:
    """What each element code means: sign, exponent and mantissa fields, the top exponent for infinity and NaN."""
    bias = 2 ** (exponent_bits - 1) - 1
    values: list[float] = []
    for code in range(256):
        exponent, mantissa = (code % 128) >> mantissa_bits, code % 2**mantissa_bits
        if exponent == 2**exponent_bits - 1:
            value = np.nan if mantissa else np.inf
        elif exponent == 0:
            value = mantissa / 2**mantissa_bits * 2.0**-bias
        else:
            value = (1 + mantissa / 2**mantissa_bits) * 2.0 ** (exponent - bias)
        values.append(-value if code >= 128 else value)
    return np.array(values)


def machine_encode(blocks: F64, exponent_bits: int, mantissa_bits: int, *, staging: bool) -> tuple[U8, U8]:
    """Element codes [n, 8] and scale bytes [n] of float32 blocks [n, 8]: section 8.2, or 8.3 for `staging`."""
    bias, steps = 2 ** (exponent_bits - 1) - 1, 2**mantissa_bits
    with np.errstate(all="ignore"):
        largest = _largest(blocks)
        p = np.clip(machine_floor_log2(largest + FLOOR), -127, 127)
        # The quotient is a float32 too: what is too small for one becomes a zero.
        t = (blocks / 2.0 ** p[:, None]).astype(np.float32).astype(np.float64)
        r = machine_floor_log2(np.where(np.isnan(t), 1, np.abs(t) + FLOOR))
        e = np.clip(r, -bias, bias)
        q = np.abs(t) / 2.0**e
        u = np.where(e > -bias, q - 1, q) * steps
        k = np.clip(np.rint(np.floor(4 * np.minimum(u, 100)) / 4), 0, steps - 1)
        k = np.where(r > bias, steps - 1, k)
        codes = np.where(t < 0, 128, 0) + (e + bias) * steps + k
    codes = np.where(t == 0, 0, codes)
    codes = np.where(np.isnan(t), bias * steps, codes)
    if staging:
        codes = np.where(codes == 128, 0, codes)
    codes[largest == 0] = 0
    scales = np.where(largest == 0, 97 if staging else 0, p + 127)
    return codes.astype(np.uint8), scales.astype(np.uint8)


# --- OCP Microscaling Formats 1.0 -------------------------------------------------------------------------------------------------


def ocp_codes(exponent_bits: int, mantissa_bits: int) -> F64:
    """The positive finite element values by code."""
    bias = 2 ** (exponent_bits - 1) - 1
    values: list[float] = []
    # E4M3 gives its last code to NaN, E5M2 its last exponent to infinity and NaN.
    for code in range(127 if exponent_bits == 4 else 31 << mantissa_bits):
        exponent, mantissa = code >> mantissa_bits, code % 2**mantissa_bits
        fraction = mantissa / 2**mantissa_bits
        values.append(fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias))
    return np.array(values)


def ocp_encode(blocks: F64, exponent_bits: int, mantissa_bits: int) -> tuple[U8, U8]:
    """Element codes [n, 8] and scale bytes [n] of float32 blocks [n, 8]: the nearest code, the even one of two."""
    values = ocp_codes(exponent_bits, mantissa_bits)
    largest = _largest(blocks)
    emax = int(np.log2(values[-1]))
    with np.errstate(all="ignore"):
        exponents = np.where(np.isinf(largest), 128, exact_floor_log2(np.where(largest == 0, 2.0**-149, largest)))
        p = np.clip(exponents - emax, -127, 127)
        t = blocks / 2.0 ** p[:, None]
    middles = (values[1:] + values[:-1]) / 2
    below = np.searchsorted(middles, np.abs(t), side="left")
    tie = (below < middles.size) & (middles[np.minimum(below, middles.size - 1)] == np.abs(t))
    codes = below + (tie & (below % 2 == 1))
    codes = np.where(np.isnan(t), 0x7F if exponent_bits == 4 else 0x7E, codes)
    return (codes + np.where(np.signbit(t), 128, 0)).astype(np.uint8), (p + 127).astype(np.uint8)


# --- bf16 -------------------------------------------------------------------------------------------------------------------------


def nearest_bf16(bits: U32) -> U32:
    """The bf16 (as float32 bits) nearest to each float32 that is no NaN, the even one of two; from half a unit beyond the largest
    one on, infinity.
    """
    infinity = 2.0**128
    upper = bits & np.uint32(0xFFFF0000)
    magnitude = np.abs(bits.view(np.float32)).astype(np.float64)
    magnitude = np.where(np.isinf(magnitude), infinity, magnitude)
    below = np.abs(upper.view(np.float32)).astype(np.float64)
    next_up = np.where(np.isinf(below), upper, upper + np.uint32(0x10000)).astype(np.uint32)
    above = np.abs(next_up.view(np.float32)).astype(np.float64)
    below, above = (np.where(np.isinf(side), infinity, side) for side in (below, above))
    to_below, to_above = magnitude - below, above - magnitude
    odd = (upper >> np.uint32(16)) & np.uint32(1) == 1
    return np.where((to_above < to_below) | ((to_above == to_below) & odd), next_up, upper)


def stored_nan(bits: U32) -> U32:
    """What a Vector SRAM write makes of each NaN: the payload rounded as a number in units of 2^16, its carry dropped."""
    payload = np.rint((bits & np.uint32(0x7FFFFF)) / 2.0**16).astype(np.uint32) % 128
    return (bits & np.uint32(0xFF800000)) | payload << np.uint32(16)


def half_values() -> F64:
    """The value of each IEEE half by its bits."""
    codes = np.arange(1 << 16)
    sign, exponent, fraction = np.where(codes >> 15, -1.0, 1.0), codes >> 10 & 31, (codes & 1023) / 1024
    magnitude = np.where(exponent == 0, fraction * 2.0**-14, (1 + fraction) * 2.0 ** (exponent - 15.0))
    magnitude = np.where(exponent == 31, np.where(fraction == 0, np.inf, np.nan), magnitude)
    return sign * magnitude
