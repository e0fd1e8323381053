"""Both roundings of the machine to bf16 on all 2^32 float32 values: `python tools/check_bf16.py`.

The rounded value is compared with the nearer of its two neighbours, found in float64, where all three are exact, instead of with
another computation on the same bits. NaN are compared with the rules for their payloads (machine specification, section 3).
"""

from __future__ import annotations

import sys
import time

import numba
import numpy as np
from numpy.typing import NDArray

from plena_mlir.numerics.bf16 import round_bf16, round_registers

U32 = NDArray[np.uint32]

PART = 1 << 24


@numba.njit(nogil=True, error_model="numpy")
def magnitude(bits: int) -> float:
    """The absolute value of float32 bits; the power of two after the last one for infinity."""
    value = np.float64(np.uint32(bits & 0x7FFFFFFF).view(np.float32))
    return min(value, 2.0**128)


@numba.njit(nogil=True, error_model="numpy")
def first_difference(first: int, stored: U32, register: U32) -> int:
    """The first of the float32 bits from `first` on that was rounded to something else than its nearest neighbour, or -1."""
    for index in range(stored.size):
        bits = first + index
        upper = bits & 0xFFFF0000
        if bits & 0x7FFFFFFF > 0x7F800000:
            payload = np.int64(np.rint((bits & 0x7FFFFF) / 65536.0)) % 128
            in_memory, in_register = (bits & 0xFF800000) + payload * 65536, upper | 0x400000
        else:
            following = upper if upper & 0x7F800000 == 0x7F800000 else upper + 0x10000
            down, up = (magnitude(bits) - magnitude(upper), magnitude(following) - magnitude(bits))
            in_memory = following if up < down or (up == down and upper & 0x10000) else upper
            in_register = in_memory
        if stored[index] != in_memory or register[index] != in_register:
            return bits
    return -1


def main() -> int:
    """Check every value; the exit status."""
    start = time.perf_counter()
    for first in range(0, 1 << 32, PART):
        bits = np.arange(first, first + PART, dtype=np.uint32)
        values = bits.view(np.float32)
        found = first_difference(first, round_bf16(values).view(np.uint32), round_registers(values).view(np.uint32))
        if found >= 0:
            print(f"float32 {found:#010x} is rounded wrongly")
            return 1
    print(f"all 2^32 float32 values are rounded to the nearest bf16, {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
