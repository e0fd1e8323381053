"""hoist-invariants: what every iteration of a loop computes alike moves in front of the loop, once per value.

Constants, address registers, derived places and arithmetic on them move outwards as far as their operands allow; equal ones
become one. That register pressure may become too high is left to register allocation, which computes such values again where the
register is worth more elsewhere.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Hashable
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from plena_mlir.dialects.plena_isa import (
    CSetAddrRegOp,
    LiOp,
    LoopOp,
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
from plena_mlir.passes.isa.rematerialisation import Rematerialisation
from plena_mlir.passes.rewriting import erase_unused

_Known = ChainMap[Hashable, SSAValue]

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
        _Hoisting(constants).visit(op.body.block, ChainMap())
        erase_unused(op)


class _Hoisting:
    def __init__(self, constants: Rematerialisation) -> None:
        self.constants = constants

    def visit(self, block: Block, known: _Known) -> None:
        """Hoist out of the loops of a block, inner loops first. `known` are the values computed before each operation."""
        for op in list(block.ops):
            if isinstance(op, LoopOp):
                self.visit(op.body.block, known.new_child())
                for nested in list(op.body.block.ops):
                    if self._is_movable(nested) and not any(_is_inside(value, op) for value in nested.operands):
                        nested.detach()
                        block.insert_op_before(nested, op)
                        self._share(nested, known)
            elif self._is_movable(op):
                self._share(op, known)

    def _is_movable(self, op: Operation) -> bool:
        return isinstance(op, _PURE) or (isinstance(op, SLdFpOp) and self.constants.cost(op.rd) is not None)

    @staticmethod
    def _share(op: Operation, known: _Known) -> None:
        """Replace an operation by an equal one before it, or remember it."""
        key = (type(op), tuple(op.operands), tuple(sorted(op.properties.items())))
        found = known.get(key)
        if found is None:
            known[key] = op.results[0]
        else:
            op.results[0].replace_all_uses_with(found)
            op.detach()
            op.erase()


def _is_inside(value: SSAValue, loop: LoopOp) -> bool:
    """Whether a value used in the body of `loop` is defined there."""
    owner = value.owner
    return (owner if isinstance(owner, Block) else owner.parent_block()) is loop.body.block
