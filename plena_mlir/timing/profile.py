"""What a cycle model is: the price of every instruction word, as data; HBM transfers are measured by the engine or priced too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.dialects.plena_isa.formats import InstructionSpec, TimingClass, Unit
from plena_mlir.dialects.plena_isa.table import spec_of
from plena_mlir.target import Latencies, Target

Cost: TypeAlias = Callable[[Target, Latencies], int]


def one_cycle(_: Target, __: Latencies) -> int:
    """The price of most instructions."""
    return 1


@dataclass(frozen=True)
class TimingProfile:
    """A cycle model. A profile with rules of its own is a subclass.

    Attributes:
        name: how commands and reports call it, which is the name of its file.
        costs: cycles of each timing class on a target.
        exceptions: cycles of single mnemonics that differ from their class.
        measured_transfers: whether HBM transfers take the cycles that the DRAM model gives them, or those of `costs`.
    """

    name: str
    costs: Mapping[TimingClass, Cost]
    exceptions: Mapping[str, Cost] = field(default_factory=dict[str, Cost])
    measured_transfers: bool = False

    def latencies(self, target: Target) -> Latencies:
        """The latencies of the functional units that prices are made from."""
        return target.latencies

    def cycles(self, instruction: InstructionSpec, word: int, target: Target) -> int:
        """Cycles of one execution of `word`, an `instruction`, without measured HBM transfers."""
        if instruction.unit is Unit.HBM and self.measured_transfers:
            return 0
        cost = self.exceptions.get(instruction.mnemonic) or self.costs[instruction.timing]
        return cost(target, self.latencies(target))

    def cycles_per_word(self, words: NDArray[np.int64], target: Target) -> NDArray[np.int64]:
        """Cycles of one execution of each word, without measured HBM transfers; 0 for what is no instruction."""
        unique, inverse = np.unique(words, return_inverse=True)
        costs = np.zeros(unique.size, np.int64)
        for index, word in enumerate(unique.tolist()):
            spec = spec_of(word)
            if spec is not None:
                costs[index] = self.cycles(spec, word, target)
        return costs[inverse]
