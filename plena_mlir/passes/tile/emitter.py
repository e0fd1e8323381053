"""Building unit-level plena_tile IR: index arithmetic that stays affine, loops, buffers, row operations."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from xdsl.builder import Builder
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IndexType, IntegerAttr, LocationAttr, UnknownLoc, bf16, f32, i32
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue
from xdsl.ir.affine import AffineExpr, AffineMap
from xdsl.rewriter import InsertPoint
from xdsl.utils.hints import isa

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.target import Target


@dataclass(frozen=True)
class Index:
    """An affine function of loop variables: constant + sum of factor * value."""

    constant: int = 0
    terms: tuple[tuple[SSAValue, int], ...] = ()

    @staticmethod
    def of(value: SSAValue) -> Index:
        return Index(0, ((value, 1),))

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.constant + other, self.terms)
        return Index(self.constant + other.constant, self.terms + other.terms)

    def __mul__(self, factor: int) -> Index:
        return Index(self.constant * factor, tuple((value, coefficient * factor) for value, coefficient in self.terms))

    __radd__ = __add__
    __rmul__ = __mul__


OpT = TypeVar("OpT", bound=Operation)

IndexLike = Index | int
Place = Sequence[IndexLike]


def affine_map(place: Place) -> tuple[AffineMap, list[SSAValue]]:
    """The place as an affine map and the values it is applied to."""
    values: list[SSAValue] = []
    results: list[AffineExpr] = []
    for index in place:
        index = Index(index) if isinstance(index, int) else index
        expr: AffineExpr = AffineExpr.constant(index.constant)
        for value, factor in index.terms:
            if value not in values:
                values.append(value)
            expr = expr + AffineExpr.dimension(values.index(value)) * factor
        results.append(expr)
    return AffineMap(len(values), 0, tuple(results)), values


@dataclass
class Emitter:
    """Inserts plena_tile operations at a point that loops move into and out of."""

    target: Target
    builder: Builder
    location: LocationAttr = field(default_factory=UnknownLoc)

    def add(self, op: OpT) -> OpT:
        """Insert an operation at the current point, with the current location."""
        op.location = self.location
        self.builder.insert(op)
        return op

    # --- buffers and places ---------------------------------------------------------------------------------------------------

    def alloc(self, space: tile.Space, shape: Sequence[int], role: str | None = None, init: str | None = None) -> SSAValue:
        """A buffer; its element type follows from the memory."""
        elements: dict[tile.Space, Attribute] = {
            tile.Space.VRAM: bf16,
            tile.Space.MRAM: f32,
            tile.Space.FPRAM: bf16,
            tile.Space.INTRAM: i32,
        }
        return self.add(tile.AllocOp(tile.buffer_type(space, elements[space], shape), role, init=init)).buffer

    def rows(self, blocks: int, rows: int, role: str | None = None) -> SSAValue:
        """A Vector SRAM buffer [blocks, rows, VLEN]."""
        return self.alloc(tile.Space.VRAM, [blocks, rows, self.target.vlen], role)

    def view(self, source: SSAValue, place: Place, shape: Sequence[int], strides: Sequence[int]) -> SSAValue:
        """A view of `shape` with `strides` in elements, starting at `place` of `source`."""
        source_type = source.type
        assert isa(source_type, tile.Buffer)
        map, values = affine_map(place)
        type = tile.buffer_type(tile.space_of(source_type), source_type.element_type, shape, strides)
        return self.add(tile.ViewOp(source, map, values, type)).result

    def slice(self, source: SSAValue, place: Place, shape: Sequence[int]) -> SSAValue:
        """A view of the trailing dimensions of `source`, with its strides."""
        source_type = source.type
        assert isa(source_type, tile.Buffer)
        return self.view(source, place, shape, tile.strides_of(source_type)[-len(shape) :])

    def at(self, source: SSAValue, *place: IndexLike) -> SSAValue:
        """The place of one element."""
        map, values = affine_map(place)
        return self.add(tile.AtOp(source, map, values)).ref

    # --- control --------------------------------------------------------------------------------------------------------------

    def index_constant(self, value: int) -> SSAValue:
        return self.add(arith.ConstantOp(IntegerAttr(value, IndexType()))).result

    @contextmanager
    def loop(self, stop: int | SSAValue, *, start: int = 0, step: int = 1) -> Generator[Index]:
        """A loop over start, start + step, ... below `stop`; one trip needs no loop, and no trip is a mistake of the caller."""
        if isinstance(stop, int) and stop <= start:
            raise ValueError(f"a loop from {start} to {stop} has no trips")
        if isinstance(stop, int) and stop <= start + step:
            yield Index(start)
            return
        upper = self.index_constant(stop) if isinstance(stop, int) else stop
        block = Block(arg_types=[IndexType()])
        self.add(scf.ForOp(self.index_constant(start), upper, self.index_constant(step), [], Region(block)))
        outer = self.builder.insertion_point
        self.builder.insertion_point = InsertPoint.at_end(block)
        yield Index.of(block.args[0])
        self.add(scf.YieldOp())
        self.builder.insertion_point = outer

    # --- scalars --------------------------------------------------------------------------------------------------------------

    def constant(self, value: float) -> SSAValue:
        return self.add(tile.ConstantOp(value)).result

    def scalar(self, kind: tile.ScalarBinary, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
        return self.add(tile.ScalarBinaryOp(kind, lhs, rhs)).result

    def scalar_function(self, kind: tile.ScalarUnary, operand: SSAValue) -> SSAValue:
        return self.add(tile.ScalarUnaryOp(kind, operand)).result

    def reduce(self, kind: tile.RowReduce, init: SSAValue, row: SSAValue) -> SSAValue:
        return self.add(tile.RowReduceOp(kind, init, row)).result

    # --- rows -----------------------------------------------------------------------------------------------------------------

    def copy_row(self, target: SSAValue, row: SSAValue, zero: SSAValue) -> None:
        """target = row + 0.0 (which turns -0 into +0)."""
        self.add(tile.RowScalarOp(tile.RowScalar.ADD, target, row, zero))

    def zero_row(self, target: SSAValue) -> None:
        """Shifting a row by its whole length leaves zeros, whatever it held."""
        self.add(tile.RowShiftOp(target, target, self.target.vlen))

    def flat(self, buffer: SSAValue) -> SSAValue:
        """A contiguous [blocks, rows, VLEN] buffer as [blocks * rows, VLEN]."""
        type = buffer.type
        assert isa(type, tile.Buffer)
        blocks, rows, lanes = type.get_shape()
        if tile.strides_of(type) != (rows * lanes, lanes, 1):
            raise ValueError(f"{type} is not contiguous")
        return self.view(buffer, [0, 0, 0], [blocks * rows, lanes], [lanes, 1])
