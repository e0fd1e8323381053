"""The space of cases: a model and a machine, drawn from a seed, and the smaller cases a failing one shrinks to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from plena_mlir.target import Precisions, Target
from plena_mlir.target.presets import geometry_target
from tests.fuzz.models import ACTIVATIONS, FAMILIES, Rope, Shape

MODELS_PER_SEED = 1_000_003
"""Separates the streams of models from those of machines."""

Room = Literal["plenty", "exact", "one less", "half", "least"]
"""Rows of Vector SRAM: far more than needed; what the program needs as it is; one less, half of it, and the least
that any tiling needs. Where the program does not fit, it gets what the refusal asks for."""


@dataclass(frozen=True)
class Machine:
    """A legal machine, and how to compile for it.

    Attributes:
        matrix_tiles: tiles of Matrix SRAM beyond those that one H_PREFETCH_M fills.
        matrix_rows: rows of Matrix SRAM beyond whole tiles.
        prefetch_m: rows of one H_PREFETCH_M.
        room: Vector SRAM.
        hbm_full: HBM ends behind the last tensor.
    """

    mlen: int
    blen: int
    hlen: int
    matrix_tiles: int
    matrix_rows: int
    prefetch_m: int
    prefetch_v: int
    writeback_v: int
    room: Room = "plenty"
    hbm_full: bool = False
    loop_instructions: int = 100_000
    weight_format: str = "mxfp8_e4m3"
    kv_format: str = "mxfp8_e4m3"
    act_format: str = "mxfp8_e4m3"
    designware: bool = True
    strategy: Literal["auto", "micro", "broadcast"] = "auto"
    logits: Literal["all", "last"] = "all"

    @property
    def legal(self) -> bool:
        return self.mlen % self.hlen == 0 and self.mlen % self.blen == 0 and self.hlen >= self.blen and self.matrix_tiles >= 0

    def target(self, *, vector_sram_rows: int | None = None, hbm_size: int | None = None) -> Target:
        """The machine; Vector SRAM and HBM are the largest unless they are given."""
        base = geometry_target(self.mlen, self.blen, self.hlen)
        tiles = -(-self.prefetch_m // self.mlen) + self.matrix_tiles
        return replace(
            base,
            matrix_sram_rows=tiles * self.mlen + self.matrix_rows,
            prefetch_m_rows=self.prefetch_m,
            prefetch_v_rows=self.prefetch_v,
            writeback_v_rows=self.writeback_v,
            vector_sram_rows=base.vector_sram_rows if vector_sram_rows is None else vector_sram_rows,
            hbm_size=base.hbm_size if hbm_size is None else hbm_size,
            max_loop_instructions=self.loop_instructions,
            dc_enabled=self.designware,
            precisions=Precisions(m_weight=self.weight_format, m_kv=self.kv_format, v_act=self.act_format, v_kv=self.kv_format),
        )


@dataclass(frozen=True)
class Point:
    """One point of the lattice."""

    shape: Shape
    machine: Machine


# --- drawing --------------------------------------------------------------------------------------------------------------------


def draw_shape(seed: int) -> Shape:
    """A model from a seed: small sizes mostly, and around the edges of tiles, MX blocks and head slices."""
    rng = np.random.default_rng([seed, MODELS_PER_SEED])
    names = sorted(FAMILIES)
    weights = np.array([FAMILIES[name].weight for name in names], float)
    family = str(rng.choice(names, p=weights / weights.sum()))
    kv_heads = int(rng.choice([1, 1, 2, 3]))
    heads = kv_heads * int(rng.choice([1, 1, 2, 3, 4] if kv_heads == 1 else [1, 2]))
    options: dict[str, Any] = {
        "head_dim": int(rng.choice([2, 4, 6, 8, 8, 12, 16, 16, 20, 24, 32])),
        "attention_bias": bool(rng.random() < 0.4),
        "mlp_bias": bool(rng.random() < 0.3),
        "head_norms": bool(rng.random() < 0.5),
        "tied": bool(rng.random() < 0.3),
        "window": int(rng.choice([0, 1, 3, 8, 20])),
        "rope": _draw_rope(rng),
        "rotary": float(rng.choice([0.5, 0.5, 1.0])),
        "activation": str(rng.choice(ACTIVATIONS)),
        "eps": int(rng.choice([-5, -6, -6, -12])),
        "experts": int(rng.choice([2, 4, 5, 8, 9, 33])),
        "chosen": int(rng.choice([1, 2, 2])),
    }
    given = {name: value for name, value in options.items() if name in FAMILIES[family].options}
    hidden = -(-int(rng.choice([8, 12, 16, 20, 24, 32, 40, 48, 64, 72])) // heads) * heads
    if "head_dim" not in given:
        # Rope turns pairs of features, of half of a head where it is partial.
        hidden = -(-hidden // (4 * heads)) * 4 * heads
    elif given["head_dim"] * given.get("rotary", 1.0) % 2:
        given["rotary"] = 1.0
    seq = int(rng.choice([1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 33, 40, 65]))
    sequences = int(rng.choice([2, 2, 3])) if rng.random() < 0.15 and seq <= 20 else 0
    return Shape(
        family=family,
        seq=seq,
        lengths=tuple(int(length) for length in rng.integers(1, seq, sequences, endpoint=True)),
        padding="left" if rng.random() < 0.5 else "right",
        layers=int(rng.choice([1, 1, 1, 2, 3])),
        hidden=hidden,
        inter=int(rng.choice([8, 10, 16, 24, 36, 48, 64, 80, 100])),
        heads=heads,
        kv_heads=kv_heads,
        vocab=int(rng.choice([16, 21, 40, 64, 100])),
        scope="decoder" if rng.random() < 0.2 else "model",
        seed=int(rng.integers(1 << 30)),
        **{"head_dim": hidden // heads, **given},
    )


def _draw_rope(rng: np.random.Generator) -> Rope:
    kinds: tuple[Rope, ...] = ("default", "default", "linear", "llama3", "yarn")
    return kinds[int(rng.integers(len(kinds)))]


def draw_machine(seed: int, *, largest: int = 512) -> Machine:
    """A machine from a seed: any legal geometry with MLEN up to `largest`, small and little divided ones more often.

    A row of many head slices costs the compiler an operation and the machine a product for each, so that these are drawn now and
    then only, and not with the longest rows, where one case takes minutes.
    """
    rng = np.random.default_rng([seed])
    edges = [edge for edge in (8, 8, 8, 16, 16, 16, 24, 32, 32, 40, 48, 64, 72, 96, 104, 128, 256, 512) if edge <= largest]
    mlen = int(rng.choice(edges))
    divisors = [size for size in range(1, mlen + 1) if mlen % size == 0]
    most = 64 if rng.random() < 0.05 and mlen <= 128 else 8
    hlen = int(rng.choice([size for size in divisors if mlen // size <= most]))
    blen = int(rng.choice([size for size in divisors if size <= hlen]))
    formats = ("mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e4m3", "mxfp8_e5m2")
    rooms: tuple[Room, ...] = ("plenty", "plenty", "plenty", "exact", "one less", "half", "least", "least")
    weight, kv, act = (str(rng.choice(formats)) for _ in range(3))
    return Machine(
        mlen=mlen,
        blen=blen,
        hlen=hlen,
        matrix_tiles=int(rng.choice([0, 0, 1, 2, 3, 7, 63])),
        matrix_rows=int(rng.choice([0, 0, 0, 1, mlen - 1])),
        prefetch_m=mlen * int(rng.choice([1, 1, 1, 2, 3])) - int(rng.choice([0, 0, mlen // 2])),
        prefetch_v=int(rng.choice([blen, 1, 2, 4, 8, mlen])),
        writeback_v=int(rng.choice([blen, 1, 2, 4, 8, mlen])),
        room=rooms[int(rng.integers(len(rooms)))],
        hbm_full=bool(rng.random() < 0.15),
        loop_instructions=int(rng.choice([100_000, 100_000, 100_000, 20_000])),
        weight_format=weight,
        kv_format=kv,
        act_format=act,
        designware=bool(rng.random() < 0.8),
        strategy=("auto", "auto", "micro", "broadcast")[int(rng.integers(4))],
        logits="last" if rng.random() < 0.15 else "all",
    )


# --- shrinking ------------------------------------------------------------------------------------------------------------------


def simpler(point: Point) -> Iterator[Point]:
    """Legal points one step simpler than this one, boldest first."""
    return (candidate for candidate in _simpler(point) if candidate != point and candidate.shape.legal and candidate.machine.legal)


def _simpler(point: Point) -> Iterator[Point]:
    shape, machine = point.shape, point.machine
    if shape.family != "llama":
        neutral = {entry.name: entry.default for entry in fields(Shape) if entry.name not in FAMILIES["llama"].options}
        kept = ("family", "seq", "layers", "hidden", "inter", "heads", "kv_heads", "vocab", "lengths", "padding", "scope", "seed")
        others = {name: value for name, value in neutral.items() if name not in kept}
        yield Point(replace(shape, family="llama", **others), machine)
    plain: dict[str, Any] = {
        "layers": 1,
        "attention_bias": False,
        "mlp_bias": False,
        "head_norms": False,
        "tied": False,
        "window": 0,
        "rope": "default",
        "rotary": 1.0,
        "activation": "silu",
        "eps": -6,
        "experts": 2,
        "chosen": 1,
        "lengths": (),
        "padding": "right",
        "scope": "decoder",
        "seed": shape.seed % 2,
    }
    for name, value in plain.items():
        yield Point(replace(shape, **{name: value}), machine)
    plain_machine = replace(
        Machine(machine.mlen, machine.blen, machine.hlen, 63, 0, machine.mlen, machine.blen, machine.blen),
        strategy=machine.strategy,
    )
    yield Point(shape, plain_machine)
    for entry in fields(Machine):
        yield Point(shape, replace(machine, **{entry.name: getattr(plain_machine, entry.name)}))
    yield Point(shape, replace(machine, strategy="auto"))
    if shape.heads != shape.kv_heads:
        yield Point(_sized(shape, heads=shape.kv_heads), machine)
    if shape.kv_heads > 1:
        yield Point(_sized(shape, heads=shape.heads // shape.kv_heads, kv_heads=1), machine)
    for name, smallest in (("seq", 1), ("hidden", 8), ("inter", 8), ("head_dim", 2), ("vocab", 16)):
        value = getattr(shape, name)
        for smaller in dict.fromkeys(
            (smallest, shape.heads, 4 * shape.heads, 8, value // 2 // 2 * 2, value - shape.heads, value - 2, value - 1)
        ):
            if smallest <= smaller < value:
                yield Point(_sized(shape, **{name: smaller}), machine)
    for name, value in (("hlen", machine.mlen), ("blen", machine.hlen)):
        yield Point(shape, replace(machine, **{name: value}))
    if machine.mlen > 8:
        small = replace(machine, mlen=8, prefetch_m=8, hlen=min(machine.hlen, 8), blen=min(machine.blen, 8))
        yield Point(shape, small)


def _sized(shape: Shape, **sizes: int) -> Shape:
    """The shape with other sizes; where a head's size follows from others, it does."""
    new = replace(shape, **sizes)
    return new if "head_dim" in FAMILIES[shape.family].options else replace(new, head_dim=new.hidden // new.heads)
