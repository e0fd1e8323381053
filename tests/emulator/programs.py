"""Small programs for the emulator's tests: assembly in, result out, with one weight tile and rows of data in place."""

from typing import Any

import numpy as np

from plena_mlir.backend import encode, parse_asm
from plena_mlir.emulator import RunResult, run_program
from plena_mlir.numerics import MXFP8_E4M3, mx_decode, mx_encode, round_bf16
from plena_mlir.target import Target, load_target

TINY = load_target("8x4x4")
"""Two heads of four lanes; tiles of 64 elements, micro-tiles of 4."""


def run_asm(text: str, target: Target = TINY, **options: Any) -> RunResult:
    """Run assembly text; options are those of `run_program`."""
    return run_program(encode(parse_asm(text)), target, **options)


def pitch(lanes: int) -> int:
    """Bytes between stored rows: a power of two, so that the scales of a row never straddle a 64-byte block."""
    return 1 << (lanes - 1).bit_length()


def hbm_tile(values: np.ndarray, address: int = 0) -> list[tuple[int, bytes]]:
    """HBM segments of a tile: its elements, padded to the pitch, and right behind them its scales."""
    rows, lanes = values.shape
    elements, scales = mx_encode(np.pad(values, ((0, 0), (0, pitch(lanes) - lanes))), MXFP8_E4M3)
    return [(address, elements.tobytes()), (address + rows * pitch(lanes), scales.tobytes())]


def stored(values: np.ndarray) -> np.ndarray:
    """What a tile reads back as."""
    return mx_decode(*mx_encode(values, MXFP8_E4M3), MXFP8_E4M3)


def random_rows(rows: int, lanes: int, seed: int = 0) -> np.ndarray:
    """bf16 values [rows, lanes]."""
    return round_bf16(np.random.default_rng(seed).normal(size=(rows, lanes)).astype(np.float32))


def load_tile_asm(target: Target = TINY) -> str:
    """Prefetch the tile at HBM address 0 into Matrix SRAM tile 0; leaves gp1 changed."""
    return (
        f"S_ADDI_INT gp1, gp0, {target.mlen * pitch(target.mlen)}\nC_SET_SCALE_REG gp1\n"
        f"S_ADDI_INT gp1, gp0, {pitch(target.mlen)}\nC_SET_STRIDE_REG gp1\nH_PREFETCH_M gp0, gp0, a0, 1, 0\n"
    )


def f32_product(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """x by w, each sum in float64 over ascending k and rounded to float32 once."""
    total = np.zeros((x.shape[0], w.shape[1]))
    for k in range(x.shape[1]):
        total += x[:, k : k + 1].astype(np.float64) * w[k : k + 1].astype(np.float64)
    return total.astype(np.float32)
