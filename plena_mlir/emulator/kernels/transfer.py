"""Transfers between HBM and the SRAMs (machine specification, section 4.6). Every function returns a status of `traps`."""

from __future__ import annotations

import numpy as np

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.memory import past_end, read_bytes, row_to_read, row_to_write, write_bytes
from plena_mlir.emulator.kernels.state import (
    F32,
    HBM_BYTES_READ,
    HBM_BYTES_WRITTEN,
    HBM_PAYLOAD_READ,
    HBM_PAYLOAD_WRITTEN,
    SCALE_REG,
    STRIDE_REG,
    WORD_MASK,
    Geometry,
    Hbm,
    Matrix,
    Registers,
    Vram,
)
from plena_mlir.emulator.kernels.traps import (
    GROW_HBM,
    HBM_WRITE,
    MRAM_ADDRESS,
    OK,
    STRICT_HBM_READ,
    STRICT_POISON_HBM,
    STRICT_SCALES,
    VRAM_ADDRESS,
)
from plena_mlir.numerics.bf16 import Integer, store_f32
from plena_mlir.numerics.compile import inline_kernel, inner_kernel
from plena_mlir.numerics.mx import encode_blocks
from plena_mlir.target.hardware import HBM_BLOCK, MX_BLOCK

BLOCK_BITS = HBM_BLOCK.bit_length() - 1
"""The number of an HBM access is the address of its first byte without so many bits."""


@inline_kernel
def transfer_addresses(registers: Registers, word: Integer) -> tuple[Integer, Integer]:
    """Where the elements and the scale bytes of the transfer `word` start in HBM."""
    base = registers.addr[(word >> op.RS2_SHIFT) & op.FIELD_MASK]
    offset = registers.gp[(word >> op.RS1_SHIFT) & op.FIELD_MASK]
    return base + offset, base + registers.config[SCALE_REG] + offset // MX_BLOCK


@inline_kernel
def row_step(geometry: Geometry, registers: Registers, word: Integer) -> Integer:
    """Bytes between the elements of consecutive rows of the transfer `word`."""
    strided = (word >> op.RS3_SHIFT) & op.FIELD_MASK == 1
    return registers.config[STRIDE_REG] if strided else geometry.mlen


@inline_kernel
def element_address(base: Integer, step: Integer, row: Integer) -> Integer:
    """Where the elements of a row start."""
    return base + ((row * step) & WORD_MASK)


@inline_kernel
def scale_address(base: Integer, step: Integer, row: Integer) -> Integer:
    """Where the scale bytes of a row start; the machine multiplies in float32."""
    return base + np.int64(np.float32(row) * np.float32(step / float(MX_BLOCK)))


@inline_kernel
def blocks_touched(address: Integer, count: Integer) -> Integer:
    """HBM accesses that `count` bytes from `address` take."""
    return ((address + count - 1) >> BLOCK_BITS) - (address >> BLOCK_BITS) + 1


