"""Named cycle models: cycles per instruction word as data, HBM transfers either measured by the engine or priced flat.

`transactional` is the public simulator's clock (machine specification, section 7), `analytic` the per-instruction table of the
public performance model (section 9).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.dialects.plena_isa.formats import OPCODE_BITS, RD, RS3, InstructionSpec, TimingClass, Unit
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.target import Latencies, Target

Cost: TypeAlias = Callable[[Target, Latencies], int]

_SPECS: Mapping[int, InstructionSpec] = {spec.opcode: spec for spec in INSTRUCTIONS}
_OPCODE_MASK = (1 << OPCODE_BITS) - 1

_TOPK_LANES = (32, 128)
"""Lanes that V_TOPK examines, by policy."""


@dataclass(frozen=True)
class TimingProfile:
    """A cycle model.

    Attributes:
        name: how commands and reports call it.
        costs: cycles of each timing class on a target.
        exceptions: cycles of single mnemonics that differ from their class.
        measured_transfers: whether HBM transfers take the cycles the engine measures, or those of `costs`.
        designware: whether the latency column with the DesignWare library applies whatever the target says.
        f0_is_free: whether instructions dropped for their f0 destination take no cycles.
        topk_by_lane: whether V_TOPK pays its cost for every lane it examines.
    """

    name: str
    costs: Mapping[TimingClass, Cost]
    exceptions: Mapping[str, Cost]
    measured_transfers: bool
    designware: bool
    f0_is_free: bool
    topk_by_lane: bool

    def cycles(self, instruction: InstructionSpec, word: int, target: Target) -> int:
        """Cycles of one execution of `word`, an `instruction`, without measured HBM transfers."""
        if instruction.unit is Unit.HBM and self.measured_transfers:
            return 0
        if self.f0_is_free and instruction.dropped_by_f0 and RD.extract(word) == 0:
            return 0
        cost = self.exceptions.get(instruction.mnemonic) or self.costs[instruction.timing]
        cycles = cost(target, target.latencies_dc if self.designware else target.latencies)
        if instruction.timing is TimingClass.VECTOR_TOPK and self.topk_by_lane:
            return cycles * _TOPK_LANES[min(RS3.extract(word), 1)]
        return cycles

    def cycles_per_word(self, words: NDArray[np.int64], target: Target) -> NDArray[np.int64]:
        """[pc] cycles of one execution of each word, without measured HBM transfers; 0 for what is no instruction."""
        unique, inverse = np.unique(words, return_inverse=True)
        costs = np.zeros(unique.size, np.int64)
        for index, word in enumerate(unique.tolist()):
            spec = _SPECS.get(word & _OPCODE_MASK)
            if spec is not None:
                costs[index] = self.cycles(spec, word, target)
        return costs[inverse]


def _one(_: Target, __: Latencies) -> int:
    return 1


TRANSACTIONAL = TimingProfile(
    "transactional",
    MappingProxyType(
        {
            TimingClass.MATRIX_TILE: lambda target, latency: latency.systolic_overhead + target.mlen,
            TimingClass.MATRIX_VECTOR: lambda target, _: target.mlen,
            TimingClass.MATRIX_VECTOR_BROADCAST: lambda _, latency: latency.systolic_overhead + 1,
            TimingClass.MATRIX_WRITE_OUT: _one,
            TimingClass.VECTOR_ADD: lambda _, latency: latency.vector_add,
            TimingClass.VECTOR_MUL: lambda _, latency: latency.vector_mul,
            TimingClass.VECTOR_EXP: lambda _, latency: latency.vector_exp,
            TimingClass.VECTOR_RECI: lambda _, latency: latency.vector_reci,
            TimingClass.VECTOR_MAX: lambda _, latency: latency.vector_max,
            TimingClass.VECTOR_SUM: lambda _, latency: latency.vector_sum,
            TimingClass.VECTOR_TOPK: lambda _, latency: latency.vector_max,
            TimingClass.VECTOR_MAP: lambda target, _: 2 * target.vlen,
            TimingClass.SCALAR_FP_BASIC: lambda _, latency: latency.scalar_fp_basic,
            TimingClass.SCALAR_FP_EXP: lambda _, latency: latency.scalar_fp_exp,
            TimingClass.SCALAR_FP_RECI: lambda _, latency: latency.scalar_fp_reci,
            TimingClass.SCALAR_FP_SQRT: lambda _, latency: latency.scalar_fp_sqrt,
            TimingClass.SCALAR_FP_MEMORY: _one,
            TimingClass.SCALAR_INT_BASIC: lambda _, latency: latency.scalar_int_basic,
            TimingClass.CONTROL: _one,
            TimingClass.NONE: _one,
        }
    ),
    MappingProxyType({}),
    measured_transfers=True,
    designware=False,
    f0_is_free=True,
    topk_by_lane=True,
)
"""The clock of the public simulator."""

ANALYTIC = TimingProfile(
    "analytic",
    MappingProxyType(
        {
            TimingClass.MATRIX_TILE: lambda target, _: target.blen,
            TimingClass.MATRIX_VECTOR: lambda target, _: 1 + target.blen,
            TimingClass.MATRIX_VECTOR_BROADCAST: lambda target, _: 1 + target.blen,
            TimingClass.MATRIX_WRITE_OUT: _one,
            TimingClass.VECTOR_ADD: lambda _, latency: latency.vector_add,
            TimingClass.VECTOR_MUL: lambda _, latency: latency.vector_mul,
            TimingClass.VECTOR_EXP: lambda _, latency: 1 + latency.vector_exp,
            TimingClass.VECTOR_RECI: lambda _, latency: 1 + latency.vector_exp,
            TimingClass.VECTOR_MAX: lambda _, latency: 1 + latency.vector_max,
            TimingClass.VECTOR_SUM: lambda _, latency: latency.vector_sum,
            TimingClass.VECTOR_TOPK: lambda _, latency: 1 + latency.vector_max,
            TimingClass.VECTOR_MAP: _one,
            TimingClass.SCALAR_FP_BASIC: lambda _, latency: latency.scalar_fp_basic,
            TimingClass.SCALAR_FP_EXP: lambda _, latency: latency.scalar_fp_exp,
            TimingClass.SCALAR_FP_RECI: lambda _, latency: latency.scalar_fp_reci,
            TimingClass.SCALAR_FP_SQRT: lambda _, latency: latency.scalar_fp_sqrt,
            TimingClass.SCALAR_FP_MEMORY: _one,
            TimingClass.SCALAR_INT_BASIC: lambda _, latency: latency.scalar_int_basic,
            TimingClass.CONTROL: _one,
            TimingClass.PREFETCH_MATRIX: _one,
            TimingClass.PREFETCH_VECTOR: _one,
            TimingClass.STORE_VECTOR: _one,
            TimingClass.NONE: _one,
        }
    ),
    MappingProxyType(
        {
            "M_BMM": lambda target, _: (target.mlen // target.blen) ** 2 * target.blen,
            "M_BTMM": lambda target, _: (target.mlen // target.blen) ** 2 * target.blen,
            "M_BMV": lambda target, _: 1 + target.blen,
            "S_LD_INT": _one,
            "S_ST_INT": _one,
            # The published table has no price for this one; the price is ours.
            "V_SHFT_V": lambda _, latency: latency.vector_basic,
        }
    ),
    measured_transfers=False,
    designware=True,
    f0_is_free=False,
    topk_by_lane=False,
)
"""The per-instruction table of the public performance model; V_MAX_VF, V_MIN_VF and V_SHFT_V are our extension of it."""

PROFILES: Mapping[str, TimingProfile] = MappingProxyType({profile.name: profile for profile in (TRANSACTIONAL, ANALYTIC)})
