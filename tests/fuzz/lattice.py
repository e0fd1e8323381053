"""The space of cases: a model shape and a machine, drawn from a seed, and the smaller cases a failing one shrinks to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np

from plena_mlir.target import Target
from plena_mlir.target.presets import geometry_target

MODELS_PER_SEED = 1_000_003
"""Separates the streams of models from those of machines."""


@dataclass(frozen=True)
class Shape:
    """A Llama. `seed` draws its weights;"""

    seq: int
    layers: int
    hidden: int
    inter: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    attention_bias: bool
    mlp_bias: bool
    tied: bool
    scope: Literal["model", "decoder"]
    seed: int

    @property
    def legal(self) -> bool:
        """Whether transformers accepts it: the hidden features must divide by the heads, whatever head_dim says."""
        return self.hidden % self.heads == 0 and self.heads % self.kv_heads == 0

    def config(self) -> dict[str, Any]:
        """The fields of a config.json."""
        return {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": self.hidden,
            "intermediate_size": self.inter,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": max(64, self.seq),
            "attention_bias": self.attention_bias,
            "mlp_bias": self.mlp_bias,
            "tie_word_embeddings": self.tied,
        }


@dataclass(frozen=True)
class Machine:
    """A legal machine, and how to compile for it.

    Attributes:
        matrix_tiles: whole tiles of Matrix SRAM.
        prefetch_m: rows of one H_PREFETCH_M.
        spare_rows: rows of Vector SRAM beyond what the program needs; None for plenty.
    """

    mlen: int
    blen: int
    hlen: int
    matrix_tiles: int
    prefetch_m: int
    prefetch_v: int
    writeback_v: int
    spare_rows: int | None
    strategy: Literal["auto", "micro", "broadcast"]
    logits: Literal["all", "last"]

    def target(self, vector_sram_rows: int | None = None) -> Target:
        """The machine, with so many rows of Vector SRAM."""
        base = geometry_target(self.mlen, self.blen, self.hlen)
        return replace(
            base,
            matrix_sram_rows=self.matrix_tiles * self.mlen,
            prefetch_m_rows=self.prefetch_m,
            prefetch_v_rows=self.prefetch_v,
            writeback_v_rows=self.writeback_v,
            vector_sram_rows=base.vector_sram_rows if vector_sram_rows is None else vector_sram_rows,
        )


@dataclass(frozen=True)
class Case:
    """One point of the lattice."""

    shape: Shape
    machine: Machine

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Case:
        return Case(Shape(**data["shape"]), Machine(**data["machine"]))


# --- drawing --------------------------------------------------------------------------------------------------------------------


def draw_shape(seed: int) -> Shape:
    """A model from a seed: small sizes mostly, and around the edges of tiles, MX blocks and head slices."""
    rng = np.random.default_rng([seed, MODELS_PER_SEED])
    kv_heads = int(rng.choice([1, 1, 2, 3]))
    heads = kv_heads * int(rng.choice([1, 1, 2, 3, 4]))
    return Shape(
        seq=int(rng.choice([1, 2, 3, 5, 7, 8, 9, 12, 15, 16, 17, 20, 24, 31, 33, 40, 50, 65])),
        layers=int(rng.choice([1, 1, 2, 3])),
        hidden=-(-int(rng.choice([8, 12, 16, 20, 24, 32, 40, 48, 64, 72])) // heads) * heads,
        inter=int(rng.choice([8, 10, 16, 24, 36, 48, 64, 80, 100])),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=int(rng.choice([2, 4, 6, 8, 8, 12, 16, 16, 20, 24, 32])),
        vocab=int(rng.choice([16, 21, 40, 64, 100])),
        attention_bias=bool(rng.random() < 0.3),
        mlp_bias=bool(rng.random() < 0.2),
        tied=bool(rng.random() < 0.3),
        scope="decoder" if rng.random() < 0.2 else "model",
        seed=int(rng.integers(1 << 30)),
    )


def draw_machine(seed: int, *, largest: int = 256) -> Machine:
    """A machine from a seed: any legal geometry with MLEN up to `largest`, small ones more often."""
    rng = np.random.default_rng([seed])
    edges = [edge for edge in (8, 8, 8, 16, 16, 16, 24, 32, 32, 40, 48, 64, 72, 96, 104, 128, 192, 256) if edge <= largest]
    mlen = int(rng.choice(edges))
    divisors = [size for size in range(1, mlen + 1) if mlen % size == 0]
    hlen = int(rng.choice(divisors))
    blen = int(rng.choice([size for size in divisors if size <= hlen]))
    return Machine(
        mlen=mlen,
        blen=blen,
        hlen=hlen,
        matrix_tiles=int(rng.choice([1, 2, 3, 4, 8, 64])),
        prefetch_m=mlen * int(rng.choice([1, 1, 1, 2, 3])) - int(rng.choice([0, 0, mlen // 2])),
        prefetch_v=int(rng.choice([blen, 1, 2, 4, 8, mlen])),
        writeback_v=int(rng.choice([blen, 1, 2, 4, 8, mlen])),
        spare_rows=[None, None, None, 0, 1, -1, -8][int(rng.integers(7))],
        strategy=("auto", "auto", "micro", "broadcast")[int(rng.integers(4))],
        logits="last" if rng.random() < 0.15 else "all",
    )


# --- shrinking ------------------------------------------------------------------------------------------------------------------


def simpler(case: Case) -> Iterator[Case]:
    """Legal cases one step simpler than this one, boldest first."""
    return (candidate for candidate in _simpler(case) if candidate != case and candidate.shape.legal)


def _simpler(case: Case) -> Iterator[Case]:
    shape, machine = case.shape, case.machine
    plain: dict[str, Any] = {
        "layers": 1,
        "attention_bias": False,
        "mlp_bias": False,
        "tied": False,
        "scope": "decoder",
        "seed": 0,
    }
    for name, value in plain.items():
        yield Case(replace(shape, **{name: value}), machine)
    if shape.heads != shape.kv_heads:
        yield Case(replace(shape, heads=shape.kv_heads), machine)
    if shape.kv_heads > 1:
        yield Case(replace(shape, heads=shape.heads // shape.kv_heads, kv_heads=1), machine)
    for name, smallest in (("seq", 1), ("hidden", 8), ("inter", 8), ("head_dim", 2), ("vocab", 16)):
        value = getattr(shape, name)
        for smaller in dict.fromkeys(
            (smallest, shape.heads, 2 * shape.heads, 8, value // 2 // 2 * 2, value - shape.heads, value - 2, value - 1)
        ):
            if smallest <= smaller < value and (name != "head_dim" or smaller % 2 == 0):
                yield Case(replace(shape, **{name: smaller}), machine)
    for name, value in {
        "matrix_tiles": 64,
        "prefetch_m": machine.mlen,
        "prefetch_v": machine.blen,
        "writeback_v": machine.blen,
        "spare_rows": None,
        "strategy": "auto",
        "logits": "all",
        "hlen": machine.mlen,
        "blen": machine.hlen,
    }.items():
        yield Case(shape, replace(machine, **{name: value}))
    if machine.mlen > 8:
        small = replace(machine, mlen=8, prefetch_m=8, hlen=min(machine.hlen, 8), blen=min(machine.blen, 8))
        if 8 % small.hlen == 0 and 8 % small.blen == 0:
            yield Case(shape, small)
