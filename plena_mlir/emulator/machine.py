"""A machine: the memories and registers of one target, ready to run (machine specification, section 1)."""

from __future__ import annotations

import math
import mmap
import sys
from collections.abc import Iterable
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from plena_mlir.emulator.kernels.state import (
    HBM_PAGE,
    HBM_PAGE_BITS,
    POISON_INT,
    UNTOUCHED,
    WRITTEN,
    Geometry,
    Hbm,
    Loops,
    Matrix,
    Registers,
    Scalars,
    State,
    Unary,
    Vram,
)
from plena_mlir.errors import ImageError
from plena_mlir.numerics import round_bf16
from plena_mlir.numerics.bf16 import exp_table, reciprocal_table, round_registers, sqrt_table
from plena_mlir.numerics.mx import log2_thresholds
from plena_mlir.numerics.mx_format import element_table, encoder_rule, scale_table
from plena_mlir.target import MX_BLOCK, Target
from plena_mlir.target.formats import Stream, hbm_format
from plena_mlir.timing.dram_channel import new_channels

Bytes: TypeAlias = "bytes | NDArray[np.uint8]"
Segment: TypeAlias = "tuple[int, Bytes]"
Scalar = TypeVar("Scalar", bound=np.generic)

POISON_BYTE = 0xFF
"""As an element the code of NaN, as a scale infinity or NaN."""

_STREAMS: tuple[Stream, ...] = ("m_weight", "m_kv", "v_act", "v_kv")
"""In the order of the kernels' stream numbers."""

MAX_LOOP_DEPTH = 1024
_FIRST_FREE_PAGES = 64
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0
"""MAP_NORESERVE, which older Pythons do not name."""


