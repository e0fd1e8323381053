"""MX formats as data: what each element code and scale byte means, by the rules of a numerics profile.

`plena` is the machine of the public simulator (machine specification, section 8). `ocp` are the rules of the OCP Microscaling
Formats (MX) specification, version 1.0, for elements E4M3 and E5M2, in blocks of the machine's eight instead of 32. The kernels
that encode and decode take these tables and numbers from here, so that a format and its rules are one object everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.errors import TargetError
from plena_mlir.numerics.bf16 import F32

I64: TypeAlias = NDArray[np.int64]
Variant: TypeAlias = Literal["machine", "staging"]

RULES = ("plena", "ocp")
"""The profiles by name."""

SCALE_BIAS = 127
LARGEST_SCALE = 254
"""The scale byte of the largest finite factor."""

# Positions in the array of `encoder_rule`.
IS_OCP = 0
EXPONENT_BITS = 1
MANTISSA_BITS = 2
ZERO_BLOCK_SCALE = 3
ZEROED_CODE = 4
LARGEST_CODE = 5
LARGEST_EXPONENT = 6
NAN_CODE = 7


@dataclass(frozen=True)
class MxFormat:
    """A sign, `exponent_bits` and `mantissa_bits` per element (8 bits in all), one E8M0 scale byte per `block` elements.

    Attributes:
        rules: what codes and scale bytes mean and how values become them, one of `RULES`.
    """

    exponent_bits: int
    mantissa_bits: int
    block: int = 8
    rules: str = "plena"

    def __post_init__(self) -> None:
        if self.exponent_bits + self.mantissa_bits != 7 or self.exponent_bits < 1 or self.block != 8:
            raise TargetError(f"no such machine format: {self}", hint="elements have 8 bits with the sign, blocks 8 elements")
        if self.rules not in RULES:
            raise TargetError(f"unknown numerics {self.rules!r}", hint=f"use {' or '.join(RULES)}")
        if self.rules == "ocp" and self.exponent_bits not in (4, 5):
            raise TargetError(f"no such OCP format: {self}", hint="elements of 8 bits are E4M3 and E5M2")

    @property
    def is_ocp(self) -> bool:
        return self.rules == "ocp"

    @property
    def bias(self) -> int:
        """Exponent bias of an element."""
        return (1 << (self.exponent_bits - 1)) - 1

    @property
    def smallest_exponent(self) -> int:
        """The exponent of elements whose exponent code is 0: one lower for the machine than for IEEE formats."""
        return 1 - self.bias if self.is_ocp else -self.bias

    @property
    def largest_code(self) -> int:
        """The code of the largest finite element. The E4M3 of OCP keeps only its very last code for NaN and has no infinity."""
        if self.is_ocp and self.exponent_bits == 4:
            return 0x7E
        return (((1 << self.exponent_bits) - 1) << self.mantissa_bits) - 1

    @property
    def largest_exponent(self) -> int:
        """The exponent of the largest finite element."""
        return (self.largest_code >> self.mantissa_bits) - self.bias

    @property
    def nan_code(self) -> int:
        """What the encoder makes of NaN: +1 on the machine, under OCP the quiet NaN, to which the sign is added."""
        if not self.is_ocp:
            return self.bias << self.mantissa_bits
        return 0x7F if self.exponent_bits == 4 else (self.largest_code + 1) | (1 << (self.mantissa_bits - 1))

    @property
    def largest_error(self) -> float:
        """Bound of the error of an encoded element, relative to the largest element of its block.

        The largest element itself reaches it. Fractions of the mantissa up to a half may round down, on the machine up to .75; what
        lies between the largest mantissa and the next power of two saturates.
        """
        place = 2.0**-self.mantissa_bits
        dropped = (0.5 if self.is_ocp else 0.75) * place
        largest = float(element_table(self)[self.largest_code])
        saturated = 1 - largest / 2.0 ** (self.largest_exponent + 1)
        return max(dropped / (1 + dropped), saturated)


MXFP8_E4M3 = MxFormat(4, 3)
MXFP8_E5M2 = MxFormat(5, 2)


def mx_format(name: str, numerics: str) -> MxFormat:
    """The format that a target's precision calls `name`, with the rules of the target's `numerics`."""
    fmt = {"mxfp8_e4m3": MXFP8_E4M3, "mxfp8_e5m2": MXFP8_E5M2}[name]
    return MxFormat(fmt.exponent_bits, fmt.mantissa_bits, rules=numerics)


@cache
def element_table(fmt: MxFormat) -> F32:
    """The float32 value of each of the 256 element codes."""
    codes = np.arange(256)
    exponents = (codes & 0x7F) >> fmt.mantissa_bits
    fractions = (codes & ((1 << fmt.mantissa_bits) - 1)) / (1 << fmt.mantissa_bits)
    with np.errstate(all="ignore"):
        values = np.where(exponents == 0, fractions * 2.0**fmt.smallest_exponent, (1 + fractions) * 2.0 ** (exponents - fmt.bias))
    special = (codes & 0x7F) > fmt.largest_code
    has_infinity = fmt.largest_code & ((1 << fmt.mantissa_bits) - 1) == (1 << fmt.mantissa_bits) - 1
    values[special] = np.where((fractions[special] == 0) & has_infinity, np.inf, np.nan)
    return np.where(codes < 128, values, -values).astype(np.float32)


@cache
def scale_table(rules: str) -> F32:
    """The float32 value of each scale byte k: 2^(k - 127), but for 0 and 255, which the machine takes for 0 and infinity. Under OCP
    0 is no exception and 255 is NaN.
    """
    values = 2.0 ** (np.arange(256) - SCALE_BIAS)
    if rules == "ocp":
        values[255] = np.nan
    else:
        values[0], values[255] = 0.0, np.inf
    return values.astype(np.float32)


@cache
def encoder_rule(fmt: MxFormat, variant: Variant) -> I64:
    """How `encode_blocks` encodes, as numbers at the positions named above.

    Under OCP there is one rule. On the machine, H_STORE_V gives a block of zeros the scale byte 0 and keeps the sign of what rounds
    to zero; the staging tools write floor(log2(1e-9)) + 127 and drop the sign (machine specification, sections 8.2 and 8.3).
    """
    rule = np.zeros(8, np.int64)
    staging = variant == "staging" and not fmt.is_ocp
    rule[IS_OCP] = fmt.is_ocp
    rule[EXPONENT_BITS], rule[MANTISSA_BITS] = fmt.exponent_bits, fmt.mantissa_bits
    # Of the codes of zero, the one that is replaced by the other; no code is -1.
    rule[ZERO_BLOCK_SCALE], rule[ZEROED_CODE] = (97, 128) if staging else (0, -1)
    rule[LARGEST_CODE], rule[LARGEST_EXPONENT], rule[NAN_CODE] = fmt.largest_code, fmt.largest_exponent, fmt.nan_code
    return rule


def shifted_scales(fmt: MxFormat, shift: int) -> NDArray[np.int16]:
    """Per scale byte, the one of 2**shift times its factor, or -1 if there is none; a factor of 0 stays."""
    shifted = np.arange(256, dtype=np.int16) + np.int16(shift)
    shifted[(shifted < (0 if fmt.is_ocp else 1)) | (shifted > LARGEST_SCALE)] = -1
    shifted[255] = -1
    if not fmt.is_ocp:
        shifted[0] = 0
    return shifted
