"""The memories a plena_tile program runs on: one flat array per buffer, so that no access can stray into another buffer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.utils.hints import isa

from plena_mlir.dialects.plena import module_path, target_of
from plena_mlir.dialects.plena_tile.attributes import LayoutAttr, MxType, Precision, Space
from plena_mlir.dialects.plena_tile.memory import (
    IDS,
    INPUT,
    WEIGHT,
    AllocOp,
    Buffer,
    GetGlobalOp,
    GlobalOp,
    owning_buffer,
    space_of,
)
from plena_mlir.errors import ExecutionError
from plena_mlir.numerics import MxFormat, mx_encode
from plena_mlir.target import MX_BLOCK, Target
from plena_mlir.target.formats import Stream, hbm_format
from plena_mlir.target.layout import GlobalData, Layout, pack

F32: TypeAlias = NDArray[np.float32]
Array: TypeAlias = NDArray[Any]

_POISON_ID = 0xFFFFFFFF

_STORED_AS: Mapping[Precision, Stream] = {Precision.WEIGHT: "m_weight", Precision.KV: "v_kv", Precision.ACT: "v_act"}


def where(op: Operation) -> str:
    """How messages name an operation: its module path, if it has one, and its name."""
    path = module_path(op)
    return f"{path}: {op.name}" if path else op.name


def precision_of(type: Buffer) -> Precision:
    """The precision a buffer in HBM is stored in."""
    if not isinstance(type.element_type, MxType):
        raise ExecutionError(f"a buffer in hbm holds plena_tile.mx elements, not {type.element_type}")
    return type.element_type.precision.data


def storage_format(target: Target, precision: Precision) -> MxFormat:
    """The format in which a tensor of `precision` is written to HBM."""
    return hbm_format(target, _STORED_AS[precision])


def layout_of(op: GlobalOp) -> Layout | None:
    """The layout of a global, if it has one."""
    if op.layout is None:
        return None
    if not isinstance(op.layout, LayoutAttr):
        raise ExecutionError(f"{op.layout} is no plena_tile.layout", where=f"global {op.sym_name.data}")
    return op.layout.layout


def stage_input(op: GlobalOp, target: Target, values: F32) -> GlobalData:
    """The bytes of a tensor the host writes to a global: [rows, features] if the global has a layout, else in the global's shape.

    Raises:
        ExecutionError: `values` has another shape.
        ImageError: `values` does not fit the layout, or is not finite.
    """
    assert isa(op.type, Buffer)
    shape, fmt = op.type.get_shape(), storage_format(target, precision_of(op.type))
    layout = layout_of(op)
    if layout is not None:
        return pack(values, layout, shape, fmt)
    if values.shape != shape:
        raise ExecutionError(f"the input has shape {values.shape}, its global {shape}", where=f"global {op.sym_name.data}")
    elements, scales = mx_encode(np.asarray(values, np.float32), fmt, variant="staging")
    return GlobalData(elements.reshape(-1), scales.reshape(-1))


@dataclass(frozen=True)
class Bounds:
    """Which places of a buffer an operand of an operation may have.

    A place is the start of a `unit` of elements plus a rest below `span`, itself a multiple of `alignment`; from the start of the
    unit the operation touches `extent` elements of the buffer's `size`.
    """

    op: Operation
    operand: int
    size: int
    extent: int
    unit: int = 1
    alignment: int = 1
    span: int = 1

    def check(self, offset: int) -> int:
        """`offset`, if the operation may access it.

        Raises:
            ExecutionError: it is outside the buffer, or not aligned.
        """
        rest = offset % self.unit
        if 0 <= offset and offset - rest + self.extent <= self.size and rest < self.span and rest % self.alignment == 0:
            return offset
        raise self.error(offset)

    def error(self, offset: int) -> ExecutionError:
        rest = "" if self.unit == 1 else f" (unit {offset // self.unit} of {self.unit}, + {offset % self.unit})"
        return ExecutionError(
            f"operand {self.operand} is at element {offset}{rest} of a buffer of {self.size} and covers {self.extent}",
            where=where(self.op),
            hint=f"inside a unit, places are multiples of {self.alignment} below {self.span}",
        )


class TileMemory:
    """Everything a plena_tile program reads and writes.

    Attributes:
        target: the machine.
        globals: the HBM, by name of the global. Copied, so that a run leaves the caller's data alone.
        block: the f32 accumulator [BLEN, BLEN] of `mm` and `tmm`.
        heads: the f32 accumulator [BROADCAST, MLEN, MLEN] of `bmm` and `btmm`.
    """

    def __init__(
        self,
        module: ModuleOp,
        data: Mapping[str, GlobalData],
        inputs: Mapping[str, Array],
        fill: float,
    ) -> None:
        self.target = target_of(module)
        self.fill = fill
        self.block: F32 = np.zeros((self.target.blen, self.target.blen), np.float32)
        self.heads: F32 = np.zeros((self.target.broadcast, self.target.mlen, self.target.mlen), np.float32)
        self._arrays: dict[SSAValue, Array] = {}
        self._inputs = inputs
        self._names = {op: name for name, op in ids_of(module).items()}
        known = {*self._names.values(), *(op.sym_name.data for op in globals_of(module) if op.role.data == INPUT)}
        unknown = set(inputs) - known
        if unknown:
            raise ExecutionError(f"unknown inputs {sorted(unknown)}", hint=f"the program has {sorted(known) or 'none'}")
        self.globals = {op.sym_name.data: self._initial(op, data) for op in globals_of(module)}

    def _initial(self, op: GlobalOp, data: Mapping[str, GlobalData]) -> GlobalData:
        name, place = op.sym_name.data, f"global {op.sym_name.data}"
        assert isa(op.type, Buffer)
        count = math.prod(op.type.get_shape())
        if name in data:
            found = data[name]
            if found.elements.shape != (count,) or found.scales.shape != (count // MX_BLOCK,):
                raise ExecutionError(f"{found.elements.size} elements are given, it has {count}", where=place)
            return found if op.role.data == WEIGHT else found.copy()
        if op.role.data == INPUT:
            if name not in self._inputs:
                raise ExecutionError("the program reads an input that is not given", where=place)
            return stage_input(op, self.target, self._inputs[name])
        if op.init is not None:
            raise ExecutionError("there are no data for it", where=place, hint="encode_globals evaluates its init function")
        return GlobalData.filled(count, self.fill)

    def allocate(self, op: AllocOp) -> None:
        """Give an alloc its array, filled as fresh memory is; an alloc in a loop comes here in every iteration."""
        type = op.buffer.type
        assert isa(type, Buffer)
        array = self._arrays.get(op.buffer)
        if array is None:
            dtype = np.uint32 if space_of(type) is Space.INTRAM else np.float32
            array = self._arrays[op.buffer] = np.empty(math.prod(type.get_shape()), dtype)
        if array.dtype == np.uint32:
            array[:] = 0 if self.fill == 0.0 else _POISON_ID
        else:
            array[:] = self.fill
        if op in self._names:
            ids = self._ids(op, array.size)
            array[: ids.size] = ids

    def _ids(self, op: AllocOp, capacity: int) -> Array:
        name = self._names[op]
        if name not in self._inputs:
            raise ExecutionError("the program reads token ids that are not given", where=where(op))
        ids = np.asarray(self._inputs[name]).reshape(-1)
        if ids.size > capacity:
            raise ExecutionError(f"{ids.size} token ids are given for a program of {capacity}", where=where(op))
        return ids

    def array(self, buffer: SSAValue) -> Array:
        """The flat array of an alloc, allocated on first sight."""
        owner = buffer.owner
        if not isinstance(owner, AllocOp):
            raise ExecutionError("an on-chip buffer must come from plena_tile.alloc")
        if buffer not in self._arrays:
            self.allocate(owner)
        return self._arrays[buffer]

    def data(self, buffer: SSAValue) -> GlobalData:
        """The bytes of a buffer in HBM."""
        owner = buffer.owner
        if not isinstance(owner, GetGlobalOp) or owner.symbol.string_value() not in self.globals:
            raise ExecutionError("a buffer in hbm must come from plena_tile.get_global of a global of the module")
        return self.globals[owner.symbol.string_value()]

    def array_at(self, ref: SSAValue) -> Array:
        """The array that a reference, or a view, of on-chip memory points into."""
        return self.array(owning_buffer(ref))

    def data_at(self, ref: SSAValue) -> GlobalData:
        """The bytes that a reference, or a view, of HBM points into."""
        return self.data(owning_buffer(ref))


def ids_of(module: ModuleOp) -> dict[str, AllocOp]:
    """The buffers of token ids, in order, by the names under which inputs are given for them: `ids`, `ids.1`, `ids.2`, ..."""
    found = [op for op in module.walk() if isinstance(op, AllocOp) and op.role is not None and op.role.data == IDS]
    return {f"{IDS}.{number}" if number else IDS: op for number, op in enumerate(found)}


def globals_of(module: ModuleOp) -> Iterator[GlobalOp]:
    """The globals of a module, in order."""
    return (op for op in module.body.block.ops if isinstance(op, GlobalOp))
