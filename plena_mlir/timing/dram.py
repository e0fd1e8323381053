"""The DRAM behind HBM: requests of 64-byte blocks on eight channels (machine specification, section 7.1).

A transfer starts with `start`, hands over its blocks in order with `read_block` and `write_block`, and waits for its reads with
`finish`; all four pass the DRAM's cycle along. A block is four transactions of 16 bytes in four channels. Transactions enter their
channels in order: one that finds its queue full holds up those behind it. Reads are waited for, writes are posted.
"""

from __future__ import annotations

from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import inner_kernel
from plena_mlir.timing.dram_channel import (
    CHANNELS,
    QUEUE_LIMIT,
    READS,
    WRITES,
    Channels,
    accept,
    advance,
    step,
)

_BLOCK_SHIFT = 6
_TRANSACTIONS = 4
_TRANSACTION_BYTES = 16


@inner_kernel
def start(channels: Channels, now: Integer) -> Integer:
    """The DRAM's cycle at which an instruction that starts at cycle `now` hands over its first request.

    The cycle in which the data of an earlier transfer came has passed already.
    """
    return max(channels[0].clock, now)


@inner_kernel
def read_block(channels: Channels, cycle: Integer, block: Integer) -> Integer:
    """Ask for the block of 64 bytes number `block`, from DRAM cycle `cycle` on; returns the cycle at which all of it is queued."""
    for part in range(_TRANSACTIONS):
        cycle = _send(channels, cycle, (block << _BLOCK_SHIFT) + part * _TRANSACTION_BYTES, READS)
    return cycle


@inner_kernel
def write_block(channels: Channels, cycle: Integer, block: Integer) -> Integer:
    """Post a write of block number `block`, from DRAM cycle `cycle` on; returns the cycle at which all of it is queued."""
    for part in range(_TRANSACTIONS):
        cycle = _send(channels, cycle, (block << _BLOCK_SHIFT) + part * _TRANSACTION_BYTES, WRITES)
    return cycle


@inner_kernel
def finish(channels: Channels) -> Integer:
    """Wait for all reads; returns the DRAM's cycle in which the last data came, which is that of every channel then."""
    last = 0
    for index in range(CHANNELS):
        channel = channels[index]
        while channel.unissued > 0:
            step(channel)
        last = max(last, channel.last_data)
    for index in range(CHANNELS):
        advance(channels[index], last)
    return last


@inner_kernel
def _send(channels: Channels, cycle: Integer, address: Integer, queue: int) -> Integer:
    """Offer a transaction from DRAM cycle `cycle` on; returns the cycle at which its channel takes it.

    A read of bytes that wait to be written gets them from the queue, one cycle later.
    """
    # Bits of the column select among channels, pseudo-channels and bank groups too, so that strides spread.
    column = ((address >> 4) & 0x3) | ((address >> 12) & 0x1C)
    channel = channels[((address >> 6) ^ column) & 0x7]
    pseudo = ((address >> 9) ^ (column >> 3)) & 0x1
    group = ((address >> 10) & 0x3) ^ ((column >> 4) & 0x1)
    bank = (pseudo << 4) | (group << 2) | ((address >> 12) & 0x3)
    advance(channel, cycle)
    if queue == READS:
        for index in range(channel.size[WRITES]):
            if channel.address[WRITES, index] == address:
                channel.last_data = max(channel.last_data, channel.clock) + 1
                return cycle
    while channel.size[queue] == QUEUE_LIMIT:
        step(channel)
    accept(channel, queue, bank, address >> 17, address)
    return channel.clock
