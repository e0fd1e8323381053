"""Run plena_tile IR with the machine's numerics.

`run_tile` decodes the program once into closures over a list of slots (loop variables, token ids, scalars) and then runs those,
in a microsecond or two per operation. `TileFunctions` runs the same bound operations one by one under xDSL's interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.interpreter import Interpreter, InterpreterFunctions, PythonValues, impl, register_impls
from xdsl.interpreters.arith import ArithFunctions
from xdsl.interpreters.func import FuncFunctions
from xdsl.interpreters.scf import ScfFunctions
from xdsl.ir import Block, Operation, OpResult, SSAValue
from xdsl.utils.hints import isa

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import main_function
from plena_mlir.errors import ExecutionError
from plena_mlir.interpreters.tile_memory import Array, Bounds, TileMemory, where
from plena_mlir.interpreters.tile_structured import BINDERS, bind
from plena_mlir.interpreters.tile_units import Unit
from plena_mlir.target.layout import GlobalData

Slots: TypeAlias = "list[Any]"
Step: TypeAlias = "Callable[[Slots], None]"
Reader: TypeAlias = "Callable[[Slots], Any]"


class Watcher(Protocol):
    """Follows a run operation by operation."""

    def starts(self, memory: TileMemory) -> None:
        """The program is about to run on `memory`."""

    def runs(self, op: Operation, operands: Sequence[Any]) -> None:
        """A unit or structured operation is about to run: element offsets in the buffers of its operands, scalars."""

    def ran(self, op: Operation, operands: Sequence[Any]) -> None:
        """It has run."""

    def iterates(self, op: scf.ForOp) -> None:
        """An iteration of a loop is about to begin."""


@dataclass(frozen=True)
class TileResult:
    """What a program leaves behind.

    Attributes:
        output: the buffer with role "output": float32 [column blocks, rows, VLEN], bf16 values.
        globals: HBM after the run, by name: globals without initial values (K/V caches) may have changed.
    """

    output: NDArray[np.float32]
    globals: Mapping[str, GlobalData]

    def rows(self, rows: int, features: int) -> NDArray[np.float32]:
        """The output as a matrix [rows, features]: column blocks side by side, padding dropped."""
        blocks, physical, lanes = self.output.shape
        if rows > physical or features > blocks * lanes:
            raise ExecutionError(f"an output of shape {self.output.shape} does not hold {rows} rows of {features} features")
        return self.output.transpose(1, 0, 2).reshape(physical, blocks * lanes)[:rows, :features]


def run_tile(
    module: ModuleOp,
    data: Mapping[str, GlobalData],
    inputs: Mapping[str, Array],
    *,
    fill: float = 0.0,
    listeners: Sequence[Interpreter.Listener] = (),
    watcher: Watcher | None = None,
) -> TileResult:
    """Run `@main` of a plena_tile module.

    Args:
        module: carries its target; every buffer comes from an alloc or a global.
        data: the bytes of the globals, by name, as `encode_globals` gives them.
        inputs: what the host writes, as `backend.staging.arrange_inputs` gives it: token ids for each intram buffer of that role
            (`ids`, `ids.1`, ...) and numbers for each global of the role input, by its name.
        fill: what fresh buffers, and globals that nobody gives data for, start with: 0.0 or NaN.
        listeners: watch every operation; the program then runs under xDSL's interpreter, about a hundred times slower.
        watcher: follows the run without listeners, at little cost.

    Raises:
        LoweringError: the module has no @main.
        ExecutionError: an access outside its buffer or not aligned, a missing input, an operation without a meaning here.
    """
    memory = TileMemory(module, data, inputs, fill)
    main = main_function(module)
    # A loop of the machine rounds and overflows silently, and so does this one.
    with np.errstate(all="ignore"):
        if listeners:
            interpreter = Interpreter(module, listeners=tuple(listeners))
            for functions in (TileFunctions(memory), ScfFunctions(), ArithFunctions(), FuncFunctions()):
                interpreter.register_implementations(functions)
            interpreter.call_op(main, ())
        else:
            decoder = _Decoder(memory, watcher)
            if watcher is not None:
                watcher.starts(memory)
            steps = decoder.block(main.body.block)
            slots: Slots = [None] * decoder.slots
            for step in steps:
                step(slots)
    return TileResult(_output(main, memory), memory.globals)


def _output(main: func.FuncOp, memory: TileMemory) -> NDArray[np.float32]:
    for op in main.body.block.ops:
        if isinstance(op, pt.AllocOp) and op.role is not None and op.role.data == pt.OUTPUT:
            assert isa(op.buffer.type, pt.Buffer)
            return memory.array(op.buffer).reshape(op.buffer.type.get_shape()).copy()
    raise ExecutionError('no alloc of @main has the role "output"')


def _constant_value(value: SSAValue) -> int | None:
    """The integer an SSA value is known to be."""
    if isinstance(value, OpResult) and isinstance(value.op, arith.ConstantOp) and isinstance(value.op.value, IntegerAttr):
        return value.op.value.value.data
    return None


class _Decoder:
    """Turns blocks into lists of closures; every value that changes while the program runs gets a slot."""

    def __init__(self, memory: TileMemory, watcher: Watcher | None = None) -> None:
        self.memory = memory
        self.watcher = watcher
        self.slot: dict[SSAValue, int] = {}

    @property
    def slots(self) -> int:
        """How many slots the closures made so far use."""
        return len(self.slot)

    def _new_slot(self, value: SSAValue) -> int:
        return self.slot.setdefault(value, len(self.slot))

    def block(self, block: Block) -> list[Step]:
        """The steps of one block."""
        steps: list[Step] = []
        for op in block.ops:
            match op:
                case pt.AtOp() | pt.ViewOp() | pt.GetGlobalOp() | arith.ConstantOp() | scf.YieldOp() | func.ReturnOp():
                    pass
                case pt.AllocOp():
                    steps.append(lambda slots, op=op: self.memory.allocate(op))
                case scf.ForOp():
                    steps.append(self._loop(op))
                case _:
                    steps.append(self._unit(op))
        return steps

    def _loop(self, op: scf.ForOp) -> Step:
        if op.iter_args:
            raise ExecutionError("a loop of plena_tile carries no values", where=where(op))
        lower, upper, step = (self._value(bound) for bound in (op.lb, op.ub, op.step))
        slot = self._new_slot(op.body.block.args[0])
        body = self.block(op.body.block)
        watcher = self.watcher
        if watcher is not None:
            body.insert(0, lambda slots: watcher.iterates(op))

        def run(slots: Slots) -> None:
            for value in range(lower(slots), upper(slots), step(slots)):
                slots[slot] = value
                for action in body:
                    action(slots)

        return run

    def _value(self, value: SSAValue) -> Reader:
        """A scalar or an index."""
        constant = _constant_value(value)
        if constant is not None:
            return lambda slots: constant
        if value not in self.slot:
            raise ExecutionError("a value that no operation of plena_tile computes", where=str(value.type))
        slot = self.slot[value]
        return lambda slots: slots[slot]

    def _place(self, ref: SSAValue, bounds: Bounds) -> Reader:
        """The element offset of a place (or of a whole buffer) in its owning buffer, checked."""
        access = pt.resolve(ref)
        constant = access.constant
        terms: list[tuple[int, int]] = []
        for value, factor in access.terms:
            known = _constant_value(value)
            if known is None:
                terms.append((self.slot[value], factor))
            else:
                constant += known * factor
        if not terms:
            place = bounds.check(constant)
            return lambda slots: place
        return _affine(constant, terms, bounds)

    def _unit(self, op: Operation) -> Step:
        unit = bind(op, self.memory)
        readers = [
            self._value(value) if bounds is None else self._place(value, bounds)
            for value, bounds in zip(op.operands, unit.bounds, strict=True)
        ]
        call = _call(unit, readers) if self.watcher is None else _watched(op, unit, readers, self.watcher)
        if not op.results:
            return call
        slot = self._new_slot(op.results[0])

        def assign(slots: Slots) -> None:
            slots[slot] = call(slots)

        return assign


def _affine(constant: int, terms: Sequence[tuple[int, int]], bounds: Bounds) -> Reader:
    """constant + sum of factor * slot, checked as `Bounds.check` does; written out because every operand passes here."""
    last, unit, span, alignment = bounds.size - bounds.extent, bounds.unit, bounds.span, bounds.alignment
    (slot, factor), *more = terms

    if not more:

        def one(slots: Slots) -> int:
            offset = constant + factor * slots[slot]
            rest = offset % unit
            if offset < 0 or offset - rest > last or rest >= span or rest % alignment:
                raise bounds.error(offset)
            return offset

        return one

    def several(slots: Slots) -> int:
        offset = constant + factor * slots[slot]
        for other, by in more:
            offset += by * slots[other]
        rest = offset % unit
        if offset < 0 or offset - rest > last or rest >= span or rest % alignment:
            raise bounds.error(offset)
        return offset

    return several


def _call(unit: Unit, readers: Sequence[Reader]) -> Reader:
    """A call of the unit's action with what its readers find."""
    action = unit.action
    match readers:
        case [a]:
            return lambda slots: action(a(slots))
        case [a, b]:
            return lambda slots: action(a(slots), b(slots))
        case [a, b, c]:
            return lambda slots: action(a(slots), b(slots), c(slots))
        case _:
            return lambda slots: action(*[reader(slots) for reader in readers])


