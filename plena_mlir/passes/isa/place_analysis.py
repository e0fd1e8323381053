"""What the conversion knows about a tile program before it emits anything: loops, their trip counts, every place, the pointers."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Block, Operation, OpResult, SSAValue
from xdsl.utils.hints import isa

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path
from plena_mlir.dialects.plena_isa.structure_ops import MAXIMUM_TRIPS
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.places import WORD, Place, PointerPlan, Variable


@dataclass(frozen=True)
class LoopShape:
    """How a tile loop runs.

    Attributes:
        variable: what places in the body depend on.
        trips: iterations, of which `extra` adds more at run time.
        extra: iterations beyond `trips`, as a linear function of outer loops.
        most_extra: the greatest value of `extra`.
    """

    variable: Variable
    trips: int
    extra: Place | None = None
    most_extra: int = 0


@dataclass
class PlaceAnalysis:
    """Walks a tile-level block once; afterwards `place`, `shape` and `plan` answer.

    Args:
        globals: the tensors in HBM by name.

    Raises:
        LoweringError: a loop or an address the machine cannot express.
    """

    globals: dict[str, tile.GlobalOp]
    plan: PointerPlan = field(default_factory=PointerPlan)
    fp_words_used: int = 0
    int_words_used: int = 0
    _variables: dict[SSAValue, Variable | int] = field(default_factory=dict[SSAValue, "Variable | int"])
    _shapes: dict[Operation, LoopShape | int] = field(default_factory=dict[Operation, "LoopShape | int"])
    _places: dict[SSAValue, Place] = field(default_factory=dict[SSAValue, Place])

    def analyse(self, block: Block) -> None:
        """Analyse a program. `fp_words_used` and `int_words_used` become the ends of its buffers in the scalar memories."""
        self._visit(block)
        self.plan.close()

    def shape(self, loop: scf.ForOp) -> LoopShape | int:
        """How a loop runs; for one that runs at most once, its number of trips."""
        return self._shapes[loop]

    def place(self, ref: SSAValue) -> Place:
        """The place of a reference: an address in on-chip memory, the offset in the global's elements in HBM."""
        return self._places[ref]

    def index(self, value: SSAValue) -> Variable:
        """The variable of a loaded index."""
        variable = self._variables[value]
        assert isinstance(variable, Variable)
        return variable

    def global_of(self, ref: SSAValue) -> tile.GlobalOp:
        """The tensor that a reference into HBM points into."""
        return self._global(tile.owning_buffer(ref))

    # --- walk ---------------------------------------------------------------------------------------------------------------

    def _visit(self, block: Block) -> None:
        for op in block.ops:
            if isinstance(op, scf.ForOp):
                self._visit_loop(op)
                continue
            if isinstance(op, tile.AllocOp):
                self._visit_alloc(op)
            elif isinstance(op, tile.LoadIndexOp):
                self._variables[op.result] = Variable(len(self._variables), op.result)
            if isinstance(op, tile.UnitOp):
                for operand in op.operands:
                    if isinstance(operand.type, tile.RefType):
                        self._require(operand, op)

    def _visit_alloc(self, op: tile.AllocOp) -> None:
        if op.address is None:
            raise LoweringError("a buffer has no address", where=_where(op), hint="run plan-memory first")
        assert isa(op.buffer.type, tile.Buffer)
        end = op.address.value.data + prod(op.buffer.type.get_shape())
        match tile.space_of(op.buffer.type):
            case tile.Space.FPRAM:
                self.fp_words_used = max(self.fp_words_used, end)
            case tile.Space.INTRAM:
                self.int_words_used = max(self.int_words_used, end)
            case _:
                pass

    def _visit_loop(self, op: scf.ForOp) -> None:
        if op.iter_args:
            raise LoweringError("a tile-level loop carries values", where=_where(op), hint="keep them in fpram buffers")
        start, step = self._constant(op.lb, op), self._constant(op.step, op)
        shape = self._loop_shape(op, start, step)
        self._shapes[op] = shape
        if isinstance(shape, int):
            self._variables[op.body.block.args[0]] = start
            if not shape:
                return
        else:
            self._variables[op.body.block.args[0]] = shape.variable
            if shape.extra is not None:
                self.plan.require(shape.extra)
        self._visit(op.body.block)

    def _loop_shape(self, op: scf.ForOp, start: int, step: int) -> LoopShape | int:
        induction = op.body.block.args[0]
        order = len(self._variables)
        bound = self._variables.get(op.ub)
        if not isinstance(bound, Variable):
            trips = max(0, -(-((self._constant(op.ub, op) if bound is None else bound) - start) // step))
            if trips <= 1:
                return trips
            if trips > MAXIMUM_TRIPS:
                raise LoweringError(
                    f"a loop of {trips} iterations, the machine counts to {MAXIMUM_TRIPS}", where=_where(op), hint="split it in two"
                )
            return LoopShape(Variable(order, induction, start, step, trips), trips)
        first = -(-(bound.start - start) // step)
        if bound.step % step:
            raise LoweringError(
                f"a loop of step {step} up to a variable of step {bound.step} has no linear trip count",
                where=_where(op),
                hint="use a step that divides the outer one",
            )
        if first < 1:
            raise LoweringError(
                "a loop up to an outer variable may run zero times", where=_where(op), hint="start the outer loop later"
            )
        factor = bound.step // step
        if bound.trips is None:
            raise LoweringError("a loop runs up to a variable whose own range is not constant", where=_where(op))
        return LoopShape(Variable(order, induction, start, step), first, Place.of(0, [(bound, factor)]), factor * (bound.trips - 1))

    # --- places ---------------------------------------------------------------------------------------------------------------

    def _require(self, ref: SSAValue, user: Operation) -> None:
        if ref not in self._places:
            self._places[ref] = self._place(ref, user)
            self.plan.require(self._places[ref])

    def _place(self, ref: SSAValue, user: Operation) -> Place:
        access = tile.resolve(ref)
        constant = access.constant
        factors: list[tuple[Variable, int]] = []
        for value, coefficient in access.terms:
            variable = self._variables.get(value)
            if variable is None:
                variable = self._constant(value, user)
            if isinstance(variable, int):
                constant += coefficient * variable
            else:
                constant += coefficient * variable.start
                factors.append((variable, coefficient * variable.step))
        owner = access.buffer.owner
        if isinstance(owner, tile.AllocOp):
            assert owner.address is not None
            return Place.of(owner.address.value.data + constant, factors)
        _check_size(self._global(access.buffer), user)
        return Place.of(constant, factors)

    def _global(self, buffer: SSAValue) -> tile.GlobalOp:
        owner = buffer.owner
        if not isinstance(owner, tile.GetGlobalOp):
            raise LoweringError("an address does not lead to a buffer of this program", where=_where(owner))
        return self.globals[owner.symbol.root_reference.data]

    def _constant(self, value: SSAValue, user: Operation) -> int:
        owner = value.owner
        if isinstance(value, OpResult) and isinstance(owner, arith.ConstantOp) and isinstance(owner.value, IntegerAttr):
            return owner.value.value.data
        raise LoweringError(
            "an index is neither a constant, nor a loop variable, nor a loaded index",
            where=_where(user),
            hint="fold index arithmetic into affine maps",
        )


def _check_size(tensor: tile.GlobalOp, user: Operation) -> None:
    """The distance from the elements of a tensor to its scales, and so every offset into it, is a 32-bit word. plan-memory sees to
    that, but addresses may have come with the program.
    """
    assert isa(tensor.type, tile.Buffer)
    if (size := prod(tensor.type.get_shape())) >= WORD:
        raise LoweringError(
            f"global {tensor.sym_name.data} has {size:,} elements, and the distance to its scales must be below 2**32",
            where=_where(user),
            hint="store the tensor as several globals",
        )


def _where(op: Operation | Block) -> str:
    if isinstance(op, Block):
        return "block argument"
    path = module_path(op)
    return f"{path}: {op.name}" if path else op.name
