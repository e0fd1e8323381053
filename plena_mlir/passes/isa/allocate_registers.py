"""allocate-registers: virtual registers to the 15 gp, 7 fp and 8 address registers that programs may write.

Per register file: copies where tied values meet, then rounds of eviction until nowhere more values are alive than registers exist,
then a linear scan. Live ranges in structured code are intervals, so the scan needs no more registers than are alive at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TypeAlias

from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter

from plena_mlir.dialects.plena import target_of
from plena_mlir.dialects.plena_isa import (
    AddrType,
    FpType,
    GpType,
    PlenaRegisterType,
    SLdFpOp,
    SLdIntOp,
    SMapVFpOp,
    SStFpOp,
    SStIntOp,
)
from plena_mlir.dialects.plena_isa.registers import physical_index
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.convert_tile_to_isa import FP_WORDS_ATTRIBUTE, INT_WORDS_ATTRIBUTE
from plena_mlir.passes.isa.liveness import Liveness
from plena_mlir.passes.isa.reduce_pressure import plan_evictions
from plena_mlir.passes.isa.rematerialisation import Rematerialisation
from plena_mlir.passes.isa.spill_code import SpillCode
from plena_mlir.passes.isa.spill_words import FP_ACCESSES, INT_ACCESSES, assign_spill_words
from plena_mlir.passes.isa.webs import Web, build_webs, insert_copies
from plena_mlir.verify.registers import SpillArea, check_registers

_ScalarAccess: TypeAlias = SLdIntOp | SStIntOp | SLdFpOp | SStFpOp | SMapVFpOp
_MAXIMUM_ROUNDS = 40


@dataclass(frozen=True)
class AllocateRegistersPass(ModulePass):
    """Give every value of a plena_isa module a physical register; `verify` checks the result independently."""

    name = "allocate-registers"

    verify: bool = False

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        if not _has_virtual_registers(op):
            # Allocated before: ties between fixed registers are no conflict that a copy could solve.
            return
        if self.verify:
            virtual = op.clone()
            area = _free_words(op)
            _allocate(op, area)
            check_registers(virtual, op, area)
        else:
            _allocate(op, _free_words(op))


def _has_virtual_registers(module: ModuleOp) -> bool:
    values: list[SSAValue] = [result for op in module.walk() for result in op.results]
    values += [argument for op in module.walk() for region in op.regions for block in region.blocks for argument in block.args]
    return any(isinstance(value.type, PlenaRegisterType) and physical_index(value) is None for value in values)


def _free_words(op: ModuleOp) -> SpillArea:
    return SpillArea(
        _words_used(op, INT_WORDS_ATTRIBUTE, (SLdIntOp, SStIntOp)),
        _words_used(op, FP_WORDS_ATTRIBUTE, (SLdFpOp, SStFpOp, SMapVFpOp)),
        Rematerialisation.constant_words_of(op),
    )


def _allocate(op: ModuleOp, area: SpillArea) -> None:
    target = target_of(op)
    code = SpillCode(
        op,
        constant_words=area.constants,
        int_words=area.int_word,
        fp_words=area.fp_word,
    )
    # Address registers are set from gp registers, and spilled fp registers need none: so gp comes last.
    for register in (AddrType, FpType, GpType):
        live, webs = _fit(op, register, code)
        _assign(webs, live.register)
    int_words = assign_spill_words(op, area.int_word, target.int_sram_words, INT_ACCESSES)
    fp_words = assign_spill_words(op, area.fp_word, target.fp_sram_words, FP_ACCESSES)
    op.attributes[INT_WORDS_ATTRIBUTE] = IntegerAttr(int_words, i64)
    op.attributes[FP_WORDS_ATTRIBUTE] = IntegerAttr(fp_words, i64)


def _words_used(module: ModuleOp, name: str, accesses: tuple[type[_ScalarAccess], ...]) -> int:
    """Words of a scalar memory that the program itself uses; without the attribute, those that its immediates reach."""
    attribute = module.attributes.get(name)
    if isinstance(attribute, IntegerAttr):
        return attribute.value.data
    return max((op.imm.value.data + 1 for op in module.walk() if isinstance(op, accesses)), default=0)


def _fit(module: ModuleOp, register: type[PlenaRegisterType], code: SpillCode) -> tuple[Liveness, list[Web]]:
    """Spill and copy until the values of one file fit its registers."""
    for _ in range(_MAXIMUM_ROUNDS):
        live = Liveness(module, register, code.counter_reloads)
        # Values that change places take two rounds of copies.
        while insert_copies(live, code.rematerialisation):
            code.erase_unused()
            live = Liveness(module, register, code.counter_reloads)
        webs = build_webs(live)
        if not webs:
            return live, webs
        evictions = plan_evictions(live, webs, code.rematerialisation)
        if not evictions:
            return live, webs
        for eviction in evictions:
            eviction.apply(code)
        code.finish()
    raise LoweringError(
        f"registers of type {register.name} are still short after {_MAXIMUM_ROUNDS} rounds of spilling",
        hint="please report this program",
    )


def _assign(webs: list[Web], register: type[PlenaRegisterType]) -> None:
    """Linear scan over the intervals of the webs; a spilled counter takes the register of its first interval back."""
    registers = register.allocatable_registers()
    free = list(range(len(registers)))
    chosen: dict[Web, int] = {}
    busy: list[tuple[int, int]] = []
    segments = sorted((start, end, number) for number, web in enumerate(webs) for start, end in web.segments)
    for start, end, number in segments:
        while busy and busy[0][0] < start:
            heappush(free, heappop(busy)[1])
        web = webs[number]
        if web in chosen:
            index = chosen[web]
            free.remove(index)
            free.sort()
        else:
            index = heappop(free)
            chosen[web] = index
        heappush(busy, (end, index))
    for web, index in chosen.items():
        for member in web.members:
            Rewriter.replace_value_with_new_type(member.value, registers[index])
