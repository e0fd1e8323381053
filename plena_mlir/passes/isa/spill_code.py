"""Emission of spill code: words of the scalar memories, loads, stores, loops with fewer carried values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.transforms.dead_code_elimination import is_trivially_dead

from plena_mlir.dialects.plena_isa import (
    AddrType,
    FpType,
    GetGpOp,
    LoopOp,
    PlenaRegisterType,
    SLdFpOp,
    SLdIntOp,
    SStFpOp,
    SStIntOp,
    YieldOp,
)
from plena_mlir.passes.isa.liveness import UseAt
from plena_mlir.passes.isa.rematerialisation import Rematerialisation
from plena_mlir.passes.isa.webs import insert_before, tail_anchor


@dataclass
class SpillCode:
    """Changes a program so that values live in the INT SRAM or FP SRAM for a while.

    Attributes:
        module: the program.
        int_words, fp_words: the next words to use; they may lie beyond the memories until `assign_spill_words` compacts them.
        counter_reloads: loads that bring a loop counter back at the end of its body.
        spill_loads: all loads of spilled values.
    """

    module: ModuleOp
    constant_words: range
    int_words: int
    fp_words: int
    counter_reloads: set[Operation] = field(default_factory=set[Operation])
    spill_loads: set[Operation] = field(default_factory=set[Operation])
    _dropped: dict[LoopOp, set[int]] = field(default_factory=dict[LoopOp, set[int]])

    def __post_init__(self) -> None:
        first = self.module.body.block.first_op
        assert first is not None
        zero = GetGpOp()
        self.module.body.block.insert_op_before(zero, first)
        self.zero = zero.rd

    @property
    def rematerialisation(self) -> Rematerialisation:
        return Rematerialisation(self.constant_words, self.spill_loads)

    @staticmethod
    def can_store(register: type[PlenaRegisterType]) -> bool:
        """Whether registers of a file can be stored; address registers cannot be read back."""
        return register is not AddrType

    # --- loads and stores -----------------------------------------------------------------------------------------------------

    def store_after(self, op: Operation, value: SSAValue, slot: int | None = None) -> int:
        """Store a value right after an operation; returns its word."""
        store, slot = self._store(value, slot)
        self.insert_after(op, store)
        return slot

    def store_before(self, op: Operation, value: SSAValue, slot: int | None = None) -> int:
        """Store a value right before an operation; returns its word."""
        store, slot = self._store(value, slot)
        insert_before(tail_anchor(op, self.counter_reloads), [store], op)
        return slot

    def load(self, slot: int, value: SSAValue) -> Operation:
        """A load of a spilled value, not yet in the program."""
        load = SLdFpOp(self.zero, slot) if isinstance(value.type, FpType) else SLdIntOp(self.zero, slot)
        self.spill_loads.add(load)
        return load

    def recompute(self, value: SSAValue) -> list[Operation]:
        """The operations that compute a value again, not yet in the program."""
        new = self.rematerialisation.clone(value)
        if value.owner in self.spill_loads:
            self.spill_loads.update(new)
        return new

    def serve(self, anchor: Operation, new: Sequence[Operation], uses: Sequence[UseAt]) -> None:
        """Insert operations before `anchor` and let uses read the last one's result."""
        insert_before(tail_anchor(anchor, self.counter_reloads), new, anchor)
        for use in uses:
            use.op.operands[use.operand] = new[-1].results[0]

    def insert_after(self, op: Operation, new: Operation) -> None:
        """Insert an operation that serves `op` right after it."""
        block = op.parent_block()
        assert block is not None
        new.location = op.location
        block.insert_op_after(new, op)

    def _store(self, value: SSAValue, slot: int | None) -> tuple[Operation, int]:
        is_fp = isinstance(value.type, FpType)
        if slot is None:
            slot = self.fp_words if is_fp else self.int_words
            self.fp_words += is_fp
            self.int_words += not is_fp
        return (SStFpOp if is_fp else SStIntOp)(value, self.zero, slot), slot

    # --- loops ----------------------------------------------------------------------------------------------------------------

    def drop_carried(self, op: LoopOp, number: int) -> None:
        """A loop no longer carries a value, which nobody uses any more."""
        self._dropped.setdefault(op, set()).add(number)

    def finish(self) -> None:
        """Rebuild the loops that carry fewer values."""
        for op, numbers in self._dropped.items():
            self._rebuild(op, numbers)
        self._dropped.clear()
        self.erase_unused()

    def erase_unused(self) -> None:
        """Erase computations that nothing needs any more."""
        for op in reversed(list(self.module.walk())):
            # Nothing reads the reload of a counter but the end of the loop, which is not an operation.
            if is_trivially_dead(op) and op not in self.counter_reloads and op is not self.zero.owner:
                op.detach()
                op.erase()

    def _rebuild(self, op: LoopOp, numbers: set[int]) -> None:
        kept = [number for number in range(len(op.iter_args)) if number not in numbers]
        last, block = op.yield_op, op.body.block
        arguments = [last.arguments[number] for number in kept]
        last.detach()
        last.erase()
        end = YieldOp(*arguments)
        end.location = op.location
        block.add_op(end)
        for number in sorted(numbers, reverse=True):
            block.erase_arg(block.args[1 + number])
        inits = [op.iter_args[number] for number in kept]
        body = op.detach_region(op.body)
        new = LoopOp(op.trips.value.data, inits, body, op.extra)
        new.location = op.location
        new.attributes.update(op.attributes)
        parent = op.parent_block()
        assert parent is not None
        parent.insert_op_before(new, op)
        for position, number in enumerate(kept):
            op.res[number].replace_all_uses_with(new.res[position])
        op.detach()
        op.erase()
