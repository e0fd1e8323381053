"""The matrix primitive of the machine: every product sum in float64 over ascending k, rounded once to float32.

A product of two float32 values is exact in float64, so only the order of the additions matters; loops may be vectorised over the
outputs, never over k. Interpreters and emulator call the same functions.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.numerics.compile import allocating_kernel, kernel

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]


@kernel
def accumulate_products(x: F32, w: F64, sums: F64, columns: int) -> None:
    """sums[m, :columns] = x[m, k] by w[k, :columns], for any m and k.

    Four steps of k share one pass over a row of sums; each sum still adds its terms one after the other.
    """
    rows, depth = x.shape
    for i in range(rows):
        for j in range(columns):
            sums[i, j] = 0.0
        k = 0
        while k + 4 <= depth:
            x0, x1 = np.float64(x[i, k]), np.float64(x[i, k + 1])
            x2, x3 = np.float64(x[i, k + 2]), np.float64(x[i, k + 3])
            for j in range(columns):
                sums[i, j] = (((sums[i, j] + x0 * w[k, j]) + x1 * w[k + 1, j]) + x2 * w[k + 2, j]) + x3 * w[k + 3, j]
            k += 4
        while k < depth:
            x0 = np.float64(x[i, k])
            for j in range(columns):
                sums[i, j] += x0 * w[k, j]
            k += 1


@allocating_kernel
def multiply_nn(x: F32, w: F32, out: F32) -> None:
    """out[m, n] = x[m, k] by w[k, n]."""
    wide = w.astype(np.float64)
    sums = np.empty((x.shape[0], w.shape[1]), np.float64)
    accumulate_products(x, wide, sums, sums.shape[1])
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = np.float32(sums[i, j])


@allocating_kernel
def multiply_nt(x: F32, w: F32, out: F32) -> None:
    """out[m, n] = x[m, k] by w[n, k] transposed."""
    columns, depth = w.shape
    wide = np.empty((depth, columns), np.float64)
    for j in range(columns):
        for k in range(depth):
            wide[k, j] = w[j, k]
    sums = np.empty((x.shape[0], columns), np.float64)
    accumulate_products(x, wide, sums, sums.shape[1])
    for i in range(out.shape[0]):
        for j in range(columns):
            out[i, j] = np.float32(sums[i, j])


def matmul_nn(x: F32, w: F32) -> F32:
    """x[m, k] by w[k, n]: float32 [m, n], each element the float64 sum over ascending k rounded once."""
    out = np.empty((x.shape[0], w.shape[1]), np.float32)
    multiply_nn(np.ascontiguousarray(x, np.float32), np.ascontiguousarray(w, np.float32), out)
    return out


def matmul_nt(x: F32, w: F32) -> F32:
    """x[m, k] by w[n, k] transposed: float32 [m, n], each element the float64 sum over ascending k rounded once."""
    out = np.empty((x.shape[0], w.shape[0]), np.float32)
    multiply_nt(np.ascontiguousarray(x, np.float32), np.ascontiguousarray(w, np.float32), out)
    return out