@inline_kernel
def count_load(hbm: Hbm, elements_at: Integer, width: Integer, rows: Integer) -> None:
    """Count the bytes that fetching `rows` rows takes which lie alike in their blocks: those of the elements, and one of scales."""
    hbm.totals[HBM_BYTES_READ] += HBM_BLOCK * rows * (blocks_touched(elements_at, width) + 1)
    hbm.totals[HBM_PAYLOAD_READ] += rows * (width + width // MX_BLOCK)


@inline_kernel
def count_store(hbm: Hbm, elements_at: Integer, scales_at: Integer, width: Integer) -> None:
    """Count the bytes that storing one row takes: each block that holds a part of it is read and written."""
    blocks = blocks_touched(elements_at, width) + blocks_touched(scales_at, width // MX_BLOCK)
    hbm.totals[HBM_BYTES_READ] += HBM_BLOCK * blocks
    hbm.totals[HBM_BYTES_WRITTEN] += HBM_BLOCK * blocks
    hbm.totals[HBM_PAYLOAD_WRITTEN] += width + width // MX_BLOCK


@inner_kernel
def count_transfer(geometry: Geometry, hbm: Hbm, code: Integer, elements: Integer, scales: Integer, step: Integer) -> None:
    """Count the bytes of a transfer that is not performed."""
    if code == op.H_STORE_V:
        for row in range(geometry.writeback_v_rows):
            count_store(hbm, element_address(elements, step, row), scale_address(scales, step, row), geometry.mlen)
        return
    rows = geometry.prefetch_m_rows if code == op.H_PREFETCH_M else geometry.prefetch_v_rows
    if step % HBM_BLOCK == 0:
        count_load(hbm, elements, geometry.mlen, rows)
        return
    for row in range(rows):
        count_load(hbm, element_address(elements, step, row), geometry.mlen, 1)


@inner_kernel
def load_row(hbm: Hbm, strict: Integer, elements_at: Integer, scales_at: Integer, stream: Integer, out: F32) -> int:
    """Fetch and decode one row of HBM, in float32.

    Its scale bytes come from the one block of 64 bytes that holds the first of them; those beyond read as 0.
    """
    width = out.shape[0]
    groups = width // MX_BLOCK
    fetched = min(groups, HBM_BLOCK - (scales_at & (HBM_BLOCK - 1)))
    if strict and (past_end(hbm, elements_at, width) or past_end(hbm, scales_at, groups)):
        return STRICT_HBM_READ
    if strict and fetched < groups:
        return STRICT_SCALES
    read_bytes(hbm, elements_at, hbm.elements, width)
    read_bytes(hbm, scales_at, hbm.scales, fetched)
    hbm.scales[fetched:groups] = 0
    for group in range(groups):
        power = hbm.powers[hbm.scales[group]]
        for lane in range(group * MX_BLOCK, (group + 1) * MX_BLOCK):
            out[lane] = hbm.codes[stream, hbm.elements[lane]] * power
    count_load(hbm, elements_at, width, 1)
    return OK


@inner_kernel
def h_prefetch_m(
    geometry: Geometry,
    hbm: Hbm,
    matrix: Matrix,
    target: Integer,
    elements: Integer,
    scales: Integer,
    step: Integer,
    stream: Integer,
) -> int:
    """H_PREFETCH_M: rows of HBM, their elements and scales `step` and `step` / 8 bytes apart, into consecutive tiles, row-major."""
    length, count = geometry.mlen, geometry.prefetch_m_rows
    first = target // (length * length)
    if target % (length * length) or first + count // length > matrix.tiles.shape[0]:
        return MRAM_ADDRESS
    for row in range(count):
        status = load_row(
            hbm,
            geometry.strict,
            element_address(elements, step, row),
            scale_address(scales, step, row),
            stream,
            matrix.tiles[first + row // length, row % length],
        )
        if status != OK:
            return status
    for tile in range(first, first + count // length):
        for row in range(length):
            for column in range(length):
                matrix.transposed[tile, row, column] = matrix.tiles[tile, column, row]
    return OK


@inner_kernel
def h_prefetch_v(
    geometry: Geometry, hbm: Hbm, vram: Vram, target: Integer, elements: Integer, scales: Integer, step: Integer, stream: Integer
) -> int:
    """H_PREFETCH_V: rows of HBM into consecutive rows, rounded to bf16; rows past the end of the memory are dropped."""
    if row_to_read(vram, target) < 0:
        return VRAM_ADDRESS
    for row in range(geometry.prefetch_v_rows):
        status = load_row(
            hbm, geometry.strict, element_address(elements, step, row), scale_address(scales, step, row), stream, vram.result
        )
        if status != OK:
            return status
        written = row_to_write(vram, target + row * geometry.mlen)
        if written >= 0:
            for lane in range(geometry.mlen):
                vram.rows[written, lane] = store_f32(vram.result[lane])
    return OK


@inline_kernel
def has_nan(row: F32) -> bool:
    """Whether any element of a row is NaN."""
    for lane in range(row.shape[0]):
        if row[lane] != row[lane]:
            return True
    return False


@inner_kernel
def h_store_v(
    geometry: Geometry, hbm: Hbm, vram: Vram, source: Integer, elements: Integer, scales: Integer, step: Integer, stream: Integer
) -> int:
    """H_STORE_V: consecutive rows to HBM, MX-encoded; each block of 64 bytes is read, changed and written."""
    width, count = geometry.mlen, geometry.writeback_v_rows
    groups = width // MX_BLOCK
    # A row of elements and its scales each touch at most two pages.
    if hbm.used[0] + 4 * count > hbm.pool.shape[0]:
        return GROW_HBM
    for row in range(count):
        read = row_to_read(vram, (source + row * width) & WORD_MASK)
        if read < 0:
            return VRAM_ADDRESS
        elements_at, scales_at = (element_address(elements, step, row), scale_address(scales, step, row))
        if past_end(hbm, elements_at, width) or past_end(hbm, scales_at, groups):
            return HBM_WRITE
        if geometry.strict and has_nan(vram.rows[read]):
            return STRICT_POISON_HBM
        encode_blocks(vram.rows[read], hbm.elements, hbm.scales, 0, groups, hbm.rules[stream], hbm.thresholds)
        write_bytes(hbm, elements_at, hbm.elements, width)
        write_bytes(hbm, scales_at, hbm.scales, groups)
        count_store(hbm, elements_at, scales_at, width)
    return OK
