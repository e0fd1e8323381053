"""Buffers, and places in them. Every address is a buffer and an affine map of loop variables until the ISA level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeGuard

from xdsl.dialects.builtin import (
    AffineMapAttr,
    FlatSymbolRefAttr,
    IndexType,
    IntegerAttr,
    MemRefType,
    NoneAttr,
    StridedLayoutAttr,
    StringAttr,
    SymbolRefAttr,
    i64,
)
from xdsl.ir import Attribute, SSAValue
from xdsl.ir.affine import AffineMap
from xdsl.irdl import (
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_prop_def,
    prop_def,
    result_def,
    traits_def,
    var_operand_def,
)
from xdsl.traits import MemoryAllocEffect, Pure, SymbolOpInterface
from xdsl.utils.exceptions import VerifyException

from plena_mlir.dialects.plena_tile.attributes import RefType, Space, SpaceAttr

Buffer = MemRefType[Attribute]


def is_buffer(type: Attribute) -> TypeGuard[Buffer]:
    """Whether a type is that of a buffer; far cheaper than xDSL's `isa`, which builds a constraint each time it is asked."""
    return isinstance(type, MemRefType)


def space_of(type: Buffer) -> Space:
    """The memory a buffer lives in."""
    if not isinstance(type.memory_space, SpaceAttr):
        raise VerifyException(f"buffer type {type} has no plena_tile memory space")
    return type.memory_space.data


def as_buffer(value: SSAValue) -> Buffer:
    """The buffer type of a value that a verified operation guarantees to be one."""
    type = value.type
    if not is_buffer(type):
        raise VerifyException(f"{type} is not a buffer")
    return type


def strides_of(type: Buffer) -> tuple[int, ...]:
    """Element strides of a buffer, row-major unless its layout says otherwise."""
    if isinstance(type.layout, StridedLayoutAttr):
        strides = type.layout.get_strides()
        if any(stride is None for stride in strides):
            raise VerifyException(f"buffer type {type} has a dynamic stride")
        return tuple(stride for stride in strides if stride is not None)
    row_major = [1]
    for size in reversed(type.get_shape()[1:]):
        row_major.append(row_major[-1] * size)
    return tuple(reversed(row_major))


def buffer_type(space: Space, element: Attribute, shape: Sequence[int], strides: Sequence[int] | None = None) -> Buffer:
    """A buffer type; `strides` in elements, row-major when absent."""
    layout = NoneAttr() if strides is None else StridedLayoutAttr(list(strides), None)
    return MemRefType(element, list(shape), layout, SpaceAttr(space))


WEIGHT = "weight"
"""Role of a global that the image writer fills."""
CACHE = "cache"
"""Role of a global that the program itself fills; rows that it never writes are zero."""
INPUT = "input"
"""Role of a global that the host writes before every run."""
IDS = "ids"
"""Role of a buffer in INT SRAM that holds token ids when the program starts."""
OUTPUT = "output"
"""Role of the buffer that holds the result when the program has ended."""


@irdl_op_definition
class GlobalOp(IRDLOperation):
    """A tensor in HBM, placed by the image writer.

    `init` names the function whose result (given the layer index when `stacked`) fills it: the tensor a parameter expression
    evaluates to, in its natural shape; `layout` says how that becomes the buffer's shape. Without `init` the tensor starts as
    zeros (K/V caches) or is written by the host (`role = "input"`). The `init` of an input takes the inputs of the program and
    arranges them as the tensor holds them; without, the tensor holds the only input of its type as it is given.
    `address` is the byte address of the element region; the scale region follows it directly.
    """

    name = "plena_tile.global"
    sym_name = prop_def(StringAttr)
    type = prop_def(MemRefType)
    role = prop_def(StringAttr)
    init = opt_prop_def(FlatSymbolRefAttr)
    layout = opt_prop_def(Attribute)
    address = opt_prop_def(IntegerAttr)
    traits = traits_def(SymbolOpInterface())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$sym_name attr-dict"

    def __init__(
        self,
        name: str,
        type: Buffer,
        role: str,
        init: str | None = None,
        layout: Attribute | None = None,
        address: int | None = None,
    ) -> None:
        super().__init__(
            properties={
                "sym_name": StringAttr(name),
                "type": type,
                "role": StringAttr(role),
                "init": None if init is None else SymbolRefAttr(init),
                "layout": layout,
                "address": None if address is None else IntegerAttr(address, i64),
            }
        )

    def verify_(self) -> None:
        if not is_buffer(self.type) or space_of(self.type) is not Space.HBM:
            raise VerifyException("a global lives in hbm")


