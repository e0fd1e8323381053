"""MX block formats: eight elements of 8 bits share one power-of-two scale byte.

The machine's E4M3 is not the OCP one: the smallest exponent is -7, the top exponent code is infinity and NaN, and its encoder has a
rounding of its own (machine specification, section 8). Both rules are defined here once, for H_STORE_V, the image writer and the
goldens; which one applies is part of the format.

Under OCP (Microscaling Formats 1.0, section 6.3) a block is divided by 2^(floor(log2(largest)) - largest element exponent), within
what a scale byte can say, and its elements are rounded to nearest even and saturate. What that document leaves open: a NaN becomes
a NaN code of its sign and does not count for the largest; the log2 of an infinity counts as 128, so that infinities come back as
infinities in float32; a block of zeros has the scale byte 0.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.errors import ImageError
from plena_mlir.numerics.bf16 import F32, U32, Integer, Real
from plena_mlir.numerics.compile import in_chunks, inline_kernel, kernel
from plena_mlir.numerics.mx_format import (
    EXPONENT_BITS,
    I64,
    IS_OCP,
    LARGEST_CODE,
    LARGEST_EXPONENT,
    MANTISSA_BITS,
    NAN_CODE,
    SCALE_BIAS,
    ZERO_BLOCK_SCALE,
    ZEROED_CODE,
    MxFormat,
    Variant,
    element_table,
    encoder_rule,
    scale_table,
)

U8: TypeAlias = NDArray[np.uint8]

_SMALLEST_CHUNK = 1 << 14
_INFINITY = 0x7F800000


@cache
def log2_thresholds() -> U32:
    """Per float32 exponent code, the least mantissa at which log2, rounded to float32, reaches the next integer.

    floor(log2(x)) in float32 is one too high just below a power of two; the encoders are defined with that floor.
    """
    mantissas = np.arange((1 << 23) - 256, 1 << 23, dtype=np.uint32)
    thresholds = np.full(256, 1 << 23, np.uint32)
    for code in range(1, 255):
        values = ((np.uint32(code) << 23) | mantissas).view(np.float32).astype(np.float64)
        reached = np.log2(values).astype(np.float32) >= code - SCALE_BIAS + 1
        if reached.any():
            thresholds[code] = mantissas[int(np.argmax(reached))]
    return thresholds


@inline_kernel
def floor_log2(value: Real, thresholds: U32) -> Integer:
    """floor(log2(value)) in float32 arithmetic, for a normal positive value; infinity gives 128."""
    bits = np.int64(np.float32(value).view(np.uint32))
    code = bits >> 23
    return code - 127 + (1 if (bits & 0x7FFFFF) >= thresholds[code] else 0)


@inline_kernel
def encode_element(value: Real, exponent_bits: int, mantissa_bits: int, thresholds: U32) -> Integer:
    """The code of a scaled element by the rule of H_STORE_V: fractions below .5 round down, from .75 up, between them to even.

    Mantissas saturate instead of carrying into the exponent. NaN encodes as +1. Selections instead of branches, which no processor
    could predict here.
    """
    bias = (1 << (exponent_bits - 1)) - 1
    steps = 1 << mantissa_bits
    magnitude = np.float32(abs(value))
    exponent = floor_log2(magnitude + np.float32(1e-9), thresholds)
    clamped = min(max(exponent, -bias), bias)
    # 2^-clamped is a normal float32, so the quotient is exact.
    quotient = magnitude * np.uint32((127 - clamped) << 23).view(np.float32)
    fraction = quotient - np.float32(1.0) if clamped > -bias else quotient
    # An infinity would not survive the conversion to an integer.
    quarters = np.int64(np.floor(min(fraction, np.float32(2.0)) * np.float32(4 * steps)))
    mantissa = (quarters >> 2) + ((quarters >> 1) & (quarters | (quarters >> 2)) & 1)
    mantissa = min(max(mantissa, 0), steps - 1)
    mantissa = steps - 1 if exponent > bias else mantissa
    code = ((128 if value < 0.0 else 0) | ((clamped + bias) << mantissa_bits)) + mantissa
    code = 0 if magnitude == 0.0 else code
    return bias << mantissa_bits if value != value else code


@inline_kernel
def block_exponent(largest: Real, thresholds: U32) -> Integer:
    """The power of two that a block with this largest magnitude is divided by."""
    return min(max(floor_log2(np.float32(largest) + np.float32(1e-9), thresholds), -127), 127)


@inline_kernel
def power_of_two(exponent: Integer) -> Real:
    """2^exponent for -127 <= exponent <= 127; the smallest one is a subnormal float32."""
    return np.uint32((exponent + 127) << 23 if exponent > -127 else 0x00400000).view(np.float32)


@inline_kernel
def encode_machine(values: F32, elements: U8, scales: U8, start: int, stop: int, rule: I64, thresholds: U32) -> None:
    """`encode_blocks` by the rules of the machine."""
    exponent_bits, mantissa_bits, zero_scale = rule[EXPONENT_BITS], rule[MANTISSA_BITS], rule[ZERO_BLOCK_SCALE]
    zeroed_code = rule[ZEROED_CODE]
    for block in range(start, stop):
        largest = np.float32(0.0)
        for index in range(block * 8, block * 8 + 8):
            largest = max(largest, np.float32(abs(values[index])))
        scales[block] = zero_scale if largest == 0.0 else block_exponent(largest, thresholds) + 127
    for index in range(start * 8, stop * 8):
        scale = np.int64(scales[index >> 3])
        code = encode_element(values[index] * power_of_two(127 - scale), exponent_bits, mantissa_bits, thresholds)
        # Scale byte 0 means that nothing but zeros and NaN is in the block; both become 0.
        elements[index] = 0 if scale == 0 or code == zeroed_code else code


@inline_kernel
def float_bits(value: Real) -> Integer:
    return np.int64(np.float32(value).view(np.uint32))


@inline_kernel
def round_to_code(value: Real, mantissa_bits: Integer, bias: Integer, largest_code: Integer, nan_code: Integer) -> Integer:
    """The code of a scaled element under OCP: to nearest even, finite at most, with the sign of the value."""
    bits = float_bits(value)
    magnitude = bits & 0x7FFFFFFF
    dropped = 23 - mantissa_bits
    rounded = (magnitude + (1 << (dropped - 1)) - 1 + ((magnitude >> dropped) & 1)) >> dropped
    normal = rounded - ((127 - bias) << mantissa_bits)
    # The last place of this power of two is the smallest subnormal element, so the addition rounds to those.
    power = np.uint32((151 - bias - mantissa_bits) << 23).view(np.float32)
    subnormal = float_bits(np.float32(abs(value)) + power) - float_bits(power)
    code = min(normal if magnitude >= (128 - bias) << 23 else subnormal, largest_code)
    code = nan_code if magnitude > _INFINITY else code
    return code | ((bits >> 24) & 128)


@inline_kernel
def encode_ocp(values: F32, elements: U8, scales: U8, start: int, stop: int, rule: I64) -> None:
    """`encode_blocks` by the rules of OCP."""
    mantissa_bits, bias = rule[MANTISSA_BITS], (1 << (rule[EXPONENT_BITS] - 1)) - 1
    largest_code, largest_exponent, nan_code = rule[LARGEST_CODE], rule[LARGEST_EXPONENT], rule[NAN_CODE]
    for block in range(start, stop):
        largest = np.int64(0)
        for index in range(block * 8, block * 8 + 8):
            magnitude = float_bits(values[index]) & 0x7FFFFFFF
            largest = max(largest, 0 if magnitude > _INFINITY else magnitude)
        # The exponent field is floor(log2) + 127; that of a subnormal is too small to matter.
        scales[block] = max((largest >> 23) - largest_exponent, 0)
    for index in range(start * 8, stop * 8):
        scaled = values[index] * power_of_two(127 - np.int64(scales[index >> 3]))
        elements[index] = round_to_code(scaled, mantissa_bits, bias, largest_code, nan_code)


@kernel
def encode_blocks(values: F32, elements: U8, scales: U8, start: int, stop: int, rule: I64, thresholds: U32) -> None:
    """Encode blocks start..stop of flat `values`, eight elements each, into flat `elements` and one scale byte per block.

    `rule` is that of `encoder_rule`, `thresholds` those of `log2_thresholds`.
    """
    if rule[IS_OCP]:
        encode_ocp(values, elements, scales, start, stop, rule)
    else:
        encode_machine(values, elements, scales, start, stop, rule, thresholds)


@kernel
def decode_blocks(elements: U8, scales: U8, values: F32, start: int, stop: int, codes: F32, powers: F32) -> None:
    """Decode blocks start..stop of flat `elements` into flat `values`: code value times scale, in float32."""
    for block in range(start, stop):
        scale = powers[scales[block]]
        for index in range(block * 8, block * 8 + 8):
            values[index] = codes[elements[index]] * scale


def mx_encode(values: F32, fmt: MxFormat, *, variant: Variant = "machine") -> tuple[U8, U8]:
    """Encode `values` [..., n], n a multiple of 8, with blocks along the last axis.

    `variant` is "machine" for the rule of H_STORE_V (machine specification, section 8.2) or "staging" for that of the tools that
    write HBM images (section 8.3). OCP has one rule, so there they differ only in what staging refuses.

    Returns:
        The element codes [..., n] and the scale bytes [..., n / 8].

    Raises:
        ImageError: staging is asked for values that are not finite.
    """
    if values.shape[-1] % fmt.block:
        raise ValueError(f"the last axis of {values.shape} is not a multiple of {fmt.block}")
    if variant == "staging" and not np.isfinite(values).all():
        raise ImageError("an HBM image cannot hold infinities or NaN", hint="check the tensor for overflow")
    source = np.ascontiguousarray(values, np.float32)
    elements = np.empty(source.shape, np.uint8)
    scales = np.empty((*source.shape[:-1], source.shape[-1] // fmt.block), np.uint8)
    flat, flat_elements, flat_scales = (source.reshape(-1), elements.reshape(-1), scales.reshape(-1))
    rule, thresholds = encoder_rule(fmt, variant), log2_thresholds()

    def work(start: int, stop: int) -> None:
        encode_blocks(flat, flat_elements, flat_scales, start, stop, rule, thresholds)

    in_chunks(work, flat_scales.size, smallest=_SMALLEST_CHUNK)
    return elements, scales


def mx_decode(elements: U8, scales: U8, fmt: MxFormat) -> F32:
    """The float32 values [..., n] of element codes [..., n] and scale bytes [..., n / 8]."""
    values = np.empty(elements.shape, np.float32)
    flat, flat_elements = values.reshape(-1), np.ascontiguousarray(elements).reshape(-1)
    flat_scales = np.ascontiguousarray(scales).reshape(-1)
    codes, powers = element_table(fmt), scale_table(fmt.rules)
    in_chunks(
        lambda start, stop: decode_blocks(flat_elements, flat_scales, flat, start, stop, codes, powers),
        flat_scales.size,
        smallest=_SMALLEST_CHUNK,
    )
    return values


def mx_quantize(values: F32, fmt: MxFormat, *, variant: Variant = "machine") -> F32:
    """`values` [..., n] after a trip through the format: decode(encode(values))."""
    return mx_decode(*mx_encode(values, fmt, variant=variant), fmt)
