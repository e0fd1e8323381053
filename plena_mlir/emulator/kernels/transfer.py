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
    State,
)
from plena_mlir.emulator.kernels.traps import GROW_HBM, HBM_WRITE, MRAM_ADDRESS, OK, STRICT_HBM_READ, VRAM_ADDRESS
from plena_mlir.numerics.bf16 import Integer, store_f32
from plena_mlir.numerics.compile import inline_kernel, kernel
from plena_mlir.numerics.mx import encode_blocks
from plena_mlir.timing.kernels import load_cycles, store_cycles

BLOCK = 64
"""Bytes of one HBM access."""


@inline_kernel
def row_step(state: State, use_stride: Integer) -> Integer:
    """Bytes between the elements of consecutive rows."""
    return state.registers.config[STRIDE_REG] if use_stride == 1 else state.geometry.mlen


@inline_kernel
def element_address(state: State, register: Integer, offset: Integer, step: Integer, row: Integer) -> Integer:
    """Where the elements of a row start."""
    return state.registers.addr[register] + offset + ((row * step) & WORD_MASK)


@inline_kernel
def scale_address(state: State, register: Integer, offset: Integer, step: Integer, row: Integer) -> Integer:
    """Where the scale bytes of a row start; the machine multiplies in float32."""
    distance = np.int64(np.float32(row) * np.float32(step / 8.0))
    return state.registers.addr[register] + state.registers.config[SCALE_REG] + offset // 8 + distance


@inline_kernel
def blocks_touched(address: Integer, count: Integer) -> Integer:
    """HBM accesses that `count` bytes from `address` take."""
    return ((address + count - 1) >> 6) - (address >> 6) + 1


@kernel
def load_row(state: State, elements_at: Integer, scales_at: Integer, stream: Integer, out: F32) -> int:
    """Fetch and decode one row of HBM, in float32.

    Its scale bytes come from the one block of 64 bytes that holds the first of them; those beyond read as 0.
    """
    width = out.shape[0]
    groups = width // 8
    fetched = min(groups, BLOCK - (scales_at & (BLOCK - 1)))
    hbm, scratch, totals = state.hbm, state.scratch, state.totals
    if state.geometry.strict and (past_end(hbm, elements_at, width) or past_end(hbm, scales_at, groups)):
        return STRICT_HBM_READ
    read_bytes(hbm, elements_at, scratch.elements, width)
    read_bytes(hbm, scales_at, scratch.scales, fetched)
    scratch.scales[fetched:groups] = 0
    for group in range(groups):
        power = state.tables.powers[scratch.scales[group]]
        for lane in range(group * 8, group * 8 + 8):
            out[lane] = state.tables.elements[stream, scratch.elements[lane]] * power
    totals[HBM_BYTES_READ] += BLOCK * (blocks_touched(elements_at, width) + 1)
    totals[HBM_PAYLOAD_READ] += width + groups
    return OK


@kernel
def h_prefetch_m(state: State, target: Integer, offset: Integer, register: Integer, use_stride: Integer, stream: Integer) -> int:
    """H_PREFETCH_M: rows of HBM into consecutive tiles, row-major."""
    length, count = state.geometry.mlen, state.geometry.prefetch_m_rows
    tiles = state.matrix.tiles
    first = target // (length * length)
    if target % (length * length) or first + count // length > tiles.shape[0]:
        return MRAM_ADDRESS
    step = row_step(state, use_stride)
    for row in range(count):
        status = load_row(
            state,
            element_address(state, register, offset, step, row),
            scale_address(state, register, offset, step, row),
            stream,
            tiles[first + row // length, row % length],
        )
        if status != OK:
            return status
    return OK


@kernel
def h_prefetch_v(state: State, target: Integer, offset: Integer, register: Integer, use_stride: Integer, stream: Integer) -> int:
    """H_PREFETCH_V: rows of HBM into consecutive rows, rounded to bf16; rows past the end of the memory are dropped."""
    width = state.geometry.mlen
    if row_to_read(state.vram, target) < 0:
        return VRAM_ADDRESS
    step = row_step(state, use_stride)
    result = state.scratch.result
    for row in range(state.geometry.prefetch_v_rows):
        status = load_row(
            state,
            element_address(state, register, offset, step, row),
            scale_address(state, register, offset, step, row),
            stream,
            result,
        )
        if status != OK:
            return status
        written = row_to_write(state.vram, target + row * width)
        if written >= 0:
            for lane in range(width):
                state.vram.rows[written, lane] = store_f32(result[lane])
    return OK


@kernel
def h_store_v(state: State, source: Integer, offset: Integer, register: Integer, use_stride: Integer, stream: Integer) -> int:
    """H_STORE_V: consecutive rows to HBM, MX-encoded; each block of 64 bytes is read, changed and written."""
    width, count = state.geometry.mlen, state.geometry.writeback_v_rows
    groups = width // 8
    hbm, scratch, totals = state.hbm, state.scratch, state.totals
    # A row of elements and its scales each touch at most two pages.
    if hbm.used[0] + 4 * count > hbm.pool.shape[0]:
        return GROW_HBM
    step = row_step(state, use_stride)
    for row in range(count):
        read = row_to_read(state.vram, (source + row * width) & WORD_MASK)
        if read < 0:
            return VRAM_ADDRESS
        elements_at = element_address(state, register, offset, step, row)
        scales_at = scale_address(state, register, offset, step, row)
        if past_end(hbm, elements_at, width) or past_end(hbm, scales_at, groups):
            return HBM_WRITE
        exponent_bits = state.tables.exponent_bits[stream]
        encode_blocks(
            state.vram.rows[read],
            scratch.elements,
            scratch.scales,
            0,
            groups,
            exponent_bits,
            7 - exponent_bits,
            0,
            False,
            state.tables.thresholds,
        )
        write_bytes(hbm, elements_at, scratch.elements, width)
        write_bytes(hbm, scales_at, scratch.scales, groups)
        blocks = blocks_touched(elements_at, width) + blocks_touched(scales_at, groups)
        totals[HBM_BYTES_READ] += BLOCK * blocks
        totals[HBM_BYTES_WRITTEN] += BLOCK * blocks
        totals[HBM_PAYLOAD_WRITTEN] += width + groups
    return OK


@kernel
def h_cycles(word: Integer, state: State) -> Integer:
    """The HBM cycles of a transfer that has just run; transfers change no register."""
    geometry = state.geometry
    code = word & op.OPCODE_MASK
    step = row_step(state, (word >> op.RS3_SHIFT) & op.FIELD_MASK)
    if code == op.H_PREFETCH_M:
        return load_cycles(geometry.prefetch_m_rows, geometry.mlen, step)
    if code == op.H_PREFETCH_V:
        return load_cycles(geometry.prefetch_v_rows, geometry.mlen, step)
    return store_cycles(geometry.writeback_v_rows, geometry.mlen)
