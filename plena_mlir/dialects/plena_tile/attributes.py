"""Types and attributes of plena_tile: memory spaces, MX element types, references into buffers."""

from __future__ import annotations

from xdsl.dialects.builtin import BoolAttr, IntAttr, StringAttr
from xdsl.dialects.utils import EnumAttribute
from xdsl.ir import ParametrizedAttribute, SpacedOpaqueSyntaxAttribute, TypeAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.utils.str_enum import StrEnum

from plena_mlir.target.layout import Layout


class Space(StrEnum):
    """The memories of the machine (machine specification, section 1.3)."""

    HBM = "hbm"
    VRAM = "vram"
    MRAM = "mram"
    FPRAM = "fpram"
    INTRAM = "intram"


class Precision(StrEnum):
    """Which of the target's HBM element formats a tensor is stored in."""

    WEIGHT = "weight"
    KV = "kv"
    ACT = "act"


class Accumulator(StrEnum):
    """A matrix instruction form, and through it the accumulator it fills (machine specification, sections 1.2 and 4.1)."""

    MM = "mm"
    TMM = "tmm"
    BMM = "bmm"
    BTMM = "btmm"


class RowBinary(StrEnum):
    """Lane-wise operations on two rows."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"


class RowScalar(StrEnum):
    """Lane-wise operations on a row x and a scalar s; `rsub` is s - x."""

    ADD = "add"
    SUB = "sub"
    RSUB = "rsub"
    MUL = "mul"
    MAX = "max"
    MIN = "min"


class RowUnary(StrEnum):
    """Lane-wise functions of one row."""

    EXP = "exp"
    RECIPROCAL = "reciprocal"


class RowReduce(StrEnum):
    """Reductions of one row into a scalar."""

    SUM = "sum"
    MAX = "max"


class ScalarBinary(StrEnum):
    """Operations on two bf16 scalars."""

    ADD = "add"
    SUB = "sub"
    MUL = "mul"
    MAX = "max"


class ScalarUnary(StrEnum):
    """Functions of one bf16 scalar."""

    EXP = "exp"
    RECIPROCAL = "reciprocal"
    SQRT = "sqrt"


class Strategy(StrEnum):
    """How a matrix product uses the matrix unit.

    `micro`: M_MM / M_TMM, a BLEN x BLEN block of outputs at a time. `broadcast`: M_BMM / M_BTMM, whole tiles, with the rows
    shifted so that the last head accumulates all of K when a tile has several heads.
    """

    MICRO = "micro"
    BROADCAST = "broadcast"


@irdl_attr_definition
class SpaceAttr(EnumAttribute[Space], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.space"


@irdl_attr_definition
class AccumulatorAttr(EnumAttribute[Accumulator], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.accumulator"


@irdl_attr_definition
class RowBinaryAttr(EnumAttribute[RowBinary], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.row_binary_kind"


@irdl_attr_definition
class RowScalarAttr(EnumAttribute[RowScalar], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.row_scalar_kind"


@irdl_attr_definition
class RowUnaryAttr(EnumAttribute[RowUnary], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.row_unary_kind"


@irdl_attr_definition
class RowReduceAttr(EnumAttribute[RowReduce], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.row_reduce_kind"


@irdl_attr_definition
class ScalarBinaryAttr(EnumAttribute[ScalarBinary], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.scalar_binary_kind"


@irdl_attr_definition
class ScalarUnaryAttr(EnumAttribute[ScalarUnary], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.scalar_unary_kind"


@irdl_attr_definition
class StrategyAttr(EnumAttribute[Strategy], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.strategy"


@irdl_attr_definition
class PrecisionAttr(EnumAttribute[Precision], SpacedOpaqueSyntaxAttribute):
    name = "plena_tile.precision"


@irdl_attr_definition
class MxType(ParametrizedAttribute, TypeAttribute):
    """One element of a block-scaled (MX) tensor in HBM; the block runs along the last dimension."""

    name = "plena_tile.mx"
    precision: PrecisionAttr


@irdl_attr_definition
class RefType(ParametrizedAttribute, TypeAttribute):
    """The place of one element of a buffer: what an address register will hold."""

    name = "plena_tile.ref"
    space: SpaceAttr


class Packing(StrEnum):
    """How a padded matrix [n, k] lies in HBM.

    `tiles`: [n / MLEN, k / MLEN, MLEN, MLEN]. `rows`: [n, k / VLEN, VLEN], one matrix row after the other.
    `column_blocks`: [k / VLEN, n, VLEN], as activations lie in Vector SRAM.
    """

    TILES = "tiles"
    ROWS = "rows"
    COLUMN_BLOCKS = "column_blocks"


@irdl_attr_definition
class LayoutAttr(ParametrizedAttribute):
    """How the image writer turns a tensor [n, k] (or [k], taken as [1, k]) into the elements and scales of a global.

    Rows come in groups of `row_group`, each padded with zero rows to `row_padded`; columns likewise (a head of 80 features padded
    to 128). What is missing to the global's own shape after that is zero too. The tensor is stored as the sum of `terms` MX tensors
    (each encodes what the ones before it leave over): a leading dimension when there are several. `scale_shift` is added to every
    nonzero scale byte after encoding: an exact factor of 2**scale_shift. `stacked` globals have a leading layer dimension. Of each
    row of the buffer the first `lanes` elements are used; the rest keeps the scales of a row within one block of HBM.
    """

    name = "plena_tile.layout"
    packing: StringAttr
    row_group: IntAttr
    row_padded: IntAttr
    col_group: IntAttr
    col_padded: IntAttr
    terms: IntAttr
    scale_shift: IntAttr
    stacked: BoolAttr
    lanes: IntAttr

    @staticmethod
    def of(
        packing: Packing,
        *,
        rows: tuple[int, int],
        cols: tuple[int, int],
        terms: int = 1,
        scale_shift: int = 0,
        stacked: bool = False,
        lanes: int = 0,
    ) -> LayoutAttr:
        """`rows` and `cols` are (group, padded group) in elements."""
        return LayoutAttr(
            StringAttr(packing.value),
            IntAttr(rows[0]),
            IntAttr(rows[1]),
            IntAttr(cols[0]),
            IntAttr(cols[1]),
            IntAttr(terms),
            IntAttr(scale_shift),
            BoolAttr.from_bool(stacked),
            IntAttr(lanes),
        )

    @property
    def layout(self) -> Layout:
        """The layout as the image writer wants it."""
        return Layout(
            Packing(self.packing.data).value,
            (self.row_group.data, self.row_padded.data),
            (self.col_group.data, self.col_padded.data),
            self.terms.data,
            self.scale_shift.data,
            self.stacked.value.data != 0,
            self.lanes.data,
        )