@irdl_op_definition
class GetGlobalOp(IRDLOperation):
    """The buffer of a global."""

    name = "plena_tile.get_global"
    symbol = prop_def(FlatSymbolRefAttr)
    buffer = result_def(MemRefType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$symbol attr-dict `:` type($buffer)"

    def __init__(self, symbol: str, type: Buffer) -> None:
        super().__init__(properties={"symbol": SymbolRefAttr(symbol)}, result_types=[type])


@irdl_op_definition
class AllocOp(IRDLOperation):
    """An on-chip buffer; `address` (elements) is set by plan-memory, `role` marks the program's inputs and outputs.

    `init` names the function that arranges the inputs of the program as a buffer of token ids holds them, as for a global.
    """

    name = "plena_tile.alloc"
    address = opt_prop_def(IntegerAttr)
    role = opt_prop_def(StringAttr)
    init = opt_prop_def(FlatSymbolRefAttr)
    buffer = result_def(MemRefType)
    traits = traits_def(MemoryAllocEffect())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "attr-dict `:` type($buffer)"

    def __init__(self, type: Buffer, role: str | None = None, address: int | None = None, init: str | None = None) -> None:
        super().__init__(
            properties={
                "role": None if role is None else StringAttr(role),
                "init": None if init is None else SymbolRefAttr(init),
                "address": None if address is None else IntegerAttr(address, i64),
            },
            result_types=[type],
        )


@irdl_op_definition
class ViewOp(IRDLOperation):
    """A buffer of another shape over part of `source`, starting at element `map(indices)`.

    The result type's strided layout (offset left open) gives the strides in elements of the source's memory.
    """

    name = "plena_tile.view"
    source = operand_def(MemRefType)
    indices = var_operand_def(IndexType)
    map = prop_def(AffineMapAttr)
    result = result_def(MemRefType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$source $map `(` $indices `)` attr-dict `:` type($source) `->` type($result)"

    def __init__(self, source: SSAValue, map: AffineMap, indices: Sequence[SSAValue], type: Buffer) -> None:
        super().__init__(operands=[source, indices], properties={"map": AffineMapAttr(map)}, result_types=[type])

    def verify_(self) -> None:
        _verify_map(self.source, self.map.data, len(self.indices))
        if space_of(as_buffer(self.result)) is not space_of(as_buffer(self.source)):
            raise VerifyException("a view stays in the memory of its source")


@irdl_op_definition
class AtOp(IRDLOperation):
    """The place of the element `map(indices)` of a buffer.

    Row operations take the place of a row's first lane; matrix operands the place (tile, output start, contraction start).
    """

    name = "plena_tile.at"
    source = operand_def(MemRefType)
    indices = var_operand_def(IndexType)
    map = prop_def(AffineMapAttr)
    ref = result_def(RefType)
    traits = traits_def(Pure())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$source $map `(` $indices `)` attr-dict `:` type($source) `->` type($ref)"

    def __init__(self, source: SSAValue, map: AffineMap, indices: Sequence[SSAValue]) -> None:
        assert is_buffer(source.type)
        super().__init__(
            operands=[source, indices],
            properties={"map": AffineMapAttr(map)},
            result_types=[RefType(SpaceAttr(space_of(source.type)))],
        )

    def verify_(self) -> None:
        _verify_map(self.source, self.map.data, len(self.indices))


def _verify_map(source: SSAValue, map: AffineMap, operands: int) -> None:
    assert is_buffer(source.type)
    if map.num_dims != operands or map.num_symbols:
        raise VerifyException(f"map {map} takes {map.num_dims} indices, {operands} are given")
    if len(map.results) != len(source.type.get_shape()):
        raise VerifyException(f"map {map} has {len(map.results)} results for a buffer of rank {len(source.type.get_shape())}")


@dataclass(frozen=True)
class Access:
    """A place resolved to the buffer that owns the memory and a linear function of index values, in elements."""

    buffer: SSAValue
    constant: int
    terms: tuple[tuple[SSAValue, int], ...]

    def coefficient(self, index: SSAValue) -> int:
        """Elements the place moves when `index` grows by one."""
        return sum(factor for value, factor in self.terms if value is index)


@lru_cache(maxsize=4096)
def _linear_form(map: AffineMap, strides: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
    """The elements that a map spans: its constant, and a factor for each index. Most maps of a program are alike."""
    constant, *factors = (
        sum(value * stride for value, stride in zip(map.eval(point, []), strides, strict=True))
        for point in ([0] * map.num_dims, *([int(i == j) for j in range(map.num_dims)] for i in range(map.num_dims)))
    )
    return constant, tuple(factor - constant for factor in factors)


def resolve(ref: SSAValue) -> Access:
    """Follow `at` and `view` operations to the owning buffer (an alloc or get_global result, or a block argument)."""
    constant = 0
    terms: dict[SSAValue, int] = {}
    value = ref
    while isinstance(owner := value.owner, AtOp | ViewOp):
        assert is_buffer(owner.source.type)
        offset, factors = _linear_form(owner.map.data, strides_of(owner.source.type))
        constant += offset
        for index, factor in zip(owner.indices, factors, strict=True):
            terms[index] = terms.get(index, 0) + factor
        value = owner.source
    return Access(value, constant, tuple((index, factor) for index, factor in terms.items() if factor))


def owning_buffer(ref: SSAValue) -> SSAValue:
    """The buffer of `resolve`, for those who need nothing else of it."""
    while isinstance(owner := ref.owner, AtOp | ViewOp):
        ref = owner.source
    return ref


def source_type(ref: SSAValue) -> Buffer:
    """The type of the buffer (or view) that a reference was taken from: its second to last stride is the row stride of a DMA."""
    owner = ref.owner
    if not isinstance(owner, AtOp) or not is_buffer(owner.source.type):
        raise VerifyException("a DMA operand must come from plena_tile.at")
    return owner.source.type


__all__ = [
    "CACHE",
    "IDS",
    "INPUT",
    "OUTPUT",
    "WEIGHT",
    "Access",
    "AllocOp",
    "AtOp",
    "Buffer",
    "GetGlobalOp",
    "GlobalOp",
    "ViewOp",
    "as_buffer",
    "buffer_type",
    "is_buffer",
    "owning_buffer",
    "resolve",
    "source_type",
    "space_of",
    "strides_of",
]
