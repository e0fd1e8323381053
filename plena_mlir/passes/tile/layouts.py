"""How tensors of the transformer level lie in the machine's memories."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import SSAValue
from xdsl.utils.hints import isa

from plena_mlir.dialects import plena_tile as tile


def round_up(value: int, multiple: int) -> int:
    """The next multiple of `multiple` not below `value`."""
    return -(-value // multiple) * multiple


@dataclass(frozen=True)
class Columns:
    """The features of an activation: `groups` of `size` features (heads, or one group), each padded to `padded` lanes."""

    groups: int
    size: int
    padded: int

    @staticmethod
    def of(features: int, groups: int, lanes: int) -> Columns:
        """Each group on whole column blocks of `lanes` features."""
        size = features // groups
        return Columns(groups, size, round_up(size, lanes))

    @property
    def features(self) -> int:
        return self.groups * self.size

    def blocks(self, lanes: int) -> int:
        """Column blocks of the whole activation."""
        return self.groups * self.padded // lanes

    @property
    def group(self) -> tuple[int, int]:
        """(group, padded group), as a weight layout wants it."""
        return (self.size, self.padded)


@dataclass(frozen=True)
class Activation:
    """A tensor [rows, features] in Vector SRAM: buffer [column blocks, physical rows, VLEN]; rows beyond `rows` are finite."""

    buffer: SSAValue
    columns: Columns
    rows: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(column blocks, physical rows, lanes)."""
        type = self.buffer.type
        assert isa(type, tile.Buffer)
        blocks, rows, lanes = type.get_shape()
        return blocks, rows, lanes


@dataclass(frozen=True)
class Cache:
    """Keys or values in HBM: buffer [heads, column blocks of a head, keys, row pitch]; keys beyond the rows stay zero."""

    buffer: SSAValue
    columns: Columns
    keys: int


@dataclass(frozen=True)
class Routing:
    """Which experts each row chose: INT SRAM [rows, width], best first, and their weights in FP SRAM [rows, width]."""

    experts: SSAValue
    weights: SSAValue
