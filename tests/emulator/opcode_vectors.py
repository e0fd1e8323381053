"""One vector per opcode: an instruction with another operand in every field, on a machine whose whole state is random.

The effects are written here in plain numpy, from the machine specification's section 4, on values whose sums are exact; what an
effect does not mention must not change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TypeAlias

import numpy as np

State: TypeAlias = SimpleNamespace
"""gp, f, a, scale, stride, mask, vram [64, 8], tiles [4, 8, 8], m, hm, v, hv, fp, int, hbm: as `test_opcodes` sets them up."""


@dataclass(frozen=True)
class OpcodeVector:
    """`text` run once with `gp` preset; `effect` changes the state as the instruction should."""

    text: str
    gp: dict[int, int]
    effect: Callable[[State], None]

    @property
    def mnemonic(self) -> str:
        return self.text.split()[0]


VECTORS: list[OpcodeVector] = []
ALWAYS_TRAPS = ("M_BMV gp3, gp5, gp9", "V_PS_V gp3, gp5, gp9", "C_HADAMARD_TRANSFORM gp3, gp5, gp9")


def vector(text: str, **gp: int) -> Callable[[Callable[[State], None]], Callable[[State], None]]:
    """Declare the effect of `text`; `gp3=8` presets gp3."""

    def declare(effect: Callable[[State], None]) -> Callable[[State], None]:
        VECTORS.append(OpcodeVector(text, {int(name[2:]): value for name, value in gp.items()}, effect))
        return effect

    return declare


def lanes_of(mask: int) -> np.ndarray:
    """[8] whether the mask selects each lane, two heads of four."""
    return np.repeat([(mask >> head) & 1 for head in range(2)], 4).astype(bool)


# the matrix unit: tile 1, rows 16 to 19 or 23


@vector("M_MM 0, gp5, gp9", gp5=64 + 32, gp9=16 * 8)
def _(s: State) -> None:
    s.m += s.vram[16:20] @ s.tiles[1][:, 4:8]


@vector("M_TMM 0, gp5, gp9", gp5=16 * 8, gp9=64 + 32)
def _(s: State) -> None:
    s.m += s.vram[16:20] @ s.tiles[1].T[:, 4:8]


@vector("M_BMM 0, gp5, gp9", gp5=64 + 4, gp9=16 * 8)
def _(s: State) -> None:
    for head in range(2):
        s.hm[head] += s.vram[16:24, head::2] @ s.tiles[1][4:8] * 0.25


@vector("M_BTMM 0, gp5, gp9", gp5=64 + 4, gp9=16 * 8)
def _(s: State) -> None:
    for head in range(2):
        s.hm[head] += s.vram[16:24, 4 * head : 4 * head + 4] @ s.tiles[1][:, 4:8].T * 0.25


@vector("M_BMM_WO gp3, 8", gp3=15 * 8)
def _(s: State) -> None:
    s.vram[16:32] = s.hm.reshape(16, 8)
    s.hm[:] = 0


@vector("M_MM_WO gp3, gp5, 4", gp3=16 * 8, gp5=3)
def _(s: State) -> None:
    s.vram[16:28:3, 4:8] = s.m
    s.m[:] = 0


@vector("M_MV 0, gp5, gp9", gp5=64 + 4, gp9=16 * 8)
def _(s: State) -> None:
    s.v += s.vram[16] @ s.tiles[1][:, 4:8]


@vector("M_TMV 0, gp5, gp9", gp5=64, gp9=16 * 8)
def _(s: State) -> None:
    s.v += s.vram[16] @ s.tiles[1].T[:, :4]


@vector("M_BTMV gp3, gp5, gp9", gp3=4, gp5=64, gp9=16 * 8)
def _(s: State) -> None:
    for head in range(2):
        s.hv[head] += s.vram[16, 4 * head : 4 * head + 4] @ s.tiles[1][:, 4:8].T * 0.25


@vector("M_MV_WO gp3, 12", gp3=15 * 8)
def _(s: State) -> None:
    s.vram[16, 4:8] = s.v
    s.v[:] = 0


@vector("M_BMV_WO gp3, 8", gp3=15 * 8)
def _(s: State) -> None:
    s.vram[16:18] = s.hv
    s.hv[:] = 0


# the vector unit: rows 16 and 17 into row 18; the mask selects the second head

ROWS = {"gp3": 18 * 8, "gp5": 16 * 8, "gp9": 17 * 8}


def lane_by_lane(text: str, operation: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
    """A vector instruction on row 16 and on row 17 or f6, under the mask."""

    def effect(s: State) -> None:
        y = s.vram[17] if "gp9" in text else s.f[6]
        s.vram[18] = np.where(lanes_of(s.mask), operation(s.vram[16], y), s.vram[16])

    vector(text, **ROWS)(effect)


lane_by_lane("V_ADD_VV gp3, gp5, gp9, 1", lambda x, y: x + y)
lane_by_lane("V_SUB_VV gp3, gp5, gp9, 2", lambda x, y: x - y)
lane_by_lane("V_MUL_VV gp3, gp5, gp9, 15", lambda x, y: x * y)
lane_by_lane("V_ADD_VF gp3, gp5, f6, 1", lambda x, y: x + y)
lane_by_lane("V_SUB_VF gp3, gp5, f6, 1, 2", lambda x, y: y - x)
lane_by_lane("V_MUL_VF gp3, gp5, f6, 1", lambda x, y: x * y)
lane_by_lane("V_MAX_VF gp3, gp5, f6, 1", np.maximum)
lane_by_lane("V_MIN_VF gp3, gp5, f6, 1", np.minimum)
lane_by_lane("V_EXP_V gp3, gp5, 1", lambda x, _: np.exp(x))
lane_by_lane("V_RECI_V gp3, gp5, 1", lambda x, _: 1 / x)


@vector("V_RED_SUM f4, gp5, 1", gp5=16 * 8)
def _(s: State) -> None:
    s.f[4] += s.vram[16, :4].sum() + 4 * s.vram[16, 4:].sum()


@vector("V_RED_MAX f4, gp5, 1", gp5=16 * 8)
def _(s: State) -> None:
    s.f[4] = max(s.f[4], s.vram[16].max())


@vector("V_SHFT_V gp3, gp5, gp9", gp3=18 * 8, gp5=16 * 8, gp9=3)
def _(s: State) -> None:
    s.vram[18] = [0, 0, 0, *s.vram[16, :5]]


@vector("V_TOPK gp3, gp5, gp9, 1", gp3=700, gp5=16 * 8, gp9=300)
def _(s: State) -> None:
    values = s.vram[16:32].reshape(128)
    best = sorted(range(128), key=lambda lane: (-values[lane], lane))[:8]
    weights = np.exp(values[best] - values[best[0]])
    s.int[300:308] = best
    s.fp[700:708] = weights / weights.sum()


# scalars


@vector("S_ADD_FP f4, f5, f6")
def _(s: State) -> None:
    s.f[4] = s.f[5] + s.f[6]


@vector("S_SUB_FP f4, f5, f6")
def _(s: State) -> None:
    s.f[4] = s.f[5] - s.f[6]


@vector("S_MAX_FP f4, f5, f6")
def _(s: State) -> None:
    s.f[4] = max(s.f[5], s.f[6])


@vector("S_MUL_FP f4, f5, f6")
def _(s: State) -> None:
    s.f[4] = s.f[5] * s.f[6]


@vector("S_EXP_FP f4, f5")
def _(s: State) -> None:
    s.f[4] = np.exp(s.f[5])


@vector("S_RECI_FP f4, f5")
def _(s: State) -> None:
    s.f[4] = 1 / s.f[5]


@vector("S_SQRT_FP f4, f5")
def _(s: State) -> None:
    s.f[4] = np.sqrt(s.f[5])


@vector("S_LD_FP f4, gp5, 300", gp5=7)
def _(s: State) -> None:
    s.f[4] = s.fp[307]


@vector("S_ST_FP f4, gp5, 300", gp5=7)
def _(s: State) -> None:
    s.fp[307] = s.f[4]


@vector("S_MAP_V_FP gp3, gp5, 300", gp3=18 * 8, gp5=7)
def _(s: State) -> None:
    s.vram[18] = s.fp[307:315]


@vector("S_ADD_INT gp3, gp5, gp9", gp5=0xFFFFFFFF, gp9=6)
def _(s: State) -> None:
    s.gp[3] = 5


@vector("S_ADDI_INT gp3, gp5, 262143", gp5=0xFFFFFFFF)
def _(s: State) -> None:
    s.gp[3] = 262142


@vector("S_SUB_INT gp3, gp5, gp9", gp5=5, gp9=6)
def _(s: State) -> None:
    s.gp[3] = 0xFFFFFFFF


@vector("S_MUL_INT gp3, gp5, gp9", gp5=0xFFFFFFFF, gp9=6)
def _(s: State) -> None:
    s.gp[3] = 0xFFFFFFFA


@vector("S_LUI_INT gp3, 4194303")
def _(s: State) -> None:
    s.gp[3] = 0xFFFFF000


@vector("S_LD_INT gp3, gp5, 300", gp5=7)
def _(s: State) -> None:
    s.gp[3] = s.int[307]


@vector("S_ST_INT gp3, gp5, 300", gp5=7)
def _(s: State) -> None:
    s.int[307] = s.gp[3]


# HBM: elements from a6 + gp5 on, scales SCALE_REG + gp5 / 8 after a6, rows STRIDE_REG apart


def element_values(codes: np.ndarray) -> np.ndarray:
    """E4M3 as the machine reads it; the random HBM holds no infinity and no NaN."""
    exponent, mantissa = (codes & 0x7F) >> 3, codes & 7
    values = np.where(exponent == 0, mantissa / 8 * 2.0**-7, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    return np.where(codes & 0x80, -values, values)


def hbm_row(s: State, row: int) -> np.ndarray:
    start = s.a[6] + s.gp[5] + row * s.stride
    scale = s.hbm[s.a[6] + s.scale + s.gp[5] // 8 + row * s.stride // 8]
    return element_values(s.hbm[start : start + 8].astype(int)) * 2.0 ** (int(scale) - 127)


@vector("H_PREFETCH_M gp3, gp5, a6, 1, 2", gp3=64, gp5=256)
def _(s: State) -> None:
    s.tiles[1] = [hbm_row(s, row) for row in range(8)]


@vector("H_PREFETCH_V gp3, gp5, a6, 1, 2", gp3=18 * 8, gp5=256)
def _(s: State) -> None:
    s.vram[18:22] = [hbm_row(s, row) for row in range(4)]


@vector("H_STORE_V gp3, gp5, a6, 1, 2", gp3=60 * 8, gp5=256)
def _(s: State) -> None:
    # Rows 60 to 63 hold 1.5 * 2^row in all lanes, which is 1.5 with the scale byte 127 + row.
    for row in range(4):
        start = s.a[6] + s.gp[5] + row * s.stride
        s.hbm[start : start + 8] = 0x3C
        s.hbm[s.a[6] + s.scale + s.gp[5] // 8 + row * s.stride // 8] = 127 + row


# control


@vector("C_SET_ADDR_REG a3, gp5, gp9", gp5=0x12345678, gp9=0x9ABCDEF0)
def _(s: State) -> None:
    s.a[3] = 0x123456789ABCDEF0


@vector("C_SET_SCALE_REG gp5", gp5=0xFFFFFFFF)
def _(s: State) -> None:
    s.scale = 0xFFFFFFFF


@vector("C_SET_STRIDE_REG gp5", gp5=77)
def _(s: State) -> None:
    s.stride = 77


@vector("C_SET_V_MASK_REG gp5", gp5=0xFFFFFFFE)
def _(s: State) -> None:
    s.mask = 0xFFFFFFFE


@vector("C_LOOP_START gp5, 4194303", gp5=9)
def _(s: State) -> None:
    s.gp[5] = 4194303


# The last trip: the counter becomes 0.
@vector("C_LOOP_END gp5", gp5=1)
def _(s: State) -> None:
    s.gp[5] = 0


@vector("C_BREAK", gp5=9)
def _(s: State) -> None:
    s.gp[5] = 0
