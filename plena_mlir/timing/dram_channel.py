"""One HBM2 channel, cycle for cycle (machine specification, section 7.1).

A channel keeps its own clock. Nothing between two commands changes its state, so it goes from one command that it can issue to the
next and visits no idle cycle; `dram` brings it up to date when a request reaches it.

The scheduler is the one of Ramulator 2: of the requests whose next command may be issued now, the one that arrived first, and those
that had their row opened before all others. A bank is closed only when no request waits for the row it has open.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import inline_kernel, inner_kernel

CHANNELS = 8
PSEUDO_CHANNELS = 2
GROUPS = 8
"""Bank groups of a channel, four in each pseudo-channel."""
BANKS = 32
"""Banks of a channel, four in each group."""

READS, WRITES, OPENED = 0, 1, 2
"""The queues: reads and writes that came in, and those of both that had their row opened and wait for it."""
QUEUE_LIMIT = 33
"""Requests that each queue takes."""
START_WRITING = 26
"""With this many writes waiting they go before reads, ..."""
STOP_WRITING = 7
"""... until fewer than this are left."""

# Cycles from one command to another, by the wires that both need. To open a row is ACT, to close it PRE.
READ_TO_DATA = 11
ROW_TO_ROW = 2
"""From opening a row to the next command on rows, anywhere in the channel."""
COLUMN_TO_COLUMN = 2
"""From read to read or from write to write, in one pseudo-channel and in one group alike."""
READ_TO_WRITE = 11
WRITE_TO_READ = 9
WRITE_TO_READ_IN_GROUP = 10
OPEN_TO_OPEN = 2
OPEN_TO_OPEN_IN_GROUP = 3
OPEN_TO_OPEN_IN_BANK = 19
OPEN_TO_FOURTH_OPEN = 15
"""In one pseudo-channel."""
OPEN_TO_COLUMN = 7
OPEN_TO_CLOSE = 17
CLOSE_TO_OPEN = 7
READ_TO_CLOSE = 3
WRITE_TO_CLOSE = 14

NEVER = 1 << 62
CLOSED = -NEVER
"""In place of the row that a bank has open."""

_CHANNEL = np.dtype(
    [
        # The cycle the channel has reached, and the first one after it that may see a command.
        ("clock", np.int64),
        ("wake", np.int64),
        # Whether writes go first; the reads that are not issued yet; the cycle of the last read's data.
        ("writing", np.int64),
        ("unissued", np.int64),
        ("last_data", np.int64),
        # The queues, by queue and place in it.
        ("size", np.int64, (3,)),
        ("bank", np.int64, (3, QUEUE_LIMIT)),
        ("row", np.int64, (3, QUEUE_LIMIT)),
        ("arrival", np.int64, (3, QUEUE_LIMIT)),
        ("address", np.int64, (3, QUEUE_LIMIT)),
        ("is_write", np.int64, (3, QUEUE_LIMIT)),
        # The row that each bank has open, and the first cycle at which each part may see each command.
        ("open_row", np.int64, (BANKS,)),
        ("channel_row_at", np.int64),
        ("bank_open_at", np.int64, (BANKS,)),
        ("bank_column_at", np.int64, (BANKS,)),
        ("bank_close_at", np.int64, (BANKS,)),
        ("group_open_at", np.int64, (GROUPS,)),
        ("group_read_at", np.int64, (GROUPS,)),
        ("group_write_at", np.int64, (GROUPS,)),
        ("pseudo_open_at", np.int64, (PSEUDO_CHANNELS,)),
        ("pseudo_read_at", np.int64, (PSEUDO_CHANNELS,)),
        ("pseudo_write_at", np.int64, (PSEUDO_CHANNELS,)),
        ("last_opens", np.int64, (PSEUDO_CHANNELS, 4)),
    ]
)

Channel: TypeAlias = Any
"""One record of `_CHANNEL`, which no static type describes."""
Channels: TypeAlias = NDArray[np.void]


def new_channels() -> Channels:
    """The channels after reset: no row open, nothing waiting."""
    channels = np.zeros(CHANNELS, _CHANNEL)
    channels["wake"] = NEVER
    channels["open_row"] = CLOSED
    channels["last_opens"] = -OPEN_TO_FOURTH_OPEN
    return channels


@inner_kernel
def accept(channel: Channel, queue: int, bank: Integer, row: Integer, address: Integer) -> None:
    """Put a read or a write into its queue, which has room."""
    index = channel.size[queue]
    channel.bank[queue, index] = bank
    channel.row[queue, index] = row
    channel.arrival[queue, index] = channel.clock
    channel.address[queue, index] = address
    channel.is_write[queue, index] = queue == WRITES
    channel.size[queue] = index + 1
    channel.wake = min(channel.wake, channel.clock + 1)
    if queue == READS:
        channel.unissued += 1


@inner_kernel
def advance(channel: Channel, until: Integer) -> None:
    """Let the cycles up to `until` pass, if they have not yet."""
    while channel.wake <= until and channel.clock < until:
        step(channel)
    channel.clock = max(channel.clock, until)


@inner_kernel
def step(channel: Channel) -> None:
    """Go to the next cycle that may see a command, and issue the command if one is ready there."""
    clock = max(channel.clock + 1, channel.wake)
    channel.clock = clock
    queue, chosen, soonest, earliest = OPENED, -1, NEVER, NEVER
    for index in range(channel.size[OPENED]):
        at = _command_at(channel, OPENED, index)
        soonest = min(soonest, at)
        if at <= clock and channel.arrival[OPENED, index] < earliest:
            chosen, earliest = index, channel.arrival[OPENED, index]
    if chosen < 0:
        _choose_direction(channel)
        queue = WRITES if channel.writing else READS
        # The order of these queues is that of arrival.
        for index in range(channel.size[queue]):
            at = _command_at(channel, queue, index)
            if at <= clock:
                chosen = index
                break
            soonest = min(soonest, at)
    if chosen < 0:
        channel.wake = soonest
        return
    channel.wake = clock + 1
    bank = channel.bank[queue, chosen]
    if channel.open_row[bank] == channel.row[queue, chosen]:
        _transfer(channel, queue, chosen)
    elif channel.open_row[bank] == CLOSED:
        _open_row(channel, queue, chosen)
    else:
        _close_row(channel, bank)


@inline_kernel
def _choose_direction(channel: Channel) -> None:
    """Whether reads or writes are served."""
    if channel.writing:
        if channel.size[WRITES] < STOP_WRITING and channel.size[READS] > 0:
            channel.writing = 0
    elif channel.size[WRITES] >= START_WRITING or channel.size[READS] == 0:
        channel.writing = 1


@inline_kernel
def _command_at(channel: Channel, queue: Integer, index: Integer) -> Integer:
    """The first cycle at which the next command of a request may be issued."""
    bank = channel.bank[queue, index]
    group, pseudo = bank >> 2, bank >> 4
    row = channel.open_row[bank]
    if row == channel.row[queue, index]:
        if channel.is_write[queue, index]:
            return max(channel.bank_column_at[bank], channel.group_write_at[group], channel.pseudo_write_at[pseudo])
        return max(channel.bank_column_at[bank], channel.group_read_at[group], channel.pseudo_read_at[pseudo])
    if row == CLOSED:
        bank_at = max(channel.bank_open_at[bank], channel.group_open_at[group])
        return max(bank_at, channel.pseudo_open_at[pseudo], channel.channel_row_at)
    return max(channel.bank_close_at[bank], channel.channel_row_at)


@inline_kernel
def _open_row(channel: Channel, queue: Integer, index: Integer) -> None:
    """Open the row of a request, which then waits among those that had theirs opened if there is room."""
    clock, bank = channel.clock, channel.bank[queue, index]
    group, pseudo = bank >> 2, bank >> 4
    last = channel.last_opens[pseudo]
    last[0], last[1], last[2], last[3] = last[1], last[2], last[3], clock
    channel.open_row[bank] = channel.row[queue, index]
    channel.channel_row_at = clock + ROW_TO_ROW
    channel.pseudo_open_at[pseudo] = max(clock + OPEN_TO_OPEN, last[0] + OPEN_TO_FOURTH_OPEN)
    channel.group_open_at[group] = clock + OPEN_TO_OPEN_IN_GROUP
    channel.bank_open_at[bank] = clock + OPEN_TO_OPEN_IN_BANK
    channel.bank_column_at[bank] = clock + OPEN_TO_COLUMN
    channel.bank_close_at[bank] = clock + OPEN_TO_CLOSE
    if queue != OPENED and channel.size[OPENED] < QUEUE_LIMIT:
        to = channel.size[OPENED]
        channel.size[OPENED] = to + 1
        _copy(channel, queue, index, OPENED, to)
        _remove(channel, queue, index)


@inline_kernel
def _close_row(channel: Channel, bank: Integer) -> None:
    """Close the row of a bank, unless a request waits for it; then nothing is issued in this cycle."""
    for index in range(channel.size[OPENED]):
        if channel.bank[OPENED, index] == bank:
            return
    channel.open_row[bank] = CLOSED
    channel.bank_open_at[bank] = max(channel.bank_open_at[bank], channel.clock + CLOSE_TO_OPEN)


@inline_kernel
def _transfer(channel: Channel, queue: Integer, index: Integer) -> None:
    """Read or write, which ends the request for the queues."""
    clock, bank = channel.clock, channel.bank[queue, index]
    group, pseudo = bank >> 2, bank >> 4
    if channel.is_write[queue, index]:
        channel.pseudo_write_at[pseudo] = clock + COLUMN_TO_COLUMN
        channel.group_write_at[group] = clock + COLUMN_TO_COLUMN
        channel.pseudo_read_at[pseudo] = clock + WRITE_TO_READ
        channel.group_read_at[group] = clock + WRITE_TO_READ_IN_GROUP
        channel.bank_close_at[bank] = max(channel.bank_close_at[bank], clock + WRITE_TO_CLOSE)
    else:
        channel.pseudo_read_at[pseudo] = max(channel.pseudo_read_at[pseudo], clock + COLUMN_TO_COLUMN)
        channel.group_read_at[group] = max(channel.group_read_at[group], clock + COLUMN_TO_COLUMN)
        channel.pseudo_write_at[pseudo] = clock + READ_TO_WRITE
        channel.bank_close_at[bank] = max(channel.bank_close_at[bank], clock + READ_TO_CLOSE)
        # A channel hands out the data of one read a cycle, in the order of issue.
        channel.last_data = max(channel.last_data + 1, clock + READ_TO_DATA)
        channel.unissued -= 1
    _remove(channel, queue, index)


@inline_kernel
def _copy(channel: Channel, queue: Integer, index: Integer, to_queue: Integer, to: Integer) -> None:
    channel.bank[to_queue, to] = channel.bank[queue, index]
    channel.row[to_queue, to] = channel.row[queue, index]
    channel.arrival[to_queue, to] = channel.arrival[queue, index]
    channel.address[to_queue, to] = channel.address[queue, index]
    channel.is_write[to_queue, to] = channel.is_write[queue, index]


@inline_kernel
def _remove(channel: Channel, queue: Integer, index: Integer) -> None:
    """Take a request out of its queue; those behind it move up."""
    last = channel.size[queue] - 1
    for here in range(index, last):
        _copy(channel, queue, here + 1, queue, here)
    channel.size[queue] = last
