"""Where the instructions and cycles of a run went: by instruction, opcode, unit of the machine or source location."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.backend.asm_encoder import decode_word
from plena_mlir.dialects.plena_isa.table import spec_of
from plena_mlir.emulator.result import RunResult
from plena_mlir.timing import chosen_profiles

Key: TypeAlias = Literal["pc", "opcode", "unit", "location"]

NO_LOCATION = "(no location)"


@dataclass(frozen=True)
class Share:
    """One part of a run.

    Attributes:
        name: what the part is: the mnemonic, unit or location; of a pc its number and text.
        instructions: dynamic instructions.
        cycles: by the profiles that the run was to time.
    """

    name: str
    instructions: int
    cycles: Mapping[str, int]


def attribute(result: RunResult, key: Key) -> list[Share]:
    """The parts of a run by `key`, without those that never ran: most cycles first by the first profile, then most instructions."""
    names = _names(result, key)
    unique, inverse = np.unique(names, return_inverse=True)

    def total(values: NDArray[np.int64]) -> list[int]:
        sums = np.zeros(unique.size, np.int64)
        np.add.at(sums, inverse, values)
        return sums.tolist()

    counts = total(result.counts)
    cycles = {profile.name: total(result.cycles_per_pc(profile)) for profile in chosen_profiles(result.timing)}
    shares = [
        Share(name, counts[index], {profile: sums[index] for profile, sums in cycles.items()})
        for index, name in enumerate(unique.tolist())
        if counts[index]
    ]
    # Of equal parts the one with the lesser name, so that the order never depends on anything else.
    return sorted(shares, key=lambda share: (*(-value for value in share.cycles.values()), -share.instructions, share.name))


def _names(result: RunResult, key: Key) -> Sequence[str]:
    """[pc] the part that each instruction belongs to."""
    words: list[int] = result.words.tolist()
    if key == "location":
        return [location or NO_LOCATION for location in result.locations or [None] * len(words)]
    if key == "pc":
        width = len(str(len(words)))
        return [f"{pc:>{width}} {decode_word(word).text()}" for pc, word in enumerate(words)]
    specs = [spec_of(word) for word in words]
    return ["(no instruction)" if spec is None else spec.mnemonic if key == "opcode" else spec.unit.value for spec in specs]