def _reserve(shape: tuple[int, ...], dtype: type[Scalar]) -> NDArray[Scalar]:
    """Zeros that take memory only where they are written, however large the array is."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
    size = math.prod(shape) * np.dtype(dtype).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1), flags=flags), dtype, math.prod(shape)).reshape(shape)


class Machine:
    """The state of one machine.

    `fill` is the initial content of every memory: 0, or NaN to poison what no program may rely on (the INT SRAM then holds an odd
    number that is no address, the HBM bytes that decode to NaN). Registers and accumulators always start at their reset values.

    Attributes:
        target: the machine's description.
        state: the arrays the kernels work on.
    """

    def __init__(self, target: Target, *, fill: float = 0.0, strict: bool = False) -> None:
        self.target = target
        poisoned = math.isnan(fill)
        if not poisoned and fill != 0.0:
            raise ValueError(f"memories can be filled with 0 or NaN, not {fill}")
        length, heads = target.mlen, target.broadcast
        pages = -(-target.hbm_size // HBM_PAGE)
        formats = [hbm_format(target, stream) for stream in _STREAMS]
        registers = Registers(
            gp=np.zeros(16, np.int64), fp=np.zeros(8, np.float32), addr=np.zeros(16, np.int64), config=np.array([0, 1, 0], np.int64)
        )
        self.state = State(
            geometry=Geometry(
                mlen=length,
                blen=target.blen,
                hlen=target.hlen,
                broadcast=heads,
                prefetch_m_rows=target.prefetch_m_tiles * length,
                prefetch_v_rows=target.prefetch_v_rows,
                writeback_v_rows=target.writeback_v_rows,
                max_loop_instructions=target.max_loop_instructions,
                strict=int(strict),
            ),
            registers=registers,
            vram=Vram(
                rows=_reserve((target.vector_sram_rows, length), np.float32),
                touched=_reserve((target.vector_sram_rows,), np.uint8),
                fill=fill,
                operand=np.zeros(length, np.float32),
                result=np.zeros(length, np.float32),
            ),
            matrix=Matrix(
                tiles=np.full((target.matrix_sram_tiles, length, length), fill, np.float64),
                transposed=np.full((target.matrix_sram_tiles, length, length), fill, np.float64),
                m_acc=np.zeros((target.blen, target.blen), np.float32),
                hm_acc=_reserve((heads, length, length), np.float32),
                v_acc=np.zeros(target.blen, np.float32),
                hv_acc=np.zeros((heads, length), np.float32),
                sums=np.zeros((length, length), np.float64),
            ),
            scalars=Scalars(
                fp=np.full(target.fp_sram_words, fill, np.float32),
                integer=np.full(target.int_sram_words, POISON_INT if poisoned else 0, np.int64),
            ),
            hbm=Hbm(
                table=np.full(pages, -1, np.int32),
                pool=np.zeros((_FIRST_FREE_PAGES, HBM_PAGE), np.uint8),
                used=np.zeros(1, np.int64),
                size=target.hbm_size,
                fill=POISON_BYTE if poisoned else 0,
                totals=np.zeros(4, np.int64),
                elements=np.zeros(length, np.uint8),
                scales=np.zeros(length // MX_BLOCK, np.uint8),
                codes=np.stack([element_table(fmt) for fmt in formats]),
                rules=np.stack([encoder_rule(fmt, "machine") for fmt in formats]),
                powers=scale_table(target.numerics),
                thresholds=log2_thresholds(),
            ),
            unary=Unary(exp=exp_table(), reciprocal=reciprocal_table(), sqrt=sqrt_table()),
            loops=Loops(*(np.zeros(size, np.int64) for size in (MAX_LOOP_DEPTH, MAX_LOOP_DEPTH, MAX_LOOP_DEPTH, 1))),
            dram=new_channels(),
        )

    def grow_hbm(self, pages: int) -> None:
        """Make room for at least `pages` more pages of HBM."""
        hbm = self.state.hbm
        wanted = int(hbm.used[0]) + pages
        if wanted > hbm.pool.shape[0]:
            pool = _reserve((max(wanted, 2 * hbm.pool.shape[0]), HBM_PAGE), np.uint8)
            pool[: hbm.used[0]] = hbm.pool[: hbm.used[0]]
            self.state = self.state._replace(hbm=hbm._replace(pool=pool))

    def load_hbm(self, segments: Iterable[Segment]) -> None:
        """Write (address, bytes) segments.

        Raises:
            ImageError: a segment reaches past the end of the HBM.
        """
        for address, data in segments:
            content = np.frombuffer(data, np.uint8)
            if address < 0 or address + content.size > self.target.hbm_size:
                raise ImageError(
                    f"the HBM image reaches byte {address + content.size}, the HBM has {self.target.hbm_size}",
                    where=f"target {self.target.name}",
                    hint="use a larger HBM_SIZE",
                )
            first, last = (address >> HBM_PAGE_BITS, (address + max(content.size, 1) - 1) >> HBM_PAGE_BITS)
            missing = [page for page in range(first, last + 1) if self.state.hbm.table[page] < 0]
            self.grow_hbm(len(missing))
            hbm = self.state.hbm
            for page in missing:
                hbm.table[page] = hbm.used[0]
                hbm.used[0] += 1
                # Pages of the pool are zero until used; one that the segment covers needs no filling either.
                if hbm.fill and not (address <= page << HBM_PAGE_BITS and (page + 1) << HBM_PAGE_BITS <= address + content.size):
                    hbm.pool[hbm.table[page]] = hbm.fill
            for page in range(first, last + 1):
                start = max(address, page << HBM_PAGE_BITS)
                stop = min(address + content.size, (page + 1) << HBM_PAGE_BITS)
                inside = start - (page << HBM_PAGE_BITS)
                hbm.pool[hbm.table[page], inside : inside + stop - start] = content[start - address : stop - address]

    def read_hbm(self, address: int, count: int) -> bytes:
        """`count` bytes of HBM from `address`, as a program would read them."""
        hbm = self.state.hbm
        out = np.zeros(count, np.uint8)
        stop = min(address + count, self.target.hbm_size)
        here = address
        while here < stop:
            inside = here & (HBM_PAGE - 1)
            amount = min(stop - here, HBM_PAGE - inside)
            page = hbm.table[here >> HBM_PAGE_BITS]
            content = hbm.fill if page < 0 else hbm.pool[page, inside : inside + amount]
            out[here - address : here - address + amount] = content
            here += amount
        return out.tobytes()

    def load_fpsram(self, values: NDArray[Any]) -> None:
        """Set the first entries of the FP SRAM, rounded to bf16 as registers are.

        Raises:
            ImageError: there are more than 1024.
        """
        self._load_scalars(self.state.scalars.fp, round_registers(np.asarray(values, np.float32)), "FP")

    def load_intsram(self, values: NDArray[Any]) -> None:
        """Set the first entries of the INT SRAM, u32.

        Raises:
            ImageError: there are more than 1024.
        """
        self._load_scalars(self.state.scalars.integer, np.asarray(values).astype(np.uint32).astype(np.int64), "INT")

    def _load_scalars(self, memory: NDArray[Any], values: NDArray[Any], name: str) -> None:
        if values.size > memory.size:
            raise ImageError(f"{values.size} entries do not fit in the {name} SRAM of {memory.size}")
        memory[: values.size] = values.reshape(-1)

    def load_vram(self, rows: NDArray[Any], first: int = 0) -> None:
        """Set rows [n, vlen] from row `first` on, rounded to bf16; rows past the end are dropped."""
        vram = self.state.vram
        kept = np.asarray(rows, np.float32)[: max(vram.rows.shape[0] - first, 0)]
        vram.rows[first : first + kept.shape[0]] = round_bf16(kept)
        vram.touched[first : first + kept.shape[0]] = WRITTEN

    def vram_rows(self, first: int, count: int) -> NDArray[np.float32]:
        """A copy of rows [count, vlen] from row `first` on."""
        vram = self.state.vram
        rows = vram.rows[first : first + count].copy()
        rows[vram.touched[first : first + count] == UNTOUCHED] = vram.fill
        return rows

    @property
    def vram_rows_peak(self) -> int:
        """Rows from the first to the last that was ever written."""
        written = np.flatnonzero(self.state.vram.touched == WRITTEN)
        return int(written[-1]) + 1 if written.size else 0
