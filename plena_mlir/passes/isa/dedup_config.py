"""dedup-config: configuration registers are written only where their value changes.

A forward walk knows what SCALE_REG, STRIDE_REG and V_MASK hold and drops writes of the same value. A loop that only ever writes
one value to a register writes it once, in front of the loop.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, OpResult, SSAValue
from xdsl.passes import ModulePass

from plena_mlir.dialects.plena_isa import LiOp, LoopOp, PlenaIsaInstruction
from plena_mlir.dialects.plena_isa.control_ops import SetConfigOp
from plena_mlir.dialects.plena_isa.effects import MASK_REG, SCALE_REG, STRIDE_REG, MachineResource
from plena_mlir.passes.rewriting import erase_unused

_CONFIG = (SCALE_REG, STRIDE_REG, MASK_REG)
_State = dict[MachineResource, Hashable]
"""What each register is known to hold: a constant or an SSA value; missing when unknown."""


@dataclass(frozen=True)
class DedupConfigPass(ModulePass):
    """Drop and hoist redundant C_SET_SCALE_REG, C_SET_STRIDE_REG and C_SET_V_MASK_REG."""

    name = "dedup-config"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        _Dedup().visit(op.body.block, {})
        erase_unused(op)


@dataclass
class _Summary:
    """What a loop body does to one register.

    Attributes:
        writes: the operations that write it.
        values: the values they write.
        reads_first: whether the register is read before the body has written it.
    """

    writes: list[SetConfigOp] = field(default_factory=list[SetConfigOp])
    values: set[Hashable] = field(default_factory=set[Hashable])
    reads_first: bool = False


class _Dedup:
    def __init__(self) -> None:
        self._summaries: dict[LoopOp, dict[MachineResource, _Summary]] = {}

    def visit(self, block: Block, state: _State) -> None:
        """Walk a block with what is known at its start; `state` becomes what is known at its end."""
        for op in list(block.ops):
            if isinstance(op, SetConfigOp):
                register = _written(op)
                value = _value(op.rd)
                if state.get(register) == value:
                    op.detach()
                    op.erase()
                else:
                    state[register] = value
            elif isinstance(op, LoopOp):
                self._enter(op, state)
                self.visit(op.body.block, state)

    def _enter(self, op: LoopOp, state: _State) -> None:
        """Make `state` what is known at the start of every iteration."""
        for register, summary in self._summarise(op).items():
            if not summary.writes:
                continue
            single = len(summary.values) == 1
            value = next(iter(summary.values))
            if single and state.get(register) == value:
                continue
            first = summary.writes[0]
            if single and not summary.reads_first and (operand := _available(first.rd, op)) is not None:
                new = type(first)(operand)
                new.location = first.location
                block = op.parent_block()
                assert block is not None
                block.insert_op_before(new, op)
                state[register] = value
            else:
                state.pop(register, None)

    def _summarise(self, loop: LoopOp) -> dict[MachineResource, _Summary]:
        if loop not in self._summaries:
            total = {register: _Summary() for register in _CONFIG}
            for op in loop.body.block.ops:
                if isinstance(op, SetConfigOp):
                    summary = total[_written(op)]
                    summary.writes.append(op)
                    summary.values.add(_value(op.rd))
                elif isinstance(op, LoopOp):
                    for register, inner in self._summarise(op).items():
                        outer = total[register]
                        outer.reads_first |= inner.reads_first and not outer.writes
                        outer.writes += inner.writes
                        outer.values |= inner.values
                elif isinstance(op, PlenaIsaInstruction):
                    for register in op.resources_read():
                        if register in total:
                            total[register].reads_first |= not total[register].writes
            self._summaries[loop] = total
        return self._summaries[loop]


def _written(op: SetConfigOp) -> MachineResource:
    (register,) = op.resources_written()
    return register


def _value(operand: SSAValue) -> Hashable:
    """What an operand holds, so that equal constants compare equal."""
    if isinstance(operand, OpResult) and isinstance(operand.op, LiOp):
        return operand.op.value.value.data
    return operand


def _available(operand: SSAValue, loop: LoopOp) -> SSAValue | None:
    """An operand of an operation in a loop as a value in front of it; constants are loaded there once more."""
    if isinstance(operand, OpResult) and isinstance(operand.op, LiOp):
        constant = LiOp(operand.op.value.value.data)
        constant.location = operand.op.location
        block = loop.parent_block()
        assert block is not None
        block.insert_op_before(constant, loop)
        return constant.rd
    owner: Operation | Block | None = operand.owner
    while owner is not None:
        if owner is loop:
            return None
        owner = owner.parent_op()
    return operand
