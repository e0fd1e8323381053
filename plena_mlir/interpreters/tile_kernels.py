"""What the unit operations of plena_tile compute, on flat arrays (machine specification, sections 4.1, 4.2 and 4.6).

Rows and tiles are given by the element offset of their first element, which the caller has checked. Vector SRAM holds bf16 values
as float32, Matrix SRAM float32.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.numerics.bf16 import Integer, Real, round_register, store_bits
from plena_mlir.numerics.compile import allocating_kernel, inline_kernel, kernel
from plena_mlir.numerics.matmul import multiply_nn, multiply_nt
from plena_mlir.numerics.mx import decode_blocks, encode_blocks
from plena_mlir.numerics.reduce import add_to_register, max_with_register, row_max, row_sum
from plena_mlir.target.hardware import HBM_BLOCK, MX_BLOCK

F32: TypeAlias = NDArray[np.float32]
U8: TypeAlias = NDArray[np.uint8]
U32: TypeAlias = NDArray[np.uint32]
I64: TypeAlias = NDArray[np.int64]

ADD, SUB, RSUB, MUL, MAX, MIN = range(6)
"""Kinds of `binary` and `scalar`."""


@inline_kernel
def _stored(value: Real) -> Integer:
    """The float32 bits that a Vector SRAM write leaves of a float32 value."""
    return store_bits(np.int64(np.float32(value).view(np.uint32)))


@kernel
def binary(kind: int, target: F32, t: int, lhs: F32, a: int, rhs: F32, b: int, lanes: int) -> None:
    """target row = lhs row kind rhs row, for ADD, SUB and MUL."""
    bits = target.view(np.uint32)
    if kind == ADD:
        for lane in range(lanes):
            bits[t + lane] = _stored(lhs[a + lane] + rhs[b + lane])
    elif kind == SUB:
        for lane in range(lanes):
            bits[t + lane] = _stored(lhs[a + lane] - rhs[b + lane])
    else:
        for lane in range(lanes):
            bits[t + lane] = _stored(lhs[a + lane] * rhs[b + lane])


@kernel
def scalar(kind: int, target: F32, t: int, row: F32, a: int, value: Real, lanes: int) -> None:
    """target row = row kind value. MAX and MIN give NaN when either side is, and keep the row's zero against one of other sign."""
    bits = target.view(np.uint32)
    operand = np.float32(value)
    for lane in range(lanes):
        x = row[a + lane]
        if kind == ADD:
            result = x + operand
        elif kind == SUB:
            result = x - operand
        elif kind == RSUB:
            result = operand - x
        elif kind == MUL:
            result = x * operand
        elif kind == MAX:
            result = operand if operand > x or operand != operand else x
        else:
            result = operand if operand < x or operand != operand else x
        bits[t + lane] = _stored(result)


@kernel
def unary(table: F32, target: F32, t: int, row: F32, a: int, lanes: int) -> None:
    """target row = table at the bf16 bits of row."""
    bits = row.view(np.uint32)
    for lane in range(lanes):
        target[t + lane] = table[bits[a + lane] >> 16]


@kernel
def shift(target: F32, t: int, row: F32, a: int, amount: int, lanes: int) -> None:
    """target row = row moved `amount` lanes up, zeros below; target may be row."""
    for lane in range(lanes - 1, -1, -1):
        target[t + lane] = row[a + lane - amount] if lane >= amount else np.float32(0.0)


@kernel
def reduce_row_sum(init: Real, row: F32, a: int, lanes: int) -> Real:
    """init + the sum of a row, rounded to bf16."""
    return add_to_register(init, row_sum(row[a : a + lanes]))


@kernel
def reduce_row_max(init: Real, row: F32, a: int, lanes: int) -> Real:
    """The maximum of init and a row."""
    return max_with_register(init, row_max(row[a : a + lanes]))


@allocating_kernel
def accumulate_block(vram: F32, row: int, mram: F32, tile: int, start: int, transposed: bool, accumulator: F32, lanes: int) -> None:
    """accumulator[BLEN, BLEN] += BLEN rows times BLEN columns (rows when `transposed`) of the tile, from column `start` on."""
    size = accumulator.shape[0]
    x = vram[row : row + size * lanes].reshape((size, lanes))
    matrix = mram[tile : tile + lanes * lanes].reshape((lanes, lanes))
    product = np.empty((size, size), np.float32)
    if transposed:
        multiply_nt(x, matrix[start : start + size], product)
    else:
        multiply_nn(x, matrix[:, start : start + size].copy(), product)
    accumulator += product


