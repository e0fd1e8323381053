"""limit-loop-instructions: loops whose iterations execute more instructions than the machine counts are unrolled.

The machine stops when one iteration of any loop, with all iterations of the loops in it and its own C_LOOP_END, executes more than
MAX_LOOP_INSTRUCTIONS (machine specification, section 6). Such a loop has to go, and with it every loop around it: its body is
cloned once per iteration. The pass runs on physical registers, when the counts are exact and an iteration needs no allocation of
its own; each unrolled loop leaves a note in the module attribute `plena.notes`.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue
from xdsl.passes import ModulePass

from plena_mlir.dialects.plena import add_note, module_path, target_of
from plena_mlir.dialects.plena_isa import LoopOp, SLdIntOp, SStIntOp
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.instruction_counts import InstructionCounts

_MAXIMUM_OPERATIONS = 500_000
"""More operations than this are no program anybody wants to wait for."""


@dataclass(frozen=True)
class LimitLoopInstructionsPass(ModulePass):
    """Unroll the loops that exceed the limit of the target, or `limit` instructions per iteration."""

    name = "limit-loop-instructions"

    limit: int | None = None

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        limit = target_of(op).max_loop_instructions if self.limit is None else self.limit
        add_note(op, *_Unrolling(limit).visit(op.body.block))


class _Unrolling:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.counts = InstructionCounts()
        self.size = 0

    def visit(self, block: Block) -> list[str]:
        """Unroll in a block, outer loops first, so that what is cloned is small; a note per unrolled loop."""
        notes: list[str] = []
        op = block.first_op
        while op is not None:
            following = op.next_op
            if isinstance(op, LoopOp):
                # Inner iterations are part of outer ones: below the limit, nothing inside exceeds it either.
                if self.counts.iteration(op) > self.limit:
                    notes.append(self._note(op))
                    following = self._unroll(op) or following
            op = following
        return list(dict.fromkeys(notes))

    def _note(self, op: LoopOp) -> str:
        place = module_path(op)
        return (
            f"unrolled a loop of {op.trips.value.data} iterations{f' of {place}' if place else ''}: one iteration executes "
            f"{self.counts.iteration(op)} instructions, the machine allows {self.limit}"
        )

    def _unroll(self, op: LoopOp) -> Operation | None:
        """Replace a loop by its iterations; the first operation of the first one."""
        trips = op.trips.value.data
        if op.extra is not None:
            raise LoweringError(
                f"one iteration of a loop with a run-time trip count executes {self.counts.iteration(op)} instructions, "
                f"the machine allows {self.limit}",
                where=module_path(op) or None,
                hint="use a smaller sequence length or a target with a higher limit",
            )
        body = op.body.block
        self.size += trips * sum(1 for _ in body.walk())
        if self.size > _MAXIMUM_OPERATIONS:
            raise LoweringError(
                f"one iteration executes {self.counts.iteration(op)} instructions, the machine allows {self.limit}, and unrolling "
                f"takes more than {_MAXIMUM_OPERATIONS} of them",
                where=module_path(op) or None,
                hint="use fewer layers, a shorter sequence or a target with larger tiles",
            )
        parent = op.parent_block()
        assert parent is not None
        carried = list(op.iter_args)
        skipped = _counter_spill(op)
        first: Operation | None = None
        for _ in range(trips):
            mapping: dict[SSAValue, SSAValue] = dict(zip(op.carried, carried, strict=True))
            for nested in body.ops:
                if nested is op.yield_op or nested in skipped:
                    continue
                copy = nested.clone(mapping)
                parent.insert_op_before(copy, op)
                first = first or copy
            carried = [mapping.get(value, value) for value in op.yield_op.arguments]
        for result, value in zip(op.res, carried, strict=True):
            result.replace_all_uses_with(value)
        op.detach()
        op.erase()
        return first


def _counter_spill(op: LoopOp) -> set[Operation]:
    """The operations that save the loop counter and bring it back."""
    skipped: set[Operation] = set()
    for use in op.counter.uses:
        store, load = use.operation, op.yield_op.prev_op
        if not isinstance(store, SStIntOp) or not isinstance(load, SLdIntOp) or load.imm != store.imm:
            raise LoweringError("the counter of a loop that must be unrolled is used", where=module_path(op) or None)
        skipped |= {store, load}
    return skipped
