"""Row reductions of the machine, V_RED_SUM and V_RED_MAX (machine specification, section 4.2)."""

from __future__ import annotations

import numpy as np

from plena_mlir.numerics.bf16 import F32, Real, round_register
from plena_mlir.numerics.compile import inner_kernel, kernel


@inner_kernel
def row_sum(row: F32) -> Real:
    """The sum of one row: float64 in ascending order, rounded to float32."""
    total = 0.0
    for lane in range(row.shape[0]):
        total += np.float64(row[lane])
    return np.float32(total)


@inner_kernel
def row_max(row: F32) -> Real:
    """The largest element of one row; NaN if any element is."""
    largest = row[0]
    for lane in range(1, row.shape[0]):
        value = row[lane]
        if value > largest or value != value:
            largest = value
    return largest


@inner_kernel
def add_to_register(register: Real, total: Real) -> Real:
    """What V_RED_SUM leaves in its register: register + total in float32, rounded to bf16."""
    return round_register(np.float32(register) + np.float32(total))


@inner_kernel
def max_with_register(register: Real, largest: Real) -> Real:
    """What V_RED_MAX leaves in its register: the larger one, where a NaN on either side loses."""
    if register != register or largest > register:
        return np.float32(largest)
    return np.float32(register)


@kernel
def _sum_rows(rows: F32, registers: F32, out: F32) -> None:
    for index in range(rows.shape[0]):
        out[index] = add_to_register(registers[index], row_sum(rows[index]))


@kernel
def _max_rows(rows: F32, registers: F32, out: F32) -> None:
    for index in range(rows.shape[0]):
        out[index] = max_with_register(registers[index], row_max(rows[index]))


def reduce_sum(rows: F32, registers: F32) -> F32:
    """V_RED_SUM of rows [n, lanes] into registers [n]; both bf16, the result [n] too."""
    out = np.empty(rows.shape[0], np.float32)
    _sum_rows(np.ascontiguousarray(rows, np.float32), np.ascontiguousarray(registers, np.float32), out)
    return out


def reduce_max(rows: F32, registers: F32) -> F32:
    """V_RED_MAX of rows [n, lanes] into registers [n]; both bf16, the result [n] too."""
    out = np.empty(rows.shape[0], np.float32)
    _max_rows(np.ascontiguousarray(rows, np.float32), np.ascontiguousarray(registers, np.float32), out)
    return out
