"""The clock of the public simulator (machine specification, section 7): strictly one instruction after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plena_mlir.dialects.plena_isa.formats import RD, RS3, InstructionSpec, TimingClass
from plena_mlir.target import Target
from plena_mlir.timing.profile import Cost, TimingProfile, one_cycle

_TOPK_LANES = (32, 128)
"""Lanes that V_TOPK examines, by policy; it pays for each."""


@dataclass(frozen=True)
class TransactionalProfile(TimingProfile):
    """Instructions that are dropped for their f0 destination take no cycles; V_TOPK pays by the lane."""

    def cycles(self, instruction: InstructionSpec, word: int, target: Target) -> int:
        if instruction.dropped_by_f0 and RD.extract(word) == 0:
            return 0
        cycles = super().cycles(instruction, word, target)
        if instruction.timing is TimingClass.VECTOR_TOPK:
            return cycles * _TOPK_LANES[min(RS3.extract(word), 1)]
        return cycles


_COSTS: Mapping[TimingClass, Cost] = {
    TimingClass.MATRIX_TILE: lambda target, latency: latency.systolic_overhead + target.mlen,
    TimingClass.MATRIX_VECTOR: lambda target, _: target.mlen,
    TimingClass.MATRIX_VECTOR_BROADCAST: lambda _, latency: latency.systolic_overhead + 1,
    TimingClass.MATRIX_WRITE_OUT: one_cycle,
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
    TimingClass.SCALAR_FP_MEMORY: one_cycle,
    TimingClass.SCALAR_INT_BASIC: lambda _, latency: latency.scalar_int_basic,
    TimingClass.CONTROL: one_cycle,
    TimingClass.NONE: one_cycle,
}

PROFILE = TransactionalProfile("transactional", _COSTS, measured_transfers=True)
