"""A program seen from outside: where its inputs go, where its output lies, which tensors HBM holds.

This is what the host needs to run machine code without the IR that it came from; it is the core of a bundle's manifest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import DictionaryAttr, IntegerAttr, ModuleOp
from xdsl.ir import Attribute
from xdsl.utils.hints import isa

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path
from plena_mlir.dialects.plena_tile.attributes import LayoutAttr
from plena_mlir.errors import LoweringError
from plena_mlir.interpreters.tile_memory import ids_of
from plena_mlir.report import Json

OUTPUT_ATTRIBUTE = "plena.output"
"""Module attribute: rows, groups, size and padded size of the features in the output buffer."""

MEMORY_ATTRIBUTE = "plena.memory"
VOCABULARY_ATTRIBUTE = "plena.vocabulary"
"""Attribute of the alloc of the token ids: how many rows the embedding table has."""


@dataclass(frozen=True)
class HbmTensor:
    """One tensor in HBM.

    Attributes:
        address: byte address of the element region; the scale region follows at `address + elements`.
        shape: as stored, in elements.
        role: weight, cache or input.
        precision: which of the target's HBM formats.
        layout: how the tensor's natural shape became `shape`; empty if it has none.
    """

    name: str
    address: int
    shape: tuple[int, ...]
    role: str
    precision: str
    layout: str


@dataclass(frozen=True)
class Output:
    """The result in Vector SRAM: [blocks, physical_rows, VLEN] from element address `address` on.

    `rows` rows of `groups` x `size` features, every group padded to `padded` lanes.
    """

    address: int
    blocks: int
    physical_rows: int
    rows: int
    groups: int
    size: int
    padded: int

    def unpack(self, vram_rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """[blocks * physical_rows, VLEN] as [rows, features]."""
        lanes = vram_rows.shape[-1]
        blocked = vram_rows.reshape(self.blocks, self.physical_rows, lanes)
        wide = blocked.transpose(1, 0, 2).reshape(self.physical_rows, self.groups, self.padded)
        return np.ascontiguousarray(wide[: self.rows, :, : self.size]).reshape(self.rows, self.groups * self.size)


@dataclass(frozen=True)
class ProgramInterface:
    """Inputs, output and HBM tensors of one program.

    Attributes:
        ids: (INT SRAM address, count) of each buffer of token ids, by name.
        vram_rows_peak: rows of VLEN that the memory plan uses.
        mram_tiles_peak: tiles that the memory plan uses.
        vocabulary: token ids are below this number.
    """

    output: Output
    ids: Mapping[str, tuple[int, int]]
    tensors: tuple[HbmTensor, ...]
    vram_rows_peak: int
    mram_tiles_peak: int
    vocabulary: int = 0

    @property
    def staged(self) -> tuple[HbmTensor, ...]:
        """The tensors that the host writes inputs to."""
        return tuple(tensor for tensor in self.tensors if tensor.role == tile.INPUT)

    def to_json(self) -> dict[str, Json]:
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Json]) -> ProgramInterface:
        """The inverse of `to_json`; raises LookupError or TypeError for data of another form."""
        output, ids, tensors = data["output"], data["ids"], data["tensors"]
        if not isinstance(output, Mapping) or not isinstance(tensors, Sequence) or not isinstance(ids, Mapping):
            raise TypeError("output and ids must be objects, tensors a list")
        return ProgramInterface(
            output=Output(**{key: _integer(value) for key, value in output.items()}),
            ids={name: (_integer(place[0]), _integer(place[1])) for name, place in ids.items() if isinstance(place, Sequence)},
            tensors=tuple(_tensor(tensor) for tensor in tensors),
            vram_rows_peak=_integer(data["vram_rows_peak"]),
            mram_tiles_peak=_integer(data["mram_tiles_peak"]),
            vocabulary=_integer(data["vocabulary"]),
        )


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not an integer")
    return value


def _tensor(data: object) -> HbmTensor:
    if not isinstance(data, Mapping):
        raise TypeError("a tensor must be an object")
    shape = data["shape"]
    text = {key: str(data[key]) for key in ("name", "role", "precision", "layout")}
    return HbmTensor(address=_integer(data["address"]), shape=tuple(_integer(size) for size in shape), **text)


def _integers(attribute: Attribute | None) -> dict[str, int]:
    if not isinstance(attribute, DictionaryAttr):
        return {}
    return {key: value.value.data for key, value in attribute.data.items() if isinstance(value, IntegerAttr)}


def find_output(module: ModuleOp) -> Output | None:
    """Where a plena_tile module leaves its result; at address 0 as long as memory is not planned.

    A module that does not say which features the buffer holds leaves its whole rows.
    """
    for op in module.walk():
        if isinstance(op, tile.AllocOp) and op.role is not None and op.role.data == tile.OUTPUT:
            blocks, rows, lanes = tile.as_buffer(op.buffer).get_shape()
            whole = {"rows": rows, "groups": 1, "size": blocks * lanes, "padded": blocks * lanes}
            columns = _integers(module.attributes.get(OUTPUT_ATTRIBUTE)) or whole
            return Output(0 if op.address is None else op.address.value.data, blocks, rows, **columns)
    return None


def describe(module: ModuleOp) -> ProgramInterface:
    """The interface of a plena_tile module whose memory is planned.

    Raises:
        LoweringError: an address is missing.
    """
    output = find_output(module)
    if output is None:
        raise LoweringError("the program has no output buffer")
    vocabulary = 0
    tensors: list[HbmTensor] = []
    for op in module.walk():
        if isinstance(op, tile.AllocOp) and op.role is not None:
            _address(op.address, module_path(op))
            words = op.attributes.get(VOCABULARY_ATTRIBUTE)
            vocabulary = words.value.data if isinstance(words, IntegerAttr) else vocabulary
        elif isinstance(op, tile.GlobalOp):
            tensors.append(_describe_global(op))
    ids = {name: (_address(op.address, name), tile.as_buffer(op.buffer).get_shape()[0]) for name, op in ids_of(module).items()}
    memory = _integers(module.attributes.get(MEMORY_ATTRIBUTE))
    return ProgramInterface(output, ids, tuple(tensors), memory.get("vram_rows", 0), memory.get("mram_tiles", 0), vocabulary)


def _describe_global(op: tile.GlobalOp) -> HbmTensor:
    assert isa(op.type, tile.Buffer)
    element = op.type.element_type
    assert isinstance(element, tile.MxType)
    return HbmTensor(
        name=op.sym_name.data,
        address=_address(op.address, op.sym_name.data),
        shape=op.type.get_shape(),
        role=op.role.data,
        precision=element.precision.data.value,
        layout=str(op.layout) if isinstance(op.layout, LayoutAttr) else "",
    )


def _address(attribute: IntegerAttr | None, where: str) -> int:
    if attribute is None:
        raise LoweringError("the buffer has no address", where=where, hint="run plan-memory first")
    return attribute.value.data
