"""Values that are cheaper to compute again than to keep: constants, address registers, places derived from a pointer."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, OpResult, SSAValue

from plena_mlir.dialects.plena_isa import CSetAddrRegOp, FpType, GpType, LiOp, SAddiIntOp, SLdFpOp, SLdIntOp, SMaxFpOp
from plena_mlir.dialects.plena_isa.registers import physical_index
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.fp_constants import preloaded_constants
from plena_mlir.passes.isa.places import IMMEDIATE_SPAN


@dataclass(frozen=True)
class Rematerialisation:
    """Knows which values can be computed again anywhere.

    Attributes:
        constant_words: words of FP SRAM that hold constants during the whole program.
        spill_loads: loads from words that register allocation wrote and that keep their content where the value is used.
    """

    constant_words: range
    spill_loads: AbstractSet[Operation] = frozenset()

    @staticmethod
    def constant_words_of(module: ModuleOp) -> range:
        """The words of FP SRAM that hold constants."""
        address, values = preloaded_constants(module)
        return range(address, address + len(values))

    def cost(self, value: SSAValue) -> int | None:
        """Instructions to compute a value again without any other register; None when it must be kept or spilled."""
        if not isinstance(value, OpResult):
            return None
        match value.op:
            case LiOp():
                return 1 if value.op.value.value.data < IMMEDIATE_SPAN else 2
            case SLdFpOp() if value.op in self.spill_loads or self._loads_constant(value.op):
                return 1
            case SLdIntOp() if value.op in self.spill_loads:
                return 1
            case CSetAddrRegOp():
                parts = [0 if physical_index(part) == 0 else self.cost(part) for part in value.op.operands]
                return None if None in parts else 1 + sum(part for part in parts if part is not None)
            case _:
                return None

    def clone(self, value: SSAValue) -> list[Operation]:
        """Operations that compute a value again; the last one has it as its result."""
        assert isinstance(value, OpResult)
        match value.op:
            case LiOp():
                return [LiOp(value.op.value.value.data)]
            case SLdFpOp():
                return [SLdFpOp(value.op.rs1, value.op.imm.value.data)]
            case SLdIntOp():
                return [SLdIntOp(value.op.rs1, value.op.imm.value.data)]
            case CSetAddrRegOp():
                new: list[Operation] = []
                parts: list[SSAValue] = []
                for part in value.op.operands:
                    if physical_index(part) is None:
                        new += self.clone(part)
                        part = new[-1].results[0]
                    parts.append(part)
                high, low = parts
                return [*new, CSetAddrRegOp(high, low)]
            case _:
                raise AssertionError(f"{value.op.name} cannot be computed again")

    def copy(self, value: SSAValue) -> list[Operation]:
        """Operations that put a value into a register of its own."""
        if self.cost(value) == 1:
            return self.clone(value)
        match value.type:
            case GpType():
                return [SAddiIntOp(value, 0)]
            case FpType():
                # The maximum of a value and itself is the value, whatever its sign; adding zero would turn -0 into +0.
                return [SMaxFpOp(value, value)]
            case _:
                raise LoweringError(f"a value of type {value.type} cannot be copied")

    def _loads_constant(self, op: SLdFpOp) -> bool:
        return physical_index(op.rs1) == 0 and op.imm.value.data in self.constant_words
