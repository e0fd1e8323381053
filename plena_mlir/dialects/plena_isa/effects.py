"""Memory effects of PLENA instructions, one resource per memory, accumulator and configuration register of the machine."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol, cast

from xdsl.backend.register_type import RegisterAllocatedMemoryEffect
from xdsl.ir import Operation
from xdsl.traits import EffectInstance, MemoryEffect, MemoryEffectKind, Resource


@dataclass(frozen=True)
class MachineResource(Resource):
    """A piece of machine state outside the register files."""

    label: str

    def name(self) -> str:
        return f"<{self.label}>"


VRAM = MachineResource("Vector SRAM")
MRAM = MachineResource("Matrix SRAM")
FP_SRAM = MachineResource("FP SRAM")
INT_SRAM = MachineResource("INT SRAM")
HBM = MachineResource("HBM")
M_ACC = MachineResource("m_acc")
HM_ACC = MachineResource("hm_acc")
V_ACC = MachineResource("v_acc")
HV_ACC = MachineResource("hv_acc")
SCALE_REG = MachineResource("SCALE_REG")
STRIDE_REG = MachineResource("STRIDE_REG")
MASK_REG = MachineResource("V_MASK")
LOOP_STACK = MachineResource("loop stack")

ALL_RESOURCES = (
    VRAM,
    MRAM,
    FP_SRAM,
    INT_SRAM,
    HBM,
    M_ACC,
    HM_ACC,
    V_ACC,
    HV_ACC,
    SCALE_REG,
    STRIDE_REG,
    MASK_REG,
    LOOP_STACK,
)

_READ = {r: EffectInstance(MemoryEffectKind.READ, resource=r) for r in ALL_RESOURCES}
_WRITE = {r: EffectInstance(MemoryEffectKind.WRITE, resource=r) for r in _READ}


class TouchesMachineState(Protocol):
    """An op that names the machine state it reads and writes."""

    def resources_read(self) -> tuple[MachineResource, ...]: ...

    def resources_written(self) -> tuple[MachineResource, ...]: ...


class MachineEffect(MemoryEffect):
    """The effects that an instruction declares, and those on the physical registers it has been given.

    An instruction that only computes a virtual register has no effect, so that it is removed when unused; one that writes a
    physical register has a write effect on it, so that it never is.
    """

    @classmethod
    def get_effects(cls, op: Operation) -> AbstractSet[EffectInstance]:
        instruction = cast(TouchesMachineState, op)
        effects = RegisterAllocatedMemoryEffect.get_effects(op)
        effects.update(_READ[resource] for resource in instruction.resources_read())
        effects.update(_WRITE[resource] for resource in instruction.resources_written())
        return effects
