"""Random weights that show faults, the same bits on every machine.

Default initialisations hide errors: with std 0.02 everywhere, leaving rope out altogether moves the output no more than
quantisation does. Here activations keep unit scale, queries are sharp enough that attention matters, and gains and biases are
far from the identity. Each parameter has its own Philox stream, keyed by the seed and its name, so that any one of them
can be made alone, in any order.
"""

from __future__ import annotations

import hashlib
import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 21
THREADS = 2

QUERY_PROJECTION = re.compile(r"(^|\.)(q_proj|query|q_lin|wq)\.weight$")


@dataclass(frozen=True)
class Normal:
    """Mean 0, the given standard deviation."""

    deviation: float


@dataclass(frozen=True)
class Uniform:
    """Uniform on [low, high)."""

    low: float
    high: float


Law = Normal | Uniform

GAIN = Uniform(0.75, 1.25)
BIAS = Normal(math.sqrt(0.5))
EMBEDDING = Normal(1.0)


def linear_law(name: str, fan_in: int) -> Normal:
    """N(0, 1/fan_in), with twice that deviation for query projections."""
    return Normal((2.0 if QUERY_PROJECTION.search(name) else 1.0) / math.sqrt(fan_in))


def generator(seed: int, name: str, jumps: int = 0) -> np.random.Generator:
    """The Philox stream of the parameter `name` under `seed`, moved on by `jumps` times 2^128 draws."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest, dtype="<u8", count=2)).jumped(jumps))


def random_tensor(seed: int, name: str, shape: tuple[int, ...], law: Law) -> NDArray[np.float32]:
    """The float32 values of the parameter `name`, drawn from `law`.

    Chunk i of CHUNK elements comes from the stream jumped i times, so that the values do not depend on how many threads draw them.
    """
    values = np.empty(math.prod(shape), dtype=np.float32)

    def draw(index: int) -> None:
        stream = generator(seed, name, index)
        part = values[index * CHUNK : (index + 1) * CHUNK]
        match law:
            case Normal(deviation):
                stream.standard_normal(out=part, dtype=np.float32)
                part *= np.float32(deviation)
            case Uniform(low, high):
                stream.random(out=part, dtype=np.float32)
                part *= np.float32(high - low)
                part += np.float32(low)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(draw, range(-(-values.size // CHUNK))))
    return values.reshape(shape)
