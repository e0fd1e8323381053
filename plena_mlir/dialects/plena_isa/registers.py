"""Register types of the PLENA machine (machine specification, section 1.1).

A register type without a name is a virtual register: `!plena_isa.gp`. Register allocation replaces it by a physical one:
`!plena_isa.gp<gp3>`. gp0 and f0 are ordinary registers of the machine that compiled programs never write, so that they hold
zero; they are therefore not allocatable.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import ClassVar, Self, cast

from xdsl.backend.register_type import RegisterType
from xdsl.dialects.builtin import IntAttr
from xdsl.ir import SSAValue
from xdsl.irdl import irdl_attr_definition

GP_COUNT = 16
"""General purpose registers, u32."""
FP_COUNT = 8
"""Floating point registers, bf16. The field has four bits; indices 8 to 15 trap."""
ADDR_COUNT = 16
"""HBM address registers, u64. The documentation and the RTL have eight, so the compiler allocates only the first eight."""

_ALLOCATABLE_ADDR_COUNT = 8


class PlenaRegisterType(RegisterType, ABC):
    """Common base of the three register files."""

    @property
    def physical_index(self) -> int | None:
        """Index of the physical register; None for virtual registers, named or not."""
        if isinstance(self.index, IntAttr) and self.index.data >= 0:
            return self.index.data
        return None


@irdl_attr_definition
class GpType(PlenaRegisterType):
    """A general purpose register: u32 integers and element addresses."""

    name = "plena_isa.gp"

    NAMES: ClassVar[dict[str, int]] = {f"gp{i}": i for i in range(GP_COUNT)}

    @classmethod
    def index_by_name(cls) -> dict[str, int]:
        return cls.NAMES

    @classmethod
    def infinite_register_prefix(cls) -> str:
        return "vgp"

    @classmethod
    def allocatable_registers(cls) -> Sequence[Self]:
        return tuple(cls.from_index(i) for i in range(1, GP_COUNT))


@irdl_attr_definition
class FpType(PlenaRegisterType):
    """A floating point register: one bf16 value."""

    name = "plena_isa.fp"

    NAMES: ClassVar[dict[str, int]] = {f"f{i}": i for i in range(FP_COUNT)}

    @classmethod
    def index_by_name(cls) -> dict[str, int]:
        return cls.NAMES

    @classmethod
    def infinite_register_prefix(cls) -> str:
        return "vf"

    @classmethod
    def allocatable_registers(cls) -> Sequence[Self]:
        return tuple(cls.from_index(i) for i in range(1, FP_COUNT))


@irdl_attr_definition
class AddrType(PlenaRegisterType):
    """An HBM address register: a 64-bit byte address."""

    name = "plena_isa.addr"

    NAMES: ClassVar[dict[str, int]] = {f"a{i}": i for i in range(ADDR_COUNT)}

    @classmethod
    def index_by_name(cls) -> dict[str, int]:
        return cls.NAMES

    @classmethod
    def infinite_register_prefix(cls) -> str:
        return "va"

    @classmethod
    def allocatable_registers(cls) -> Sequence[Self]:
        return tuple(cls.from_index(i) for i in range(_ALLOCATABLE_ADDR_COUNT))


GP = GpType.unallocated()
FP = FpType.unallocated()
ADDR = AddrType.unallocated()


def physical_index(value: SSAValue) -> int | None:
    """Index of the physical register that holds `value`; None when it is not allocated."""
    return cast(PlenaRegisterType, value.type).physical_index
