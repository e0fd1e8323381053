"""The values of every stage as a level left them: per stage and iteration of the loops around it, the rows it computed.

A stage is an op of canonical plena_tensor; its name is in the location of all code that computes it, and its result lies in a
buffer that the module records. The result is complete when code of another stage is about to write, and is read then: buffers that
are reused later are captured while they still hold it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import scf
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IntegerAttr, ModuleOp, StringAttr
from xdsl.ir import Block, Operation

from plena_mlir.dialects import plena_isa
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import main_function, part_of, stage_of
from plena_mlir.dialects.plena_isa.effects import VRAM
from plena_mlir.errors import ExecutionError
from plena_mlir.interface import Output
from plena_mlir.interpreters.tile_memory import TileMemory
from plena_mlir.passes.tile.lowering.stages import BUFFER_ATTRIBUTE, SCORES_PART, STAGES_ATTRIBUTE

F32: TypeAlias = NDArray[np.float32]
Occurrence: TypeAlias = tuple[str, tuple[int, ...]]
"""A stage, and the iteration of each loop around it, outermost first."""


@dataclass(frozen=True)
class Stage:
    """A stage of a plena_tile module.

    Attributes:
        name: `module path/op`.
        alloc: the buffer of the result.
        place: how rows and features lie in it; its address is that of the plan, 0 without one.
        loops: names of the loops around it, outermost first.
    """

    name: str
    alloc: tile.AllocOp
    place: Output
    loops: tuple[str, ...]


@dataclass
class PartRows:
    """The rows of one part of a stage, which share a buffer one after the other, in the order in which they were complete.

    Attributes:
        physical_rows: of the stage's result, with padding.
        rows: each [VLEN], as the upper halves of float32: Vector SRAM holds bfloat16.
        places: element address of each in Vector SRAM; from the tile interpreter, its offset in the buffer.
        moments: instructions that ran before each was read; operations of parts, from the tile interpreter.
    """

    physical_rows: int
    rows: list[NDArray[np.uint16]] = field(default_factory=list[NDArray[np.uint16]])
    places: list[int] = field(default_factory=list[int])
    moments: list[int] = field(default_factory=list[int])

    def add(self, row: F32, place: int, moment: int) -> None:
        self.rows.append((np.ascontiguousarray(row).view(np.uint32) >> 16).astype(np.uint16))
        self.places.append(place)
        self.moments.append(moment)

    def values(self) -> F32:
        """[rows, VLEN]."""
        return (np.stack(self.rows).astype(np.uint32) << 16).view(np.float32)


class StageTable:
    """The stages of a plena_tile module, and which are the first and the last of each loop to write."""

    def __init__(self, module: ModuleOp) -> None:
        recorded = module.attributes.get(STAGES_ATTRIBUTE)
        if not isinstance(recorded, ArrayAttr):
            raise ExecutionError("the module does not say where its stages leave their results", hint="compile the model again")
        self.loops: dict[str, tuple[str, ...]] = {}
        self.first: dict[str, str] = {}
        self.last: dict[str, str] = {}
        self._walk(main_function(module).body.block, ())
        allocs = {
            number.value.data: op
            for op in module.walk()
            if isinstance(op, tile.AllocOp) and isinstance(number := op.attributes.get(BUFFER_ATTRIBUTE), IntegerAttr)
        }
        self.stages: dict[str, Stage] = {}
        for entry in recorded:
            assert isinstance(entry, DictionaryAttr)
            name = entry.data["stage"]
            assert isinstance(name, StringAttr)
            fields = {key: value.value.data for key, value in entry.data.items() if isinstance(value, IntegerAttr)}
            alloc = allocs[fields.pop("buffer")]
            blocks, rows, _ = tile.as_buffer(alloc.buffer).get_shape()
            place = Output(0 if alloc.address is None else alloc.address.value.data, blocks, rows, **fields)
            self.stages[name.data] = Stage(name.data, alloc, place, self.loops.get(name.data, ()))

    def _walk(self, block: Block, loops: tuple[str, ...]) -> None:
        for op in block.ops:
            stage = stage_of(op)
            if isinstance(op, scf.ForOp):
                # A loop that the tensor level had; loops of a stage belong to that stage.
                inner = (*loops, stage) if stage is not None and is_loop(stage) and stage not in loops else loops
                self._walk(op.body.block, inner)
            elif stage is not None and not is_loop(stage) and writes_vram(op):
                self.loops[stage] = loops
                for loop in loops:
                    self.first.setdefault(loop, stage)
                    self.last[loop] = stage


def is_loop(stage: str) -> bool:
    """Whether a stage is a loop that the tensor level had, over layers or blocks of rows."""
    return stage.rpartition("/")[2].partition(".")[0] == "loop"


def writes_vram(op: Operation) -> bool:
    """Whether an operation of plena_tile or plena_isa writes Vector SRAM."""
    if isinstance(op, plena_isa.PlenaIsaInstruction):
        return VRAM in op.resources_written()
    written = written_operand(op)
    if written is None:
        return False
    type = op.operands[written].type
    space = type.space.data if isinstance(type, tile.RefType) else tile.space_of(tile.as_buffer(op.operands[written]))
    return space is tile.Space.VRAM


def written_operand(op: Operation) -> int | None:
    """The number of the operand that says where an operation of plena_tile writes."""
    match op:
        case tile.LoadMatrixOp() | tile.LoadRowsOp() | tile.StoreRowsOp() | tile.StoreScalarOp():
            return 1
        case tile.WriteOutOp() | tile.RowBinaryOp() | tile.RowScalarOp() | tile.RowUnaryOp() | tile.RowShiftOp() | tile.RowFillOp():
            return 0
        case tile.MatmulOp():
            return 2
        case tile.AttentionOp():
            return 3 + (op.mask is not None) + (op.sinks is not None)
        case _:
            return None


class StageRecorder:
    """Turns the sequence of stages that write into values per stage and iteration.

    Args:
        read: gives the result of a stage as [blocks * physical rows, VLEN], from the buffer it lies in right now.
    """

    def __init__(self, table: StageTable, read: Callable[[Stage], F32]) -> None:
        self.values: dict[Occurrence, F32] = {}
        self.parts: dict[Occurrence, PartRows] = {}
        self._table = table
        self._read = read
        self._current: str | None = None
        self._iterations: dict[str, int] = {}
        self._written: set[str] = set()
        self._complete: set[str] = set()

    def writes(self, stage: str) -> None:
        """Code of `stage` is about to write."""
        if stage == self._current:
            return
        self.ends()
        for loop in self._table.loops.get(stage, ()):
            # A loop that was unrolled has no back edge any more; its first stage follows its last one instead.
            if loop in self._complete and stage == self._table.first[loop]:
                self.iterates(loop)
            self._written.add(loop)
            if stage == self._table.last[loop]:
                self._complete.add(loop)
        self._current = stage

    def iterates(self, loop: str) -> None:
        """An iteration of a loop is over, if one has begun."""
        if loop not in self._written:
            return
        self.ends()
        self._iterations[loop] = self._iterations.get(loop, 0) + 1
        inner = {name for loops in self._table.loops.values() if loop in loops for name in loops[loops.index(loop) + 1 :]}
        for name in inner:
            self._iterations.pop(name, None)
        self._written -= {loop, *inner}
        self._complete -= {loop, *inner}

    def completes(self, part: str, row: F32, place: int, moment: int) -> None:
        """A row of a part of the stage that wrote last is complete."""
        current = self.current
        if current is not None:
            name = (part_name(current[0], part), current[1])
            if name not in self.parts:
                self.parts[name] = PartRows(self._table.stages[current[0]].place.physical_rows)
            self.parts[name].add(row, place, moment)

    @property
    def current(self) -> Occurrence | None:
        """The stage that wrote last, if its result is recorded, in its iteration."""
        stage = None if self._current is None else self._table.stages.get(self._current)
        return None if stage is None else (stage.name, tuple(self._iterations.get(loop, 0) for loop in stage.loops))

    def ends(self) -> None:
        """The stage that wrote last is over."""
        current = self.current
        if current is not None:
            stage = self._table.stages[current[0]]
            self.values[current] = stage.place.unpack(self._read(stage))
        self._current = None


class TileStages:
    """A watcher of `run_tile` that records stages."""

    def __init__(self, table: StageTable) -> None:
        self._table = table
        self._memory: TileMemory | None = None
        self._recorder = StageRecorder(table, self._result)
        self._kinds: dict[Operation, tuple[str | None, str | None]] = {}
        self._moment = 0

    @property
    def values(self) -> Mapping[Occurrence, F32]:
        """What the run so far has left, the last stage included."""
        self._recorder.ends()
        return self._recorder.values

    @property
    def parts(self) -> Mapping[Occurrence, PartRows]:
        """The rows of parts of stages that the run so far has completed."""
        return self._recorder.parts

    def _result(self, stage: Stage) -> F32:
        assert self._memory is not None
        return self._memory.array(stage.alloc.buffer).reshape(-1, self._memory.target.vlen).copy()

    def starts(self, memory: TileMemory) -> None:
        self._memory = memory

    def _kind(self, op: Operation) -> tuple[str | None, str | None]:
        """The stage that an operation writes for, and the part of it that it completes."""
        if op not in self._kinds:
            self._kinds[op] = (stage_of(op), part_of(op)) if writes_vram(op) else (None, None)
        return self._kinds[op]

    def _complete(self, op: Operation, part: str, place: int) -> None:
        assert self._memory is not None
        row = self._memory.array_at(op.operands[0])[place : place + self._memory.target.vlen]
        self._recorder.completes(part, row, place, self._moment)
        self._moment += 1

    def runs(self, op: Operation, operands: Sequence[Any]) -> None:
        stage, part = self._kind(op)
        if stage is not None:
            self._recorder.writes(stage)
        if part == SCORES_PART:
            self._complete(op, part, operands[0])

    def ran(self, op: Operation, operands: Sequence[Any]) -> None:
        _, part = self._kind(op)
        if part is not None and part != SCORES_PART:
            self._complete(op, part, operands[0])

    def iterates(self, op: scf.ForOp) -> None:
        stage = stage_of(op)
        if stage is not None and is_loop(stage):
            self._recorder.iterates(stage)


def part_name(stage: str, part: str) -> str:
    """The name under which a part of a stage is recorded and reported."""
    return f"{stage}/{part}"


def stage_title(occurrence: Occurrence) -> str:
    """The stage with its iteration in place of the `{}` of a rolled layer."""
    stage, iteration = occurrence
    if "{}" in stage and iteration:
        stage, iteration = stage.replace("{}", str(iteration[0]), 1), iteration[1:]
    return stage if not iteration else f"{stage} (block {', '.join(map(str, iteration))})"
