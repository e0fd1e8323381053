"""hoist-invariants: what every iteration of a loop computes alike moves in front of the loop, once per value.

Constants, address registers, derived places and arithmetic on them move out of innermost loops as far as their operands allow, and
out of the loops around those while registers are left: there they save little, and live through everything inside. Equal values
become one between two loops. If register pressure becomes too high all the same, register allocation computes such values again
where the register is worth more.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from itertools import accumulate

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from plena_mlir.dialects.plena_isa import (
    AddrType,
    CSetAddrRegOp,
    FpType,
    GpType,
    LiOp,
    LoopOp,
    PlenaRegisterType,
    SAddFpOp,
    SAddiIntOp,
    SAddIntOp,
    SExpFpOp,
    SLdFpOp,
    SMaxFpOp,
    SMulFpOp,
    SMulIntOp,
    SReciFpOp,
    SSqrtFpOp,
    SSubFpOp,
    SSubIntOp,
)
from plena_mlir.passes.isa.liveness import Liveness
from plena_mlir.passes.isa.rematerialisation import Rematerialisation
from plena_mlir.passes.rewriting import erase_unused

_Known = dict[Hashable, SSAValue]

_PURE = (
    LiOp,
    CSetAddrRegOp,
    SAddIntOp,
    SAddiIntOp,
    SSubIntOp,
    SMulIntOp,
    SAddFpOp,
    SSubFpOp,
    SMaxFpOp,
    SMulFpOp,
    SExpFpOp,
    SReciFpOp,
    SSqrtFpOp,
)


@dataclass(frozen=True)
class HoistInvariantsPass(ModulePass):
    """Move loop-invariant computation out of loops, before register allocation."""

    name = "hoist-invariants"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        constants = Rematerialisation(Rematerialisation.constant_words_of(op))
        pressure: dict[type[PlenaRegisterType], dict[LoopOp, int]] = {}
        for register in (GpType, FpType, AddrType):
            pressure[register] = _pressures(op, register)
        _Hoisting(constants, pressure).visit(op.body.block, {})
        erase_unused(op)


def _pressures(module: ModuleOp, register: type[PlenaRegisterType]) -> dict[LoopOp, int]:
    """The most values of a register file alive at once in each loop."""
    live = Liveness(module, register)
    changes = [0] * (2 * len(live.ops) + 2)
    for value in live.values.values():
        changes[value.start] += 1
        changes[value.end + 1] -= 1
    alive = list(accumulate(changes))
    return {op: max(alive[2 * loop.start : 2 * loop.end + 1]) for op, loop in live.loops.items()}


@dataclass
class _Hoisting:
    """One run of the pass. `pressure` is kept up to date, per register file and loop."""

    constants: Rematerialisation
    pressure: Mapping[type[PlenaRegisterType], dict[LoopOp, int]]

    def visit(self, block: Block, known: _Known) -> None:
        """Hoist out of the loops of a block, inner loops first. `known` are the values computed since the last loop."""
        for op in list(block.ops):
            if isinstance(op, LoopOp):
                self.visit(op.body.block, {})
                self._hoist(op, block, known)
                known.clear()
            elif self._is_movable(op):
                self._share(op, known)

    def _hoist(self, loop: LoopOp, block: Block, known: _Known) -> None:
        innermost = not any(isinstance(op, LoopOp) for op in loop.body.block.ops)
        for op in list(loop.body.block.ops):
            if self._is_movable(op) and not any(_is_inside(value, loop) for value in op.operands):
                if (key := _key(op)) in known:
                    op.results[0].replace_all_uses_with(known[key])
                    op.detach()
                    op.erase()
                elif self._take_register(op, loop, innermost):
                    op.detach()
                    block.insert_op_before(op, loop)
                    known[key] = op.results[0]

    def _take_register(self, op: Operation, loop: LoopOp, innermost: bool) -> bool:
        """Account for a value that lives through `loop`; False when no register is left for it."""
        register = type(op.results[0].type)
        assert issubclass(register, PlenaRegisterType)
        pressure = self.pressure[register]
        if not innermost and pressure[loop] >= len(register.allocatable_registers()):
            return False
        pressure[loop] += 1
        inner, outer = loop, loop.parent_op()
        while isinstance(outer, LoopOp):
            pressure[outer] = max(pressure[outer], pressure[inner])
            inner, outer = outer, outer.parent_op()
        return True

    def _is_movable(self, op: Operation) -> bool:
        return isinstance(op, _PURE) or (isinstance(op, SLdFpOp) and self.constants.cost(op.rd) is not None)

    @staticmethod
    def _share(op: Operation, known: _Known) -> None:
        """Replace an operation by an equal one before it, or remember it."""
        found = known.setdefault(_key(op), op.results[0])
        if found is not op.results[0]:
            op.results[0].replace_all_uses_with(found)
            op.detach()
            op.erase()


def _key(op: Operation) -> Hashable:
    return type(op), tuple(op.operands), tuple(sorted(op.properties.items()))


def _is_inside(value: SSAValue, loop: LoopOp) -> bool:
    """Whether a value used in the body of `loop` is defined there."""
    owner = value.owner
    return (owner if isinstance(owner, Block) else owner.parent_block()) is loop.body.block