@allocating_kernel
def accumulate_heads(vram: F32, row: int, mram: F32, tile: int, start: int, transposed: bool, accumulator: F32, lanes: int) -> None:
    """accumulator[heads, MLEN, MLEN] += 0.25 times the product of each head's slice of MLEN rows with one slice of the tile.

    `transposed`: head b is HLEN lanes of the rows from b * HLEN on, times the tile's columns from `start` on, transposed. Otherwise
    it is lanes b, b + heads, b + 2 * heads ..., times the tile's rows from `start` on.
    """
    heads = accumulator.shape[0]
    depth = lanes // heads
    rows = vram[row : row + lanes * lanes].reshape((lanes, lanes))
    matrix = mram[tile : tile + lanes * lanes].reshape((lanes, lanes))
    product = np.empty((lanes, lanes), np.float32)
    for head in range(heads):
        if transposed:
            x = rows[:, head * depth : (head + 1) * depth].copy()
            multiply_nt(x, matrix[:, start : start + depth].copy(), product)
        else:
            multiply_nn(rows[:, head::heads].copy(), matrix[start : start + depth].copy(), product)
        accumulator[head] += np.float32(0.25) * product


@kernel
def write_block(accumulator: F32, vram: F32, row: int, lane: int, lanes: int) -> None:
    """Round accumulator[BLEN, BLEN] into lanes `lane` .. of BLEN rows, and clear it."""
    bits = vram.view(np.uint32)
    size = accumulator.shape[0]
    for i in range(size):
        for j in range(size):
            bits[row + i * lanes + lane + j] = _stored(accumulator[i, j])
    accumulator[:] = np.float32(0.0)


@kernel
def write_heads(accumulator: F32, vram: F32, row: int) -> None:
    """Round accumulator[heads, MLEN, MLEN] into heads * MLEN rows, and clear it."""
    bits = vram.view(np.uint32)
    flat = accumulator.reshape(-1)
    for index in range(flat.shape[0]):
        bits[row + index] = _stored(flat[index])
    accumulator[:] = np.float32(0.0)


@kernel
def load(
    elements: U8,
    scales: U8,
    source: int,
    stride: int,
    rows: int,
    target: F32,
    t: int,
    lanes: int,
    rounded: bool,
    codes: F32,
    powers: F32,
) -> bool:
    """Decode `rows` rows of `lanes` elements, `stride` elements apart, into consecutive rows of target; `rounded` for Vector SRAM.

    Returns whether every row's scale bytes lay in one 64-byte block: the machine would read zeros for the rest of them. The element
    region starts at a multiple of 64 bytes and the scale region follows it.
    """
    bits = target.view(np.uint32)
    whole = True
    blocks = lanes // MX_BLOCK
    for row in range(rows):
        e = source + row * stride
        place = t + row * lanes
        whole = whole and (elements.shape[0] + e // MX_BLOCK) % HBM_BLOCK + blocks <= HBM_BLOCK
        decode_blocks(
            elements[e : e + lanes],
            scales[e // MX_BLOCK : e // MX_BLOCK + blocks],
            target[place : place + lanes],
            0,
            blocks,
            codes,
            powers,
        )
        if rounded:
            for lane in range(lanes):
                bits[place + lane] = _stored(target[place + lane])
    return whole


@kernel
def store(
    vram: F32,
    v: int,
    rows: int,
    elements: U8,
    scales: U8,
    target: int,
    stride: int,
    lanes: int,
    rule: I64,
    thresholds: U32,
) -> None:
    """MX-encode `rows` consecutive rows to places `stride` elements apart, as H_STORE_V does."""
    blocks = lanes // MX_BLOCK
    for row in range(rows):
        e = target + row * stride
        place = v + row * lanes
        encode_blocks(
            vram[place : place + lanes],
            elements[e : e + lanes],
            scales[e // MX_BLOCK : e // MX_BLOCK + blocks],
            0,
            blocks,
            rule,
            thresholds,
        )


@kernel
def add_scalars(lhs: Real, rhs: Real) -> Real:
    """lhs + rhs in float32, rounded to bf16."""
    return round_register(np.float32(lhs) + np.float32(rhs))


@kernel
def sub_scalars(lhs: Real, rhs: Real) -> Real:
    """lhs - rhs in float32, rounded to bf16."""
    return round_register(np.float32(lhs) - np.float32(rhs))


@kernel
def mul_scalars(lhs: Real, rhs: Real) -> Real:
    """lhs * rhs in float32, rounded to bf16."""
    return round_register(np.float32(lhs) * np.float32(rhs))


@kernel
def max_scalars(lhs: Real, rhs: Real) -> Real:
    """rhs if it is greater, else lhs: a NaN on the left stays, one on the right loses."""
    return rhs if rhs > lhs else lhs


@kernel
def look_up(table: F32, value: Real) -> Real:
    """The entry of a table at the bf16 bits of a value."""
    return table[np.float32(value).view(np.uint32) >> 16]
