"""Random programs on random machines, for comparisons of the engine with the interpreter.

Each statement first loads the registers it needs with legal constants, so that no earlier instruction can make it illegal, not even
one that writes gp0. gp1 and gp2 count loops, gp7 holds the trips that a loop adds to its live counter, gp8 to gp15 hold those
constants, the others hold anything. One program in four ends in a statement that traps.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np

from plena_mlir.backend import encode, parse_asm
from plena_mlir.dialects.plena_isa.formats import IMM18, OPCODE_MASK
from plena_mlir.target import Precisions, Target
from tests.emulator.random_traps import random_trap

MAX_DEPTH = 2
TILES = 4
SPARE_ROWS = 24
HBM_SIZE = 1 << 20


def random_target(random: Random) -> Target:
    """A legal geometry with small memories."""
    mlen = random.choice((8, 8, 16, 16, 24, 32, 40, 64))
    hlen = random.choice([size for size in range(1, mlen + 1) if mlen % size == 0])
    blen = random.choice([size for size in range(1, hlen + 1) if mlen % size == 0])
    formats = {
        stream: random.choice(("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e5m2")) for stream in ("m_weight", "m_kv", "v_act", "v_kv")
    }
    return Target(
        name=f"{mlen}x{blen}x{hlen}",
        mlen=mlen,
        vlen=mlen,
        blen=blen,
        hlen=hlen,
        broadcast=mlen // hlen,
        hbm_size=HBM_SIZE,
        matrix_sram_rows=TILES * mlen,
        vector_sram_rows=mlen // hlen * mlen + SPARE_ROWS,
        prefetch_m_rows=random.randint(1, 2 * mlen),
        prefetch_v_rows=random.randint(1, 9),
        writeback_v_rows=random.randint(1, 9),
        max_loop_instructions=100_000 if random.random() < 0.9 else random.randint(20, 200),
        dc_enabled=random.random() < 0.5,
        precisions=Precisions(**formats),
        numerics=random.choice(("plena", "plena", "plena", "ocp")),
    )


class RandomProgram:
    """A machine, a program for it as assembly, and how to run it, all from one seed.

    Attributes:
        lines: the program.
        options: what the memories hold at first, and the mode, as `run_program` takes them.
    """

    def __init__(self, seed: int, statements: int = 12) -> None:
        self.random = Random(seed)
        self.target = random_target(self.random)
        self.lines: list[str] = []
        values = np.random.default_rng(seed)
        self.options: dict[str, Any] = {
            "fill": self.random.choice((0.0, 0.0, float("nan"))),
            "strict": self.random.random() < 0.1,
            "hbm": values.integers(0, 256, HBM_SIZE // 2, dtype=np.uint8).tobytes(),
            "fpsram": values.normal(size=1024).astype(np.float32),
            "intsram": values.integers(0, 1 << 32, 1024, dtype=np.uint32),
            "vram": values.normal(size=(self.target.vector_sram_rows // 2, self.target.vlen)).astype(np.float32),
        }
        self._block(statements, 0)
        # Whatever is left in the accumulators becomes visible.
        for flush in (self._flush, self._flush_heads):
            flush()
        if self.random.random() < 0.25:
            self.lines.extend(random_trap(self.random, self.target))

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def _emit(self, mnemonic: str, *operands: object) -> None:
        line = f"{mnemonic} {', '.join(map(str, operands))}".rstrip()
        self.lines.append(self._disturbed(line) if self.random.random() < 0.05 else line)

    def _disturbed(self, line: str) -> str:
        """The same instruction as a word with random bits where the machine does not look."""
        (instruction,) = parse_asm(line)
        (word,) = encode([instruction])
        used = OPCODE_MASK
        for operand in instruction.spec.operands:
            used |= operand.field.insert(operand.field.maximum)
        return f".word 0x{word | self.random.randrange(1 << 32) & ~used:08X}"

    def _constant(self, register: int, value: int) -> str:
        self._emit("S_LUI_INT", f"gp{register}", value >> 12)
        self._emit("S_ADDI_INT", f"gp{register}", f"gp{register}", value & 0xFFF)
        return f"gp{register}"

    def _block(self, statements: int, depth: int) -> None:
        kinds: list[Callable[[], None]] = [
            self._integer,
            self._integer_memory,
            self._scalar,
            self._scalar_memory,
            self._vector,
            self._vector,
            self._reduce,
            self._shift,
            self._map,
            self._top,
            self._product,
            self._product,
            self._flush,
            self._flush_heads,
            self._load,
            self._load,
            self._store,
        ]
        for _ in range(self.random.randint(1, statements)):
            if depth < MAX_DEPTH and self.random.random() < 0.15:
                self._loop(statements // 2, depth)
            else:
                self.random.choice(kinds)()

    def _loop(self, statements: int, depth: int) -> None:
        counter = f"gp{depth + 1}"
        extra = self.random.choice((0, 0, 1, 2))
        if extra:
            self._constant(7, extra)
        self._emit("C_LOOP_START", counter, self.random.randint(1, 3))
        if extra:
            self._emit("S_ADD_INT", counter, counter, "gp7")
            self._emit("S_LUI_INT", "gp7", 0)
        self._block(statements, depth + 1)
        # The counter is live: 0 or 1 in it makes this iteration the last.
        if self.random.random() < 0.1:
            self._constant(depth + 1, self.random.randrange(2))
        # A broken loop is left behind; its end may not be reached.
        if self.random.random() < 0.1:
            self._emit("C_BREAK")
        else:
            self._emit("C_LOOP_END", counter)

    def _any_gp(self) -> str:
        return f"gp{self.random.choice((0, 3, 4, 5, 6))}"

    def _f(self) -> str:
        return f"f{self.random.randrange(8)}"

    def _row(self, register: int, count: int = 1) -> str:
        """A register with the address of the first of `count` rows that exist."""
        row = self.random.randint(0, self.target.vector_sram_rows - count)
        return self._constant(register, row * self.target.vlen)

    def _split_row(self, register: int, count: int, lane: int = 0) -> tuple[str, int]:
        """A register and an immediate that add up to the address of the first of `count` rows, plus `lane`."""
        address = self.random.randint(0, self.target.vector_sram_rows - count) * self.target.vlen + lane
        part = min(self.random.choice((0, address, self.random.randint(0, address))), IMM18.maximum)
        return self._constant(register, address - part), part

    def _index(self, register: int, count: int = 1) -> tuple[str, int]:
        """A register and an immediate that together index `count` words of a scalar memory."""
        index = self.random.randint(0, 1024 - count)
        part = self.random.randint(0, index)
        return self._constant(register, part), index - part

    def _integer(self) -> None:
        mnemonic = self.random.choice(("S_ADD_INT", "S_SUB_INT", "S_MUL_INT", "S_ADDI_INT", "S_LUI_INT"))
        if mnemonic == "S_LUI_INT":
            self._emit(mnemonic, self._any_gp(), self.random.randrange(1 << 22))
        elif mnemonic == "S_ADDI_INT":
            self._emit(mnemonic, self._any_gp(), self._any_gp(), self.random.randrange(1 << 18))
        else:
            self._emit(mnemonic, self._any_gp(), self._any_gp(), f"gp{self.random.randrange(16)}")

    def _integer_memory(self) -> None:
        register, immediate = self._index(8)
        self._emit(self.random.choice(("S_LD_INT", "S_ST_INT")), self._any_gp(), register, immediate)

    def _scalar(self) -> None:
        binary = ("S_ADD_FP", "S_SUB_FP", "S_MAX_FP", "S_MUL_FP")
        mnemonic = self.random.choice((*binary, "S_EXP_FP", "S_RECI_FP", "S_SQRT_FP"))
        self._emit(mnemonic, *(self._f() for _ in range(3 if mnemonic in binary else 2)))

    def _scalar_memory(self) -> None:
        register, immediate = self._index(8)
        self._emit(self.random.choice(("S_LD_FP", "S_ST_FP")), self._f(), register, immediate)

    def _mask(self) -> int:
        if self.random.random() < 0.3:
            self._emit("C_SET_V_MASK_REG", self._constant(15, self.random.randrange(1 << 32)))
        return self.random.choice((0, 0, 1, 15))

    def _vector(self) -> None:
        mnemonic = self.random.choice(
            (
                *(f"V_{name}_{form}" for name in ("ADD", "SUB", "MUL") for form in ("VV", "VF")),
                "V_MAX_VF",
                "V_MIN_VF",
                "V_EXP_V",
                "V_RECI_V",
            )
        )
        target, source, mask = self._row(8), self._row(9), self._mask()
        if mnemonic.endswith("VV"):
            self._emit(mnemonic, target, source, self._row(10), mask)
        elif mnemonic == "V_SUB_VF":
            self._emit(mnemonic, target, source, self._f(), mask, self.random.randrange(16))
        elif mnemonic.endswith("VF"):
            self._emit(mnemonic, target, source, self._f(), mask)
        else:
            self._emit(mnemonic, target, source, mask)

    def _reduce(self) -> None:
        mask = self._mask()
        self._emit(self.random.choice(("V_RED_SUM", "V_RED_MAX")), self._f(), self._row(8), mask)

    def _shift(self) -> None:
        target, source = self._row(8), self._row(9)
        self._emit("V_SHFT_V", target, source, self._constant(10, self.random.randrange(2 * self.target.vlen)))

    def _map(self) -> None:
        register, immediate = self._index(9, self.target.vlen)
        self._emit("S_MAP_V_FP", self._row(8), register, immediate)

    def _top(self) -> None:
        policy = self.random.randrange(2)
        rows = -(-(128 if policy else 32) // self.target.vlen)
        weights, positions = self._constant(8, self.random.randint(0, 1016)), self._constant(10, self.random.randint(0, 1016))
        self._emit("V_TOPK", weights, self._row(9, rows), positions, policy)

    def _product(self) -> None:
        length, block, head = self.target.mlen, self.target.blen, self.target.hlen
        mnemonic = self.random.choice(("M_MM", "M_TMM", "M_MV", "M_TMV", "M_BMM", "M_BTMM", "M_BTMV"))
        rows = {"M_MM": block, "M_TMM": block, "M_BMM": length, "M_BTMM": length}.get(mnemonic, 1)
        offsets = {
            "M_MM": range(0, length * length, block * length),
            "M_TMM": range(0, length * length, block * length),
            "M_MV": range(0, length, block),
            "M_TMV": range(1),
        }.get(mnemonic, range(0, length, head))
        address = self.random.randrange(TILES) * length * length + self.random.choice(offsets)
        source = self._row(9, rows)
        if mnemonic == "M_BTMV":
            part = self.random.randint(0, address)
            self._emit(mnemonic, self._constant(10, address - part), self._constant(8, part), source)
        elif mnemonic == "M_TMM":
            self._emit(mnemonic, 0, source, self._constant(8, address))
        else:
            self._emit(mnemonic, 0, self._constant(8, address), source)

    def _flush(self) -> None:
        length, block = self.target.mlen, self.target.blen
        lane = self.random.randrange(0, length, block)
        if self.random.random() < 0.5:
            self._emit("M_MV_WO", *self._split_row(8, 1, lane))
            return
        stride = self.random.randint(1, max(1, (self.target.vector_sram_rows - 1) // max(block - 1, 1)))
        register = self._constant(9, stride) if stride > 1 else self.random.choice(("gp0", self._constant(9, 1)))
        # The field 0 means a stride of one row, whatever gp0 holds.
        address, immediate = self._split_row(8, (block - 1) * stride + 1, lane)
        self._emit("M_MM_WO", address, register, immediate)

    def _flush_heads(self) -> None:
        heads = self.target.broadcast
        if self.random.random() < 0.5:
            self._emit("M_BMV_WO", *self._split_row(8, heads))
        else:
            self._emit("M_BMM_WO", *self._split_row(8, heads * self.target.mlen))

    def _place(self, high: int = 0) -> tuple[str, str, int, int]:
        """Offset, address register, stride operand and precision of a transfer that stays inside the HBM, if `high` is 0."""
        self._emit("C_SET_SCALE_REG", self._constant(12, self.random.randrange(1 << 17)))
        if self.random.random() < 0.7:
            step = self.random.choice((8, 64, self.target.mlen, self.random.randrange(2048)))
            self._emit("C_SET_STRIDE_REG", self._constant(12, step))
        else:
            self._emit("C_SET_STRIDE_REG", self._constant(12, self.target.mlen))
        low = self._constant(13, self.random.choice((0, 64, self.random.randrange(1 << 17))))
        address = f"a{self.random.randrange(16)}"
        self._emit("C_SET_ADDR_REG", address, self._constant(12, high), low)
        stride, precision = self.random.choice((0, 1, 1, 1, 2, 15)), self.random.choice((0, 0, 1, 15))
        return self._constant(14, self.random.randrange(1 << 17)), address, stride, precision

    def _load(self) -> None:
        # What lies past the end reads as 0; from 2^63 on, addresses are negative numbers to whoever is careless.
        place = self._place(self.random.choice((0,) * 12 + (1, 0xFFFFFFFF)))
        if self.random.random() < 0.5:
            tile = self.random.randint(0, TILES - self.target.prefetch_m_tiles)
            self._emit("H_PREFETCH_M", self._constant(8, tile * self.target.tile_elements), *place)
        else:
            self._emit("H_PREFETCH_V", self._row(8), *place)

    def _store(self) -> None:
        place = self._place()
        self._emit("H_STORE_V", self._row(8, self.target.writeback_v_rows), *place)