def _watched(op: Operation, unit: Unit, readers: Sequence[Reader], watcher: Watcher) -> Reader:
    """As `_call`, with somebody watching."""

    def run(slots: Slots) -> Any:
        operands = [reader(slots) for reader in readers]
        watcher.runs(op, operands)
        result = unit.action(*operands)
        watcher.ran(op, operands)
        return result

    return run


def _forward(op_type: type[Operation]) -> Any:
    """An implementation of `op_type` that asks `run_unit`."""

    @impl(op_type)
    def run(self: TileFunctions, interpreter: Interpreter, op: Operation, args: PythonValues) -> PythonValues:
        return self.run_unit(op, args)

    return run


@register_impls
class TileFunctions(InterpreterFunctions):
    """plena_tile for xDSL's interpreter. A buffer, a view and a place are element offsets in the buffer that owns the memory."""

    locals().update({f"run_{op_type.name}": _forward(op_type) for op_type in BINDERS})

    def __init__(self, memory: TileMemory) -> None:
        self.memory = memory
        self.units: dict[Operation, Unit] = {}

    def run_unit(self, op: Operation, args: PythonValues) -> PythonValues:
        """Run an operation that computes something."""
        unit = self.units.get(op)
        if unit is None:
            unit = self.units[op] = bind(op, self.memory)
        checked = [arg if bounds is None else bounds.check(arg) for arg, bounds in zip(args, unit.bounds, strict=True)]
        result = unit.action(*checked)
        return (result,) if op.results else ()

    @impl(pt.AllocOp)
    def run_alloc(self, interpreter: Interpreter, op: pt.AllocOp, args: PythonValues) -> PythonValues:
        self.memory.allocate(op)
        return (0,)

    @impl(pt.GetGlobalOp)
    def run_get_global(self, interpreter: Interpreter, op: pt.GetGlobalOp, args: PythonValues) -> PythonValues:
        return (0,)

    @impl(pt.AtOp)
    def run_at(self, interpreter: Interpreter, op: pt.AtOp, args: PythonValues) -> PythonValues:
        return (self._offset(op, args),)

    @impl(pt.ViewOp)
    def run_view(self, interpreter: Interpreter, op: pt.ViewOp, args: PythonValues) -> PythonValues:
        return (self._offset(op, args),)

    def _offset(self, op: pt.AtOp | pt.ViewOp, args: PythonValues) -> int:
        base, *indices = args
        assert isa(op.source.type, pt.Buffer)
        position = op.map.data.eval(indices, [])
        return base + sum(index * stride for index, stride in zip(position, pt.strides_of(op.source.type), strict=True))
