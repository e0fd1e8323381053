"""The meaning of `plena_isa`: every operation executed on a model of the real machine, by the kernels of the emulator.

A value in a physical register lives in the machine and nowhere else, so a wrong register allocation gives a wrong answer. A value
in a virtual register lives in SSA form and visits the machine's registers for one instruction at a time, so the IR runs before
register allocation too.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.interpreter import Interpreter, InterpreterFunctions, PythonValues, impl, register_impls
from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.dialects.plena import module_path, target_of
from plena_mlir.dialects.plena_isa.abstract_ops import PlenaIsaInstruction
from plena_mlir.dialects.plena_isa.control_ops import CLoopEndOp, CLoopStartOp
from plena_mlir.dialects.plena_isa.formats import RD, BitField, OperandKind, Role
from plena_mlir.dialects.plena_isa.pseudo_ops import GetAddrOp, GetFpOp, GetGpOp, LiOp, WordOp
from plena_mlir.dialects.plena_isa.registers import (
    ADDR_COUNT,
    FP_COUNT,
    GP_COUNT,
    AddrType,
    FpType,
    PlenaRegisterType,
    physical_index,
)
from plena_mlir.dialects.plena_isa.scalar_int_ops import SAddiIntOp, SAddIntOp
from plena_mlir.dialects.plena_isa.structure_ops import LoopOp, YieldOp
from plena_mlir.dialects.plena_isa.table import INSTRUCTION_OPS
from plena_mlir.emulator import Execution, RunResult, load_machine
from plena_mlir.emulator.engine import HbmContent
from plena_mlir.errors import ExecutionError
from plena_mlir.target import Target

_REGISTERS = {OperandKind.GP: GP_COUNT, OperandKind.FP: FP_COUNT, OperandKind.ADDR: ADDR_COUNT}
"""Size of each register file."""


def run_isa(
    module: ModuleOp,
    target: Target | None = None,
    *,
    hbm: HbmContent | None = None,
    fpsram: NDArray[Any] | None = None,
    intsram: NDArray[Any] | None = None,
    vram: NDArray[Any] | None = None,
    fill: float = 0.0,
    strict: bool = False,
    timing: str = "transactional",
    listeners: Sequence[Interpreter.Listener] = (),
) -> RunResult:
    """Run a plena_isa module, allocated or not, operation by operation.

    Of an allocated module the result, with its counts and cycles per pc, is that of `run_program` on the module's machine code.

    Args:
        target: by default the one the module carries.
        hbm, fpsram, intsram, vram, fill, strict, timing: as for `run_program`.
        listeners: watch every operation.

    Raises:
        Trap: the program did what the machine forbids.
        ExecutionError: an operation that is not of plena_isa.
        LoweringError: there is no target.
    """
    machine = load_machine(
        target_of(module) if target is None else target,
        hbm=hbm,
        fpsram=fpsram,
        intsram=intsram,
        vram=vram,
        fill=fill,
        strict=strict,
    )
    layout = _Layout()
    layout.block(module.body.block)
    runner = _Runner(Execution(machine, layout.words, layout.locations, timing=timing), layout)
    interpreter = Interpreter(module, listeners=tuple(listeners))
    interpreter.register_implementations(runner.functions())
    runner.block(interpreter, module.body.block, ())
    return runner.execution.result()


class _Layout:
    """The instruction words of a module in program order, and where each operation starts.

    An operand in a virtual register gets a register that the instruction does not use otherwise, from the top of the file down.
    """

    def __init__(self) -> None:
        self.words: list[int] = []
        self.locations: list[str | None] = []
        self.pcs: dict[Operation, int] = {}
        self.ends: dict[LoopOp, int] = {}
        self.visitors: dict[Operation, list[tuple[SSAValue, int]]] = {}

    def block(self, block: Block) -> None:
        for op in block.ops:
            if isinstance(op, PlenaIsaInstruction):
                self._append(op, self._word(op))
            elif isinstance(op, WordOp):
                self._append(op, op.value.value.data)
            elif isinstance(op, LoopOp):
                self._loop(op)
            elif not isinstance(op, GetGpOp | GetFpOp | GetAddrOp | LiOp | YieldOp):
                raise ExecutionError(f"`{op.name}` is not an operation of the machine", where=module_path(op) or None)

    def _append(self, op: Operation, word: int) -> None:
        self.pcs.setdefault(op, len(self.words))
        self.words.append(word)
        self.locations.append(module_path(op) or None)

    def _word(self, op: PlenaIsaInstruction) -> int:
        word = op.OPCODE
        operands = list(op.assembly_operands())
        taken = {(spec.kind, physical_index(value)) for spec, value in operands if isinstance(value, SSAValue)}
        visitors: list[tuple[SSAValue, int]] = []
        for spec, value in operands:
            index = value if isinstance(value, int) else physical_index(value)
            if index is None:
                assert isinstance(value, SSAValue)
                index = max(free for free in range(_REGISTERS[spec.kind]) if (spec.kind, free) not in taken)
                taken.add((spec.kind, index))
                tied = op.tied_values()
                visitors.append((tied[0] if spec.role is Role.TIED and tied is not None else value, index))
            word |= spec.field.insert(index)
        if visitors:
            self.visitors[op] = visitors
        return word

    def _loop(self, op: LoopOp) -> None:
        counter = physical_index(op.counter)
        if counter is None:
            self.block(op.body.block)
            return
        self._append(op, CLoopStartOp.OPCODE | RD.insert(counter) | _field(CLoopStartOp, "imm").insert(op.trips.value.data))
        if op.extra is not None:
            extra = physical_index(op.extra)
            if extra is None:
                raise ExecutionError("a loop in registers has its extra trips in none", where=module_path(op) or None)
            for instruction, registers in (
                (SAddIntOp, {"rd": counter, "rs1": counter, "rs2": extra}),
                (SAddiIntOp, {"rd": extra}),
            ):
                fields = (_field(instruction, name).insert(index) for name, index in registers.items())
                self._append(op, instruction.OPCODE | sum(fields))
        self.block(op.body.block)
        self.ends[op] = len(self.words)
        self._append(op, CLoopEndOp.OPCODE | RD.insert(counter))


def _field(instruction: type[PlenaIsaInstruction], name: str) -> BitField:
    return next(spec.field for spec in instruction.FORMAT if spec.name == name)


class _Runner:
    """Executes operations on one machine."""

    def __init__(self, execution: Execution, layout: _Layout) -> None:
        self.execution = execution
        self._layout = layout
        self._followers: dict[Block, tuple[tuple[Operation, ...], dict[int, int]]] = {}

    def functions(self) -> InterpreterFunctions:
        """The implementations of all operations in the form that xDSL's interpreter takes."""

        def instruction(_: object, __: Interpreter, op: Operation, args: PythonValues) -> PythonValues:
            assert isinstance(op, PlenaIsaInstruction)
            return self.instruction(op, args)

        def word(_: object, __: Interpreter, op: WordOp, ___: PythonValues) -> PythonValues:
            self.execution.step(self._layout.pcs[op])
            return ()

        def name_register(_: object, __: Interpreter, op: Operation, ___: PythonValues) -> PythonValues:
            return (self._content(op.results[0], 0),)

        def constant(_: object, __: Interpreter, op: LiOp, ___: PythonValues) -> PythonValues:
            index = physical_index(op.rd)
            if index is not None:
                self._set(op.rd, index, op.value.value.data)
            return (op.value.value.data,)

        def loop(_: object, interpreter: Interpreter, op: LoopOp, args: PythonValues) -> PythonValues:
            return self.loop(interpreter, op, args)

        methods: dict[str, object] = {op.__name__: impl(op)(instruction) for op in INSTRUCTION_OPS}
        methods |= {op.__name__: impl(op)(name_register) for op in (GetGpOp, GetFpOp, GetAddrOp)}
        methods |= {"LiOp": impl(LiOp)(constant), "WordOp": impl(WordOp)(word), "LoopOp": impl(LoopOp)(loop)}
        return register_impls(type("IsaFunctions", (InterpreterFunctions,), methods))()

    def block(self, interpreter: Interpreter, block: Block, args: PythonValues) -> PythonValues:
        """Run a block; flat loop instructions in it jump. Returns the operands of its yield."""
        if block not in self._followers:
            ops = tuple(block.ops)
            self._followers[block] = ops, {self._layout.pcs[op]: i for i, op in enumerate(ops) if op in self._layout.pcs}
        ops, positions = self._followers[block]
        interpreter.push_scope("plena_isa")
        interpreter.set_values(zip(block.args, args, strict=True))
        results: PythonValues = ()
        position = 0
        while position < len(ops):
            op = ops[position]
            inputs = interpreter.get_values(op.operands)
            if isinstance(op, YieldOp):
                results = inputs
                break
            outputs = interpreter.run_op(op, inputs)
            # In a flat loop an operation runs again; nothing there refers to its results.
            interpreter.set_values((value, output) for value, output in zip(op.results, outputs, strict=True) if value.uses)
            following = self.execution.pc
            jumps = isinstance(op, PlenaIsaInstruction | WordOp) and following != self._layout.pcs[op] + 1
            position = positions[following] if jumps else position + 1
        interpreter.pop_scope()
        return results

    def loop(self, interpreter: Interpreter, op: LoopOp, args: PythonValues) -> PythonValues:
        """Run a structured loop: with the hardware's counter, or counting here when the counter is in no register yet."""
        carried = args[: len(op.iter_args)]
        if physical_index(op.counter) is None:
            counter = op.trips.value.data + (args[-1] if op.extra is not None else 0)
            while counter:
                carried = self.block(interpreter, op.body.block, (counter, *carried))
                counter -= 1
            return carried
        start, end = self._layout.pcs[op], self._layout.ends[op]
        self.execution.step(start)
        while True:
            if op.extra is not None:
                self.execution.step(start + 1)
                self.execution.step(start + 2)
            carried = self.block(interpreter, op.body.block, (self._content(op.counter, 0), *carried))
            self.execution.step(end)
            if self.execution.pc != start + 1:
                return carried

    def instruction(self, op: PlenaIsaInstruction, args: PythonValues) -> PythonValues:
        """Run one instruction; returns the content of its destination register."""
        visitors = self._layout.visitors.get(op)
        if visitors is None:
            self.execution.step(self._layout.pcs[op])
            return tuple(self._content(value, 0) for value in op.results)
        values = dict(zip(op.operands, args, strict=True))
        with self._visit(visitors):
            for value, index in visitors:
                if value in values:
                    self._set(value, index, values[value])
            self.execution.step(self._layout.pcs[op])
            indices = dict(visitors)
            tied = op.tied_values()
            return tuple(self._content(value, indices.get(tied[0] if tied else value, 0)) for value in op.results)

    @contextmanager
    def _visit(self, visitors: Sequence[tuple[SSAValue, int]]) -> Generator[None]:
        """Lend registers to values without one, and put their content back."""
        before = [(value, index, self._register(value, index)) for value, index in visitors]
        yield
        for value, index, content in before:
            self._set(value, index, content)

    def _content(self, value: SSAValue, visited: int) -> int | float:
        """What the register of `value` holds; of a virtual one the register it visits."""
        index = physical_index(value)
        return self._register(value, visited if index is None else index)

    def _register(self, value: SSAValue, index: int) -> int | float:
        return self._file(value)[index].item()

    def _set(self, value: SSAValue, index: int, content: float) -> None:
        self._file(value)[index] = content

    def _file(self, value: SSAValue) -> NDArray[Any]:
        """The register file that the type of `value` belongs to."""
        registers = self.execution.machine.state.registers
        match value.type:
            case FpType():
                return registers.fp
            case AddrType():
                return registers.addr
            case PlenaRegisterType():
                return registers.gp
            case other:
                raise ExecutionError(f"{other} is no register of the machine")
