"""The per-instruction table of the public performance model (machine specification, section 9), by which memory is nearly free.

V_MAX_VF, V_MIN_VF and V_SHFT_V are not in the published table; their prices are our extension of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from plena_mlir.dialects.plena_isa.formats import TimingClass
from plena_mlir.target import Latencies, Target
from plena_mlir.timing.profile import Cost, TimingProfile, one_cycle


@dataclass(frozen=True)
class AnalyticProfile(TimingProfile):
    """The model always assumes a machine with the DesignWare library."""

    def latencies(self, target: Target) -> Latencies:
        return target.latencies_dc


_COSTS: Mapping[TimingClass, Cost] = {
    TimingClass.MATRIX_TILE: lambda target, _: target.blen,
    TimingClass.MATRIX_VECTOR: lambda target, _: 1 + target.blen,
    TimingClass.MATRIX_VECTOR_BROADCAST: lambda target, _: 1 + target.blen,
    TimingClass.MATRIX_WRITE_OUT: one_cycle,
    TimingClass.VECTOR_ADD: lambda _, latency: latency.vector_add,
    TimingClass.VECTOR_MUL: lambda _, latency: latency.vector_mul,
    TimingClass.VECTOR_EXP: lambda _, latency: 1 + latency.vector_exp,
    TimingClass.VECTOR_RECI: lambda _, latency: 1 + latency.vector_exp,
    TimingClass.VECTOR_MAX: lambda _, latency: 1 + latency.vector_max,
    TimingClass.VECTOR_SUM: lambda _, latency: latency.vector_sum,
    TimingClass.VECTOR_TOPK: lambda _, latency: 1 + latency.vector_max,
    TimingClass.VECTOR_MAP: one_cycle,
    TimingClass.SCALAR_FP_BASIC: lambda _, latency: latency.scalar_fp_basic,
    TimingClass.SCALAR_FP_EXP: lambda _, latency: latency.scalar_fp_exp,
    TimingClass.SCALAR_FP_RECI: lambda _, latency: latency.scalar_fp_reci,
    TimingClass.SCALAR_FP_SQRT: lambda _, latency: latency.scalar_fp_sqrt,
    TimingClass.SCALAR_FP_MEMORY: one_cycle,
    TimingClass.SCALAR_INT_BASIC: lambda _, latency: latency.scalar_int_basic,
    TimingClass.CONTROL: one_cycle,
    TimingClass.PREFETCH_MATRIX: one_cycle,
    TimingClass.PREFETCH_VECTOR: one_cycle,
    TimingClass.STORE_VECTOR: one_cycle,
    TimingClass.NONE: one_cycle,
}

_EXCEPTIONS: Mapping[str, Cost] = {
    "M_BMM": lambda target, _: (target.mlen // target.blen) ** 2 * target.blen,
    "M_BTMM": lambda target, _: (target.mlen // target.blen) ** 2 * target.blen,
    "M_BMV": lambda target, _: 1 + target.blen,
    "S_LD_INT": one_cycle,
    "S_ST_INT": one_cycle,
    # The published table has no price for this one; the price is ours.
    "V_SHFT_V": lambda _, latency: latency.vector_basic,
}

PROFILE = AnalyticProfile("analytic", _COSTS, _EXCEPTIONS)
