"""The matrix unit (machine specification, section 4.1).

L = MLEN, K = BLEN, H = HLEN, B = BROADCAST. Each instruction forms R = round_f32(sum over ascending k in float64) per output and
then acc = round_f32(acc + R), the broadcast forms with round_f32(0.25 R). Every function returns a status of `traps`.
"""

from __future__ import annotations

import numpy as np

from plena_mlir.emulator.kernels.memory import row_to_read, row_to_write, rows_to_read
from plena_mlir.emulator.kernels.state import WORD_MASK, Geometry, Matrix, Vram
from plena_mlir.emulator.kernels.traps import (
    MATRIX_OFFSET_BLOCK,
    MATRIX_OFFSET_HEAD,
    MATRIX_OFFSET_ROW,
    MRAM_ADDRESS,
    OK,
    VRAM_ADDRESS,
    WRITE_OUT_LANE,
)
from plena_mlir.numerics.bf16 import Integer, store_f32
from plena_mlir.numerics.compile import inline_kernel, inner_kernel
from plena_mlir.numerics.matmul import F32, sum_products

BROADCAST_SCALE = np.float32(0.25)
"""The constant that M_BMM, M_BTMM and M_BTMV multiply by."""


@inline_kernel
def tile_offset(geometry: Geometry, matrix: Matrix, address: Integer) -> tuple[Integer, Integer]:
    """The tile that holds an element address and the offset in it; tile -1 past the end."""
    elements = geometry.mlen * geometry.mlen
    tile = address // elements
    if tile >= matrix.tiles.shape[0]:
        return -1, 0
    return tile, address - tile * elements


@inline_kernel
def add_to(accumulator: F32, matrix: Matrix) -> None:
    """accumulator [m, n] += the sums [m, n] rounded to float32."""
    for i in range(accumulator.shape[0]):
        for j in range(accumulator.shape[1]):
            accumulator[i, j] += np.float32(matrix.sums[i, j])


@inline_kernel
def add_scaled_to(accumulator: F32, matrix: Matrix) -> None:
    """accumulator [m, n] += the sums [m, n] rounded to float32, times 0.25 in float32."""
    for i in range(accumulator.shape[0]):
        for j in range(accumulator.shape[1]):
            accumulator[i, j] += np.float32(matrix.sums[i, j]) * BROADCAST_SCALE


