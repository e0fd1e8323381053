"""The matrix primitive of the machine: every product sum in float64 over ascending k, rounded once to float32.

A product of two float32 values is exact in float64 (24 and 24 bits of 53, exponents far from its limits), so only the order of the
additions matters: loops may be vectorised over the outputs, never over k, and a fused multiply-add gives the same bits as a product
and a sum, with or without such an instruction in the processor. Interpreters and emulator call the same functions.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import allocating_kernel, fused_kernel, inner_kernel

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]

NARROW = 16
"""Most columns for which sums that stay in registers beat passes over whole rows of sums."""


@inner_kernel
def sum_products(x: F32, w: F64, row: Integer, column: Integer, sums: F64, columns: int) -> None:
    """sums[m, :columns] = x[m, k] by the slice of w that starts at `row` and `column`, k rows and `columns` columns.

    The best loop order depends on how many rows and columns there are.
    """
    if columns % 4 == 0 and columns <= NARROW and x.shape[0] % 4 == 0:
        _sum_narrow(x, w, row, column, sums, columns)
    else:
        _sum_four_rows(x, w, row, column, sums, columns)
        _sum_last_rows(x, w, row, column, sums, columns)


@fused_kernel
def _sum_four_rows(x: F32, w: F64, row: Integer, column: Integer, sums: F64, columns: int) -> None:
    """The rows of x by fours, without what is left over: one load of w serves four rows and one load of a sum four steps of k.

    Each sum still adds its terms one after the other. Products are float64 since w is.
    """
    rows, depth = x.shape
    for i in range(0, rows - 3, 4):
        p, q, r, t = x[i], x[i + 1], x[i + 2], x[i + 3]
        a, b, c, d = sums[i], sums[i + 1], sums[i + 2], sums[i + 3]
        for j in range(columns):
            a[j] = b[j] = c[j] = d[j] = 0.0
        k = 0
        while k + 4 <= depth:
            a0, a1, a2, a3 = p[k], p[k + 1], p[k + 2], p[k + 3]
            b0, b1, b2, b3 = q[k], q[k + 1], q[k + 2], q[k + 3]
            c0, c1, c2, c3 = r[k], r[k + 1], r[k + 2], r[k + 3]
            d0, d1, d2, d3 = t[k], t[k + 1], t[k + 2], t[k + 3]
            w0, w1, w2, w3 = w[row + k], w[row + k + 1], w[row + k + 2], w[row + k + 3]
            for j in range(columns):
                u0, u1, u2, u3 = w0[column + j], w1[column + j], w2[column + j], w3[column + j]
                a[j] = (((a[j] + a0 * u0) + a1 * u1) + a2 * u2) + a3 * u3
                b[j] = (((b[j] + b0 * u0) + b1 * u1) + b2 * u2) + b3 * u3
                c[j] = (((c[j] + c0 * u0) + c1 * u1) + c2 * u2) + c3 * u3
                d[j] = (((d[j] + d0 * u0) + d1 * u1) + d2 * u2) + d3 * u3
            k += 4
        while k < depth:
            w0 = w[row + k]
            for j in range(columns):
                a[j] += p[k] * w0[column + j]
                b[j] += q[k] * w0[column + j]
                c[j] += r[k] * w0[column + j]
                d[j] += t[k] * w0[column + j]
            k += 1


@fused_kernel
def _sum_last_rows(x: F32, w: F64, row: Integer, column: Integer, sums: F64, columns: int) -> None:
    """The rows of x that no four of them hold, one by one."""
    rows, depth = x.shape
    for i in range(rows - rows % 4, rows):
        p, a = x[i], sums[i]
        for j in range(columns):
            a[j] = 0.0
        k = 0
        while k + 4 <= depth:
            a0, a1, a2, a3 = p[k], p[k + 1], p[k + 2], p[k + 3]
            w0, w1, w2, w3 = w[row + k], w[row + k + 1], w[row + k + 2], w[row + k + 3]
            for j in range(columns):
                total = ((a[j] + a0 * w0[column + j]) + a1 * w1[column + j]) + a2 * w2[column + j]
                a[j] = total + a3 * w3[column + j]
            k += 4
        while k < depth:
            w0 = w[row + k]
            for j in range(columns):
                a[j] += p[k] * w0[column + j]
            k += 1


@fused_kernel
def _sum_narrow(x: F32, w: F64, row: Integer, column: Integer, sums: F64, columns: int) -> None:
    """For multiples of 4 rows and columns: 16 sums at a time stay in registers over all of k."""
    rows, depth = x.shape
    for i in range(0, rows, 4):
        for j in range(0, columns, 4):
            a0 = a1 = a2 = a3 = b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = d0 = d1 = d2 = d3 = 0.0
            at = column + j
            for k in range(depth):
                w0, w1, w2, w3 = w[row + k, at], w[row + k, at + 1], w[row + k, at + 2], w[row + k, at + 3]
                a, b, c, d = x[i, k], x[i + 1, k], x[i + 2, k], x[i + 3, k]
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
