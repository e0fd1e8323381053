"""The machine's state as the kernels see it: named tuples of arrays and sizes (machine specification, section 1)."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.timing.dram_channel import Channels

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
I32: TypeAlias = NDArray[np.int32]
I64: TypeAlias = NDArray[np.int64]
U8: TypeAlias = NDArray[np.uint8]

WORD_MASK = 0xFFFFFFFF

# Positions in `Registers.config`.
SCALE_REG = 0
STRIDE_REG = 1
V_MASK_REG = 2

# Values of `Vram.touched`, per row.
UNTOUCHED = 0
FILLED = 1
WRITTEN = 2

HBM_PAGE_BITS = 16
HBM_PAGE = 1 << HBM_PAGE_BITS
"""Bytes of HBM that become real memory together."""

POISON_INT = 0xA5A5A5A5
"""What a poisoned INT SRAM holds: odd, and no legal index or address."""

# Rows of `Hbm.codes`, one per HBM stream that has a format of its own.
STREAM_M_WEIGHT = 0
STREAM_M_KV = 1
STREAM_V_ACT = 2
STREAM_V_KV = 3

# Positions in `Hbm.totals`.
HBM_BYTES_READ = 0
HBM_BYTES_WRITTEN = 1
HBM_PAYLOAD_READ = 2
HBM_PAYLOAD_WRITTEN = 3


class Geometry(NamedTuple):
    """Sizes of one target, and whether to trap on what the hardware lets pass but no program of ours may do."""

    mlen: int
    blen: int
    hlen: int
    broadcast: int
    prefetch_m_rows: int
    prefetch_v_rows: int
    writeback_v_rows: int
    max_loop_instructions: int
    strict: int


class Registers(NamedTuple):
    """gp u32 [16] and addr u64 [16] as int64, fp bf16 [8] as float32, config u32 [3]."""

    gp: I64
    fp: F32
    addr: I64
    config: I64


class Vram(NamedTuple):
    """Vector SRAM: bf16 values in rows [rows, vlen]; `touched` [rows] tells which rows hold more than the initial `fill`.

    `operand` and `result` [vlen] are float32 rows that instructions compute in.
    """

    rows: F32
    touched: U8
    fill: float
    operand: F32
    result: F32


class Matrix(NamedTuple):
    """Matrix SRAM [tiles, mlen, mlen], the four accumulators, and a buffer for the sums of one product.

    The tiles are float32 values, held as float64 and twice, as they are and transposed, since that is how products need them.
    """

    tiles: F64
    transposed: F64
    m_acc: F32
    hm_acc: F32
    v_acc: F32
    hv_acc: F32
    sums: F64


class Scalars(NamedTuple):
    """FP SRAM [1024] bf16 and INT SRAM [1024] u32."""

    fp: F32
    integer: I64


class Hbm(NamedTuple):
    """Sparse HBM: `table` [pages] holds an index into `pool` [n, HBM_PAGE] or -1; absent pages hold `fill` bytes.

    `used` [1] counts the occupied pages of the pool, `totals` [4] the bytes moved. `elements` [vlen] and `scales` [vlen / 8] buffer
    one row. The rest is the MX formats: `codes` [4, 256] element values and `rules` [4, 8] of the encoder by stream, `powers` [256]
    scale values, `thresholds` [256] for the encoder.
    """

    table: I32
    pool: U8
    used: I64
    size: int
    fill: int
    totals: I64
    elements: U8
    scales: U8
    codes: F32
    rules: I64
    powers: F32
    thresholds: NDArray[np.uint32]


class Unary(NamedTuple):
    """Unary functions by bf16 bits [65536]."""

    exp: F32
    reciprocal: F32
    sqrt: F32


class Loops(NamedTuple):
    """The stack of active loops: first pc of the body, counter register, instruction count at the last jump back; depth [1]."""

    body: I64
    counter: I64
    mark: I64
    depth: I64


class State(NamedTuple):
    """Everything an instruction can touch, and the channels of the DRAM, which only take time."""

    geometry: Geometry
    registers: Registers
    vram: Vram
    matrix: Matrix
    scalars: Scalars
    hbm: Hbm
    unary: Unary
    loops: Loops
    dram: Channels
