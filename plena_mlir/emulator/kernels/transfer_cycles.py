"""How long transfers take: their accesses, in order, on the model of the DRAM (machine specification, section 7.1)."""

from __future__ import annotations

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.state import State
from plena_mlir.emulator.kernels.transfer import BLOCK_BITS, element_address, row_step, scale_address, transfer_addresses
from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import inner_kernel
from plena_mlir.target.hardware import MX_BLOCK
from plena_mlir.timing.dram import finish, read_block, start, write_block
from plena_mlir.timing.dram_channel import Channels


@inner_kernel
def transfer_cycles(word: Integer, state: State, now: Integer) -> Integer:
    """The cycles of the transfer `word` that starts at cycle `now`; transfers change no register, so it may have run already."""
    geometry = state.geometry
    code = word & op.OPCODE_MASK
    elements, scales = transfer_addresses(state.registers, word)
    stride = row_step(geometry, state.registers, word)
    if code == op.H_STORE_V:
        return store_cycles(state.dram, now, geometry.writeback_v_rows, geometry.mlen, elements, scales, stride)
    rows = geometry.prefetch_m_rows if code == op.H_PREFETCH_M else geometry.prefetch_v_rows
    return prefetch_cycles(state.dram, now, rows, geometry.mlen, elements, scales, stride)


@inner_kernel
def prefetch_cycles(
    dram: Channels, now: Integer, rows: Integer, width: Integer, elements: Integer, scales: Integer, stride: Integer
) -> Integer:
    """All rows are asked for at once, each as the blocks of its elements and the block of its first scale byte."""
    cycle = start(dram, now)
    for row in range(rows):
        address = element_address(elements, stride, row)
        for block in range(address >> BLOCK_BITS, ((address + width - 1) >> BLOCK_BITS) + 1):
            cycle = read_block(dram, cycle, block)
        cycle = read_block(dram, cycle, scale_address(scales, stride, row) >> BLOCK_BITS)
    return finish(dram) - 1 - now


@inner_kernel
def store_cycles(
    dram: Channels, now: Integer, rows: Integer, width: Integer, elements: Integer, scales: Integer, stride: Integer
) -> Integer:
    """Each block in turn is read, waited for, and then written, which nobody waits for."""
    end = now
    for row in range(rows):
        end = _update_blocks(dram, end, element_address(elements, stride, row), width)
        end = _update_blocks(dram, end, scale_address(scales, stride, row), width // MX_BLOCK)
    return end - now


@inner_kernel
def _update_blocks(dram: Channels, now: Integer, address: Integer, count: Integer) -> Integer:
    """Read and write the blocks that hold `count` bytes; returns the cycle after."""
    for block in range(address >> BLOCK_BITS, ((address + count - 1) >> BLOCK_BITS) + 1):
        read_block(dram, start(dram, now), block)
        data = finish(dram)
        taken = write_block(dram, data, block)
        # The data of a cycle are there at its start; a write that has to wait is taken at the end of one.
        now = data - 1 if taken == data else taken
    return now
