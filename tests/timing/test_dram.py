"""The DRAM model: the published measurements to the cycle, and what transfers of real programs make of it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from plena_mlir.backend import asm_to_module, encode, parse_asm
from plena_mlir.emulator import run_program
from plena_mlir.emulator.kernels.transfer_cycles import prefetch_cycles, store_cycles
from plena_mlir.errors import ExecutionError
from plena_mlir.interpreters.isa import run_isa
from plena_mlir.numerics.compile import kernel
from plena_mlir.target import load_target
from plena_mlir.timing.dram import finish, read_block, start, write_block
from plena_mlir.timing.dram_channel import CHANNELS, QUEUE_LIMIT, WRITES, new_channels
from tests.emulator.programs import run_asm
from tests.emulator.vectors import VECTORS

STANDARD = load_target("64x4x16")
VECTORS_OF_DRAM = [pytest.param(vector, id=vector["name"]) for vector in VECTORS if vector["kind"] == "hbm_timing"]


@kernel
def gather(channels, now, blocks):
    cycle = start(channels, now)
    for index in range(blocks.shape[0]):
        cycle = read_block(channels, cycle, blocks[index])
    return finish(channels) - 1 - now


@kernel
def post_writes(channels, now, blocks):
    cycle = start(channels, now)
    for index in range(blocks.shape[0]):
        cycle = write_block(channels, cycle, blocks[index])
    return cycle - now


@kernel
def transfer(channels, now, is_store, rows, width, elements, scales, stride):
    if is_store:
        return store_cycles(channels, now, rows, width, elements, scales, stride)
    return prefetch_cycles(channels, now, rows, width, elements, scales, stride)


def measured(vector: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """The cycles of each event, and those that the model gives it."""
    channels, now = new_channels(), 0
    for event in vector["events"]:
        if event["op"] == "idle":
            now += event["cycles"]
            continue
        if event["op"] == "gather_blocks":
            blocks = (event["start"] + np.arange(event["count"], dtype=np.int64) * event["step_bytes"]) // 64
            cycles = gather(channels, now, blocks)
        else:
            shape = (event["rows"], event["row_bytes"], event["element_base"], event["scale_base"], event["stride"])
            cycles = transfer(channels, now, event["op"] == "store", *shape)
        yield event["cycles"], cycles
        now += cycles


@pytest.mark.parametrize("vector", VECTORS_OF_DRAM)
def test_transfers_take_the_measured_cycles(vector: dict[str, Any]):
    expected, found = zip(*measured(vector), strict=True)
    assert found == expected


def test_an_isolated_read_pays_for_what_its_bank_has_open():
    channels = new_channels()
    far = 1 << 20
    cycles = [gather(channels, now, np.array([block], np.int64)) for now, block in ((0, 0), (100, 0), (200, far), (300, 0))]
    assert cycles == [18, 11, 25, 25]


def test_a_read_of_posted_bytes_gets_them_from_the_write_queue():
    channels = new_channels()
    # The row is open, but the queues are busy: the write waits, and the read of its bytes passes everything.
    gather(channels, 0, np.arange(64, dtype=np.int64))
    assert post_writes(channels, 1000, np.array([3], np.int64)) == 0
    assert gather(channels, 1000, np.array([3], np.int64)) == 0
    assert gather(channels, 2000, np.array([3], np.int64)) == 11


def test_posted_writes_take_no_time_until_a_queue_is_full():
    channels = new_channels()
    # Blocks a whole row of all banks apart lie in the same four channels.
    blocks = np.arange(QUEUE_LIMIT + 1, dtype=np.int64) << 11
    assert post_writes(channels, 0, blocks[:QUEUE_LIMIT]) == 0
    assert sorted(channels["size"][:, WRITES]) == [0] * (CHANNELS - 4) + [QUEUE_LIMIT] * 4
    assert post_writes(channels, 0, blocks[QUEUE_LIMIT:]) > 0


def test_time_without_transfers_drains_posted_writes():
    channels = new_channels()
    blocks = np.arange(16, dtype=np.int64) << 11
    post_writes(channels, 0, blocks)
    busy = gather(channels, 1, np.array([1 << 20], np.int64))
    post_writes(channels, 10_000, blocks)
    idle = gather(channels, 20_000, np.array([1 << 20], np.int64))
    assert busy > idle == 25
    assert channels["size"].sum() == 0


# Two tiles, computation in between, and a store right behind a prefetch.
PROGRAM = """\
S_LUI_INT gp1, 64
C_SET_SCALE_REG gp1
S_ADDI_INT gp2, gp0, 4096
H_PREFETCH_M gp0, gp0, a0, 0, 0
C_LOOP_START gp3, 3
M_MM 0, gp0, gp0
H_PREFETCH_M gp2, gp2, a0, 0, 0
C_LOOP_END gp3
H_PREFETCH_V gp0, gp0, a0, 0, 0
H_STORE_V gp0, gp2, a0, 0, 0
H_STORE_V gp0, gp2, a0, 0, 0
"""


def test_interpreter_and_engine_measure_the_same():
    words = encode(parse_asm(PROGRAM))
    engine, interpreter = run_program(words, STANDARD), run_isa(asm_to_module(parse_asm(PROGRAM)), STANDARD)
    assert engine.transfer_cycles.tolist() == interpreter.transfer_cycles.tolist()
    assert all(engine.transfer_cycles[[3, 6, 8, 9, 10]] > 0)


def test_the_same_transfer_is_faster_when_its_rows_are_open():
    first, second = (run_asm("H_PREFETCH_M gp0, gp0, a0, 0, 0\n" * n, STANDARD).cycles for n in (1, 2))
    assert second < 2 * first


def test_the_clock_between_transfers_counts():
    """A prefetch that needs the bank of the last posted write waits for it, unless computation did before."""
    text = "S_LUI_INT gp1, 32\nH_STORE_V gp0, gp0, a0, 0, 0\n{}H_PREFETCH_V gp0, gp1, a0, 0, 0"
    near, far = (run_asm(text.format(between), STANDARD) for between in ("", "M_MM 0, gp0, gp0\n"))
    assert near.transfer_cycles[-1] > far.transfer_cycles[-1]


def test_transfers_can_be_left_unmeasured():
    result = run_asm(PROGRAM, STANDARD, timing="none")
    assert result.cycles_by("analytic").dma == 7
    with pytest.raises(ExecutionError, match="did not time the transfers"):
        result.cycles_by("transactional")
