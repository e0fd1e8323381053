"""allocate-registers: virtual registers to the 15 gp, 7 fp and 8 address registers that programs may write.

Per register file: copies where tied values meet, then rounds of eviction until nowhere more values are alive than registers exist,
then a linear scan. Live ranges in structured code are intervals, so the scan needs no more registers than are alive at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.passes import ModulePass
from xdsl.rewriter import Rewriter

from plena_mlir.dialects.plena_isa import AddrType, FpType, GpType, PlenaRegisterType
from plena_mlir.passes.isa.liveness import Liveness
from plena_mlir.passes.isa.rematerialisation import Rematerialisation
from plena_mlir.passes.isa.webs import Web, build_webs, insert_copies


@dataclass(frozen=True)
class AllocateRegistersPass(ModulePass):
    """Give every value of a plena_isa module a physical register."""

    name = "allocate-registers"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        words = Rematerialisation.constant_words_of(op)
        for register in (AddrType, FpType, GpType):
            reloads: set[Operation] = set()
            live = Liveness(op, register, reloads)
            rematerialisation = Rematerialisation(words)
            if insert_copies(live, rematerialisation):
                live = Liveness(op, register, reloads)
            _assign(build_webs(live), register)


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
