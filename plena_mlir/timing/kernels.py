"""Cycles of HBM transfers by the cheap approximation (machine specification, section 7.1).

These closed forms stand where an exact DRAM model belongs: both answer how long one transfer of a program takes.
"""

from __future__ import annotations

import numpy as np

from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import inner_kernel

BLOCK = 64
"""Bytes of one HBM access."""

FIRST_ACCESS = 20.0
BYTES_PER_CYCLE = 119.0
REPEATED_SCALES = 1.35
"""The scale bytes of all rows lie in few blocks, which come from the same channels."""
FAR_STRIDE = 512
FAR_ROWS = 1.8
"""Rows that far apart open a DRAM row each and use few channels."""
STORE_ACCESS = 13.5
"""A store reads each block before it writes it, one after the other."""


@inner_kernel
def load_cycles(rows: int, width: int, step: Integer) -> Integer:
    """Cycles of a prefetch of `rows` rows of `width` bytes and their scale blocks, `step` bytes apart."""
    blocks = rows * ((width + BLOCK - 1) // BLOCK + 1)
    cycles = REPEATED_SCALES * (FIRST_ACCESS + blocks * BLOCK / BYTES_PER_CYCLE)
    # A few rows do not queue long enough for their distance to matter.
    return np.int64(np.rint(cycles * FAR_ROWS if step >= FAR_STRIDE and rows > 8 else cycles))


@inner_kernel
def store_cycles(rows: int, width: int) -> Integer:
    """Cycles of a store of `rows` rows of `width` bytes with their scale bytes."""
    blocks = (width + BLOCK - 1) // BLOCK + (width // 8 + BLOCK - 1) // BLOCK
    return np.int64(np.rint(rows * blocks * STORE_ACCESS))
