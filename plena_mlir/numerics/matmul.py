"""The matrix primitive of the machine: every product sum in float64 over ascending k, rounded once to float32.

A product of two float32 values is exact in float64, so only the order of the additions matters; loops may be vectorised over the
outputs, never over k. Interpreters and emulator call the same functions.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import allocating_kernel, inner_kernel

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]

NARROW = 16
"""Most columns for which sums that stay in registers beat passes over whole rows of sums."""


@inner_kernel
def sum_products(x: F32, w: F64, row: Integer, column: Integer, sums: F64, columns: int) -> None:
    """sums[m, :columns] = x[m, k] by the slice of w that starts at `row` and `column`, k rows and `columns` columns.

    The best loop order depends on how many columns there are.
    """
    if columns % 4 == 0 and columns <= NARROW and x.shape[0] % 4 == 0:
        _sum_narrow(x, w, row, column, sums, columns)
    else:
        _sum_wide(x, w, row, column, sums, columns)


@inner_kernel
def _sum_wide(x: F32, w: F64, row: Integer, column: Integer, sums: F64, columns: int) -> None:
    """Four steps of k share one pass over a row of sums; each sum still adds its terms one after the other."""
    rows, depth = x.shape
    for i in range(rows):
        for j in range(columns):
            sums[i, j] = 0.0
        k = 0
        while k + 4 <= depth:
            x0, x1 = np.float64(x[i, k]), np.float64(x[i, k + 1])
            x2, x3 = np.float64(x[i, k + 2]), np.float64(x[i, k + 3])
            for j in range(columns):
                total = sums[i, j] + x0 * w[row + k, column + j]
                total += x1 * w[row + k + 1, column + j]
                total += x2 * w[row + k + 2, column + j]
                sums[i, j] = total + x3 * w[row + k + 3, column + j]
            k += 4
        while k < depth:
            x0 = np.float64(x[i, k])
            for j in range(columns):
                sums[i, j] += x0 * w[row + k, column + j]
            k += 1


@inner_kernel
def _sum_narrow(x: F32, w: F64, row: Integer, column: Integer, sums: F64, columns: int) -> None:
    """For multiples of 4 rows and columns: 16 sums at a time stay in registers over all of k."""
    rows, depth = x.shape
    for i in range(0, rows, 4):
        for j in range(0, columns, 4):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = 0.0
            at = column + j
            for k in range(depth):
                w0, w1, w2, w3 = w[row + k, at], w[row + k, at + 1], w[row + k, at + 2], w[row + k, at + 3]
                a, b = np.float64(x[i, k]), np.float64(x[i + 1, k])
                c, d = np.float64(x[i + 2, k]), np.float64(x[i + 3, k])
                a0, a1, a2, a3 = a0 + a * w0, a1 + a * w1, a2 + a * w2, a3 + a * w3
                b0, b1, b2, b3 = b0 + b * w0, b1 + b * w1, b2 + b * w2, b3 + b * w3
                c0, c1, c2, c3 = c0 + c * w0, c1 + c * w1, c2 + c * w2, c3 + c * w3
                d0, d1, d2, d3 = d0 + d * w0, d1 + d * w1, d2 + d * w2, d3 + d * w3
            sums[i, j], sums[i, j + 1], sums[i, j + 2], sums[i, j + 3] = a0, a1, a2, a3
            sums[i + 1, j], sums[i + 1, j + 1], sums[i + 1, j + 2], sums[i + 1, j + 3] = b0, b1, b2, b3
            sums[i + 2, j], sums[i + 2, j + 1], sums[i + 2, j + 2], sums[i + 2, j + 3] = c0, c1, c2, c3
            sums[i + 3, j], sums[i + 3, j + 1], sums[i + 3, j + 2], sums[i + 3, j + 3] = d0, d1, d2, d3


@allocating_kernel
def multiply_nn(x: F32, w: F32, out: F32) -> None:
    """out[m, n] = x[m, k] by w[k, n]."""
    wide = w.astype(np.float64)
    sums = np.empty((x.shape[0], w.shape[1]), np.float64)
    sum_products(x, wide, 0, 0, sums, sums.shape[1])
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
    sum_products(x, wide, 0, 0, sums, sums.shape[1])
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