@inner_kernel
def m_mm(geometry: Geometry, vram: Vram, matrix: Matrix, weights_at: Integer, rows_at: Integer, transposed: bool) -> int:
    """M_MM, and M_TMM with `transposed`: m_acc += K rows by K columns of a tile, or of its transpose."""
    length, block = geometry.mlen, geometry.blen
    tile, offset = tile_offset(geometry, matrix, weights_at)
    if tile < 0:
        return MRAM_ADDRESS
    if offset % (block * length):
        return MATRIX_OFFSET_ROW
    first = rows_to_read(vram, rows_at, block)
    if first < 0:
        return VRAM_ADDRESS
    weights = matrix.transposed[tile] if transposed else matrix.tiles[tile]
    sum_products(vram.rows[first : first + block], weights, 0, offset // length, matrix.sums, block)
    add_to(matrix.m_acc, matrix)
    return OK


@inner_kernel
def m_mm_wo(geometry: Geometry, vram: Vram, matrix: Matrix, address: Integer, stride: Integer) -> int:
    """M_MM_WO: m_acc into K lanes of K rows, `stride` rows apart; clears m_acc."""
    length, block = geometry.mlen, geometry.blen
    lane = address % length
    if lane % block:
        return WRITE_OUT_LANE
    for i in range(block):
        row = row_to_read(vram, (address - lane + i * length * stride) & WORD_MASK)
        if row < 0:
            return VRAM_ADDRESS
        row = row_to_write(vram, row * length)
        for j in range(block):
            vram.rows[row, lane + j] = store_f32(matrix.m_acc[i, j])
    matrix.m_acc[:] = 0.0
    return OK


@inner_kernel
def m_mv(geometry: Geometry, vram: Vram, matrix: Matrix, weights_at: Integer, rows_at: Integer, transposed: bool) -> int:
    """M_MV, and M_TMV with `transposed`: v_acc += one row by K columns of a tile, or by the first K of its transpose."""
    length, block = geometry.mlen, geometry.blen
    tile, offset = tile_offset(geometry, matrix, weights_at)
    if tile < 0 or (transposed and offset):
        return MRAM_ADDRESS
    if offset % block or offset >= length:
        return MATRIX_OFFSET_BLOCK
    row = row_to_read(vram, rows_at)
    if row < 0:
        return VRAM_ADDRESS
    weights = matrix.transposed[tile] if transposed else matrix.tiles[tile]
    sum_products(vram.rows[row : row + 1], weights, 0, offset, matrix.sums, block)
    for j in range(block):
        matrix.v_acc[j] += np.float32(matrix.sums[0, j])
    return OK


@inner_kernel
def m_mv_wo(geometry: Geometry, vram: Vram, matrix: Matrix, address: Integer) -> int:
    """M_MV_WO: v_acc into K lanes of one row; clears v_acc."""
    length, block = geometry.mlen, geometry.blen
    lane = address % length
    if lane % block:
        return WRITE_OUT_LANE
    row = row_to_read(vram, address - lane)
    if row < 0:
        return VRAM_ADDRESS
    row = row_to_write(vram, row * length)
    for j in range(block):
        vram.rows[row, lane + j] = store_f32(matrix.v_acc[j])
    matrix.v_acc[:] = 0.0
    return OK


@inner_kernel
def m_bmm(geometry: Geometry, vram: Vram, matrix: Matrix, weights_at: Integer, rows_at: Integer, transposed: bool) -> int:
    """M_BTMM with `transposed`: per head, L query rows by the H-column slice of a tile, transposed; heads are contiguous lanes.

    M_BMM without: by the H-row slice; the lanes of the heads are interleaved.
    """
    length, head, heads = geometry.mlen, geometry.hlen, geometry.broadcast
    tile, offset = tile_offset(geometry, matrix, weights_at)
    if tile < 0:
        return MRAM_ADDRESS
    if offset >= length or offset % head:
        return MATRIX_OFFSET_HEAD
    first = rows_to_read(vram, rows_at, length)
    if first < 0:
        return VRAM_ADDRESS
    rows = vram.rows[first : first + length]
    weights = matrix.transposed[tile] if transposed else matrix.tiles[tile]
    for index in range(heads):
        lanes = rows[:, index * head : (index + 1) * head : 1] if transposed else rows[:, index::heads]
        sum_products(lanes, weights, offset, 0, matrix.sums, length)
        add_scaled_to(matrix.hm_acc[index], matrix)
    return OK


@inner_kernel
def m_bmm_wo(geometry: Geometry, vram: Vram, matrix: Matrix, address: Integer) -> int:
    """M_BMM_WO: hm_acc into B * L rows, head after head; clears hm_acc."""
    length = geometry.mlen
    for index in range(geometry.broadcast):
        for i in range(length):
            row = row_to_write(vram, (address + (index * length + i) * length) & WORD_MASK)
            if row < 0:
                return VRAM_ADDRESS
            for j in range(length):
                vram.rows[row, j] = store_f32(matrix.hm_acc[index, i, j])
    matrix.hm_acc[:] = 0.0
    return OK


@inner_kernel
def m_btmv(geometry: Geometry, vram: Vram, matrix: Matrix, weights_at: Integer, rows_at: Integer) -> int:
    """M_BTMV: as M_BTMM with one query row, into hv_acc."""
    length, head = geometry.mlen, geometry.hlen
    tile, offset = tile_offset(geometry, matrix, weights_at)
    if tile < 0:
        return MRAM_ADDRESS
    if offset >= length or offset % head:
        return MATRIX_OFFSET_HEAD
    row = row_to_read(vram, rows_at)
    if row < 0:
        return VRAM_ADDRESS
    for index in range(geometry.broadcast):
        lanes = vram.rows[row : row + 1, index * head : (index + 1) * head : 1]
        sum_products(lanes, matrix.transposed[tile], offset, 0, matrix.sums, length)
        add_scaled_to(matrix.hv_acc[index : index + 1], matrix)
    return OK


@inner_kernel
def m_bmv_wo(geometry: Geometry, vram: Vram, matrix: Matrix, address: Integer) -> int:
    """M_BMV_WO: hv_acc into B rows; clears hv_acc."""
    length = geometry.mlen
    for index in range(geometry.broadcast):
        row = row_to_write(vram, (address + index * length) & WORD_MASK)
        if row < 0:
            return VRAM_ADDRESS
        for j in range(length):
            vram.rows[row, j] = store_f32(matrix.hv_acc[index, j])
    matrix.hv_acc[:] = 0.0
    return OK
