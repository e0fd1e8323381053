"""What every PLENA machine has in common. The kernels of the emulator compile these numbers in."""

MX_BLOCK = 8
"""Elements that share one scale byte."""

HBM_BLOCK = 64
"""Bytes of one HBM access."""

SCALAR_SRAM_WORDS = 1024
"""Entries of the FP SRAM and of the INT SRAM."""
