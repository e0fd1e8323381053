"""convert-tile-to-isa: unit-level plena_tile to plena_isa on virtual registers.

Loops become hardware loops, places become pointers that every iteration moves on: a pointer of an inner loop starts from one of the
loops around it. Where the inner pointer ends at (or a little before) the place the outer one needs next, the outer one simply
continues from there, and one register serves both.

```
scf.for %i = 0 to 4 {                    %p0 = li base
  scf.for %j = 0 to 8 {                  %r  = loop 4 iter_args(%p = %p0) {
    use at base + 64*(8*i + j)     ->      %q' = loop 8 iter_args(%q = %p) { use %q; yield %q + 64 }
  }                                        yield %q'
}                                        }
```
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.ir import Block, BlockArgument, Operation, SSAValue, Use
from xdsl.passes import ModulePass

from plena_mlir.dialects import plena_isa as isa
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import main_function, module_path, target_of
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.fp_constants import PRELOAD_ATTRIBUTE, FpConstants
from plena_mlir.passes.isa.instruction_counts import MOST_EXTRA_ATTRIBUTE
from plena_mlir.passes.isa.isa_emitter import IsaEmitter
from plena_mlir.passes.isa.lower_units import UnitLowering
from plena_mlir.passes.isa.place_analysis import LoopShape, PlaceAnalysis
from plena_mlir.passes.isa.places import IMMEDIATE_SPAN, WORD, Pointer
from plena_mlir.target import Target

FP_WORDS_ATTRIBUTE = "plena.fp_words_used"
"""Module attribute: words of FP SRAM that the program uses from word 0 on."""
INT_WORDS_ATTRIBUTE = "plena.int_words_used"
"""Module attribute: words of INT SRAM that the program uses from word 0 on."""


@dataclass(frozen=True)
class ConvertTileToIsaPass(ModulePass):
    """Replace the body of the module by the instructions of its function `main`; tensors in HBM and their initialisers go."""

    name = "convert-tile-to-isa"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        target = target_of(op)
        main = main_function(op)
        analysis = PlaceAnalysis({tensor.sym_name.data: tensor for tensor in op.body.ops if isinstance(tensor, tile.GlobalOp)})
        analysis.analyse(main.body.block)
        block, constants = _Conversion(target, analysis).convert(main.body.block)
        for old in reversed(list(op.body.block.ops)):
            old.detach()
            old.erase(safe_erase=False)
        for new in list(block.ops):
            new.detach()
            op.body.block.add_op(new)
        op.attributes[PRELOAD_ATTRIBUTE] = constants.attribute()
        op.attributes[FP_WORDS_ATTRIBUTE] = IntegerAttr(constants.end, i64)
        op.attributes[INT_WORDS_ATTRIBUTE] = IntegerAttr(analysis.int_words_used, i64)


class _Conversion:
    """One run of the pass."""

    def __init__(self, target: Target, analysis: PlaceAnalysis) -> None:
        self.analysis = analysis
        self.block = Block()
        self.emitter = IsaEmitter(self.block, analysis.plan)
        self.constants = FpConstants(analysis.fp_words_used, target.fp_sram_words)
        self.units = UnitLowering(target, analysis, self.emitter, self.constants)
        self.loop_pointers: dict[Operation, Sequence[Pointer]] = {}

    def convert(self, source: Block) -> tuple[Block, FpConstants]:
        """The instructions of a tile-level block, and the constants they need in FP SRAM."""
        preamble_end = self.block.last_op
        assert preamble_end is not None
        self._lower_block(source)
        self._build_products(preamble_end)
        return self.block, self.constants

    def _lower_block(self, source: Block) -> None:
        for op in source.ops:
            self.emitter.location = op.location
            match op:
                case scf.ForOp():
                    self._lower_loop(op)
                case (
                    tile.AllocOp()
                    | tile.GetGlobalOp()
                    | tile.ViewOp()
                    | tile.AtOp()
                    | arith.ConstantOp()
                    | scf.YieldOp()
                    | func.ReturnOp()
                ):
                    pass
                case _:
                    self.units.lower(op)

    # --- loops ----------------------------------------------------------------------------------------------------------------

    def _lower_loop(self, op: scf.ForOp) -> None:
        shape = self.analysis.shape(op)
        if isinstance(shape, int):
            if shape:
                self._lower_block(op.body.block)
            return
        emitter = self.emitter
        pointers = self.analysis.plan.pointers(shape.variable)
        inits = [emitter.address(pointer.outer) for pointer in pointers]
        extra = None if shape.extra is None else emitter.address(shape.extra)
        body = Block(arg_types=[isa.GP] * (1 + len(pointers)))
        arguments = body.args[1:]
        emitter.pointers.update(zip(pointers, arguments, strict=True))
        with emitter.body(body):
            self._lower_block(op.body.block)
            emitter.location = op.location
            self._move_pointers(shape, pointers, arguments, body)
        loop = emitter.add(isa.LoopOp(shape.trips, inits, [body], extra))
        if shape.extra is not None:
            loop.attributes[MOST_EXTRA_ATTRIBUTE] = IntegerAttr(shape.most_extra, i64)
        self.loop_pointers[loop] = pointers if shape.extra is None else ()

    def _move_pointers(
        self, shape: LoopShape, pointers: Sequence[Pointer], arguments: Sequence[BlockArgument], body: Block
    ) -> None:
        """End a loop body: each pointer moves on right after its last use, so that it never occupies two registers."""
        order = {op: position for position, op in enumerate(body.ops)}
        moved: list[SSAValue] = []
        for pointer, argument in zip(pointers, arguments, strict=True):
            last = max((_in_block(use.operation, body) for use in argument.uses), key=order.__getitem__, default=body.last_op)
            continued = self._continue_inner(pointer, argument, last, body)
            moved.append(self._advance(argument, pointer.factor, last, body) if continued is None else continued)
        self.emitter.add(isa.YieldOp(*moved))

    def _continue_inner(self, pointer: Pointer, argument: SSAValue, last: Operation | None, body: Block) -> SSAValue | None:
        """The next value of a pointer as a continuation of the inner loop's pointer that starts from it; None when there is none,
        when the pointer is still used in or after that loop, or when it would have to step back."""
        start, offset = argument, 0
        if isinstance(last, isa.SAddiIntOp) and last.rs1 is argument:
            start, offset = last.rd, last.imm.value.data
        uses: list[Use] = [use for use in start.uses if isinstance(use.operation, isa.LoopOp)]
        if len(uses) != 1 or any(_in_block(use.operation, body) is uses[0].operation for use in start.uses if use is not uses[0]):
            return None
        loop, position = uses[0].operation, uses[0].index
        if start is argument and loop is not last:
            return None
        if loop.parent_block() is not body or position >= len(self.loop_pointers[loop]):
            return None
        inner = self.loop_pointers[loop][position]
        trips = inner.variable.trips
        if trips is None:
            return None
        rest = pointer.factor - offset - trips * inner.factor
        if not 0 <= rest < IMMEDIATE_SPAN:
            return None
        assert isinstance(loop, isa.LoopOp)
        return loop.res[position] if not rest else self._advance(loop.res[position], rest, loop, body)

    def _advance(self, value: SSAValue, step: int, after: Operation | None, body: Block) -> SSAValue:
        """value + step modulo 2^32, computed after an operation of the body."""
        new: list[Operation] = []
        if 0 <= step < IMMEDIATE_SPAN:
            new = [result := isa.SAddiIntOp(value, step)]
        elif -IMMEDIATE_SPAN < step < 0:
            new = [amount := isa.LiOp(-step), result := isa.SSubIntOp(value, amount.rd)]
        else:
            new = [amount := isa.LiOp(step % WORD), result := isa.SAddIntOp(value, amount.rd)]
        for op in new:
            op.location = self.emitter.location
        if after is None:
            body.add_ops(new)
        else:
            body.insert_ops_after(new, after)
        return result.rd

    # --- constants ------------------------------------------------------------------------------------------------------------

    def _build_products(self, after: Operation) -> None:
        """Compute, before everything else, the constants that no half holds."""
        new: list[Operation] = []
        for product in self.constants.products:
            first, *others = (isa.SLdFpOp(self.emitter.zero, word) for word in product.factor_words)
            new.append(first)
            value = first.rd
            for factor in others:
                new += [factor, multiply := isa.SMulFpOp(value, factor.rd)]
                value = multiply.rd
            new.append(isa.SStFpOp(value, self.emitter.zero, product.word))
        self.block.insert_ops_after(new, after)


def _in_block(op: Operation, block: Block) -> Operation:
    """The operation of `block` that is or contains `op`."""
    found = block.find_ancestor_op_in_block(op)
    if found is None:
        raise LoweringError("a pointer is used outside its loop", where=module_path(op) or None)
    return found
