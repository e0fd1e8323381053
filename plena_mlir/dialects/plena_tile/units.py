"""Operations at the grain of the machine's units: DMA, matrix unit, vector unit, scalar unit.

Values in Vector SRAM are bf16, in Matrix SRAM f32, scalars are bf16 SSA values; each operation rounds as its instruction does.
"""

from __future__ import annotations

from xdsl.dialects.builtin import BFloat16Type, FloatAttr, IndexType, IntegerAttr, bf16, i64
from xdsl.ir import SSAValue
from xdsl.irdl import (
    EqAttrConstraint,
    IRDLOperation,
    ParamAttrConstraint,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    prop_def,
    result_def,
    traits_def,
)
from xdsl.traits import MemoryReadEffect, MemoryWriteEffect, Pure

from plena_mlir.dialects.plena_tile.attributes import (
    Accumulator,
    AccumulatorAttr,
    RefType,
    RowBinary,
    RowBinaryAttr,
    RowReduce,
    RowReduceAttr,
    RowScalar,
    RowScalarAttr,
    RowUnary,
    RowUnaryAttr,
    ScalarBinary,
    ScalarBinaryAttr,
    ScalarUnary,
    ScalarUnaryAttr,
    Space,
    SpaceAttr,
)


def _ref(space: Space) -> ParamAttrConstraint[RefType]:
    return ParamAttrConstraint(RefType, (EqAttrConstraint(SpaceAttr(space)),))


_HBM = _ref(Space.HBM)
_VRAM = _ref(Space.VRAM)
_MRAM = _ref(Space.MRAM)
_FPRAM = _ref(Space.FPRAM)
_INTRAM = _ref(Space.INTRAM)


class UnitOp(IRDLOperation):
    """Base of the operations that one machine instruction, or a fixed short sequence, implements."""

    irdl_options = (ParsePropInAttrDict(),)


class EffectfulUnitOp(UnitOp):
    """Base of the operations that read and write machine memories."""

    traits = traits_def(MemoryReadEffect(), MemoryWriteEffect())


# --- DMA (machine specification, section 4.6) -----------------------------------------------------------------------------


@irdl_op_definition
class LoadMatrixOp(EffectfulUnitOp):
    """Fetch one MLEN x MLEN tile (or as many as the target's prefetch amount holds) from HBM into Matrix SRAM.

    Successive rows are `strides[-2]` elements apart in the source buffer.
    """

    name = "plena_tile.load_matrix"
    source = operand_def(_HBM)
    target = operand_def(_MRAM)
    assembly_format = "$source `->` $target attr-dict"

    def __init__(self, source: SSAValue, target: SSAValue) -> None:
        super().__init__(operands=[source, target])


@irdl_op_definition
class LoadRowsOp(EffectfulUnitOp):
    """Fetch HBM_V_Prefetch_Amount rows from HBM into consecutive Vector SRAM rows.

    Successive rows are `strides[-2]` elements apart in the source buffer.
    """

    name = "plena_tile.load_rows"
    source = operand_def(_HBM)
    target = operand_def(_VRAM)
    assembly_format = "$source `->` $target attr-dict"

    def __init__(self, source: SSAValue, target: SSAValue) -> None:
        super().__init__(operands=[source, target])


@irdl_op_definition
class StoreRowsOp(EffectfulUnitOp):
    """Write HBM_V_Writeback_Amount consecutive Vector SRAM rows to HBM, MX-encoded."""

    name = "plena_tile.store_rows"
    source = operand_def(_VRAM)
    target = operand_def(_HBM)
    assembly_format = "$source `->` $target attr-dict"

    def __init__(self, source: SSAValue, target: SSAValue) -> None:
        super().__init__(operands=[source, target])


# --- matrix unit (section 4.1) --------------------------------------------------------------------------------------------


@irdl_op_definition
class AccumulateOp(EffectfulUnitOp):
    """Add a product to the accumulator of a form.

    `matrix` is the place (tile, output start, contraction start): the output start (a multiple of BLEN) selects columns for `mm`
    and rows for `tmm`; the contraction start (a multiple of HLEN) selects the slice of K for `bmm` and `btmm`.
    `rows` is the first of BLEN rows (`mm`, `tmm`) or of MLEN rows (`bmm`, `btmm`).
    """

    name = "plena_tile.accumulate"
    form = prop_def(AccumulatorAttr)
    rows = operand_def(_VRAM)
    matrix = operand_def(_MRAM)
    assembly_format = "$form $rows `,` $matrix attr-dict"

    def __init__(self, form: Accumulator, rows: SSAValue, matrix: SSAValue) -> None:
        super().__init__(operands=[rows, matrix], properties={"form": AccumulatorAttr(form)})


@irdl_op_definition
class WriteOutOp(EffectfulUnitOp):
    """Round the accumulator of a form to bf16 into Vector SRAM, and clear it.

    `mm`, `tmm`: BLEN rows, BLEN lanes from the target's lane on. `bmm`, `btmm`: BROADCAST x MLEN whole rows, head by head.
    """

    name = "plena_tile.write_out"
    form = prop_def(AccumulatorAttr)
    target = operand_def(_VRAM)
    assembly_format = "$form $target attr-dict"

    def __init__(self, form: Accumulator, target: SSAValue) -> None:
        super().__init__(operands=[target], properties={"form": AccumulatorAttr(form)})


# --- vector unit (section 4.2) --------------------------------------------------------------------------------------------


@irdl_op_definition
class RowBinaryOp(EffectfulUnitOp):
    """target = lhs kind rhs, lane by lane, one rounding."""

    name = "plena_tile.row_binary"
    kind = prop_def(RowBinaryAttr)
    target = operand_def(_VRAM)
    lhs = operand_def(_VRAM)
    rhs = operand_def(_VRAM)
    assembly_format = "$kind $target `,` $lhs `,` $rhs attr-dict"

    def __init__(self, kind: RowBinary, target: SSAValue, lhs: SSAValue, rhs: SSAValue) -> None:
        super().__init__(operands=[target, lhs, rhs], properties={"kind": RowBinaryAttr(kind)})


@irdl_op_definition
class RowScalarOp(EffectfulUnitOp):
    """target = row kind scalar, lane by lane, one rounding."""

    name = "plena_tile.row_scalar"
    kind = prop_def(RowScalarAttr)
    target = operand_def(_VRAM)
    row = operand_def(_VRAM)
    scalar = operand_def(BFloat16Type)
    assembly_format = "$kind $target `,` $row `,` $scalar attr-dict"

    def __init__(self, kind: RowScalar, target: SSAValue, row: SSAValue, scalar: SSAValue) -> None:
        super().__init__(operands=[target, row, scalar], properties={"kind": RowScalarAttr(kind)})


@irdl_op_definition
class RowUnaryOp(EffectfulUnitOp):
    """target = function of row, lane by lane; `exp` clamps its input to [-88, 88]."""

    name = "plena_tile.row_unary"
    kind = prop_def(RowUnaryAttr)
    target = operand_def(_VRAM)
    row = operand_def(_VRAM)
    assembly_format = "$kind $target `,` $row attr-dict"

    def __init__(self, kind: RowUnary, target: SSAValue, row: SSAValue) -> None:
        super().__init__(operands=[target, row], properties={"kind": RowUnaryAttr(kind)})


@irdl_op_definition
class RowShiftOp(EffectfulUnitOp):
    """target = row moved `amount` lanes up; zeros enter at lane 0."""

    name = "plena_tile.row_shift"
    amount = prop_def(IntegerAttr)
    target = operand_def(_VRAM)
    row = operand_def(_VRAM)
    assembly_format = "$target `,` $row `by` $amount attr-dict"

    def __init__(self, target: SSAValue, row: SSAValue, amount: int) -> None:
        super().__init__(operands=[target, row], properties={"amount": IntegerAttr(amount, i64)})


@irdl_op_definition
class RowReduceOp(UnitOp):
    """result = init + sum(row), or max(init, row); one bf16 rounding."""

    name = "plena_tile.row_reduce"
    kind = prop_def(RowReduceAttr)
    init = operand_def(BFloat16Type)
    row = operand_def(_VRAM)
    result = result_def(BFloat16Type)
    traits = traits_def(MemoryReadEffect())
    assembly_format = "$kind $init `,` $row attr-dict"

    def __init__(self, kind: RowReduce, init: SSAValue, row: SSAValue) -> None:
        super().__init__(operands=[init, row], properties={"kind": RowReduceAttr(kind)}, result_types=[bf16])


@irdl_op_definition
class RowFillOp(EffectfulUnitOp):
    """target = the VLEN words of FP SRAM from `words` on."""

    name = "plena_tile.row_fill"
    target = operand_def(_VRAM)
    words = operand_def(_FPRAM)
    assembly_format = "$target `,` $words attr-dict"

    def __init__(self, target: SSAValue, words: SSAValue) -> None:
        super().__init__(operands=[target, words])


@irdl_op_definition
class RowTopkOp(EffectfulUnitOp):
    """The k greatest of the first n lanes of consecutive rows from `rows` on, best first: lanes to INT SRAM, softmax to FP SRAM.

    (n, k) is (32, 4) for policy 0 and (128, 8) for policy 1; k words go to both memories. Equal lanes stay in order.
    """

    name = "plena_tile.row_topk"
    weights = operand_def(_FPRAM)
    rows = operand_def(_VRAM)
    lanes = operand_def(_INTRAM)
    policy = prop_def(IntegerAttr)
    assembly_format = "$weights `,` $lanes `,` $rows attr-dict"

    def __init__(self, weights: SSAValue, lanes: SSAValue, rows: SSAValue, policy: int) -> None:
        super().__init__(operands=[weights, rows, lanes], properties={"policy": IntegerAttr(policy, i64)})


# --- scalar unit (sections 4.3 and 4.4) -----------------------------------------------------------------------------------


@irdl_op_definition
class ConstantOp(UnitOp):
    """A bf16 constant (rounded to nearest even from the attribute)."""

    name = "plena_tile.constant"
    value = prop_def(FloatAttr)
    result = result_def(BFloat16Type)
    traits = traits_def(Pure())
    assembly_format = "$value attr-dict"

    def __init__(self, value: float) -> None:
        super().__init__(properties={"value": FloatAttr(value, bf16)}, result_types=[bf16])


@irdl_op_definition
class ScalarBinaryOp(UnitOp):
    """result = lhs kind rhs in f32, rounded to bf16."""

    name = "plena_tile.scalar_binary"
    kind = prop_def(ScalarBinaryAttr)
    lhs = operand_def(BFloat16Type)
    rhs = operand_def(BFloat16Type)
    result = result_def(BFloat16Type)
    traits = traits_def(Pure())
    assembly_format = "$kind $lhs `,` $rhs attr-dict"

    def __init__(self, kind: ScalarBinary, lhs: SSAValue, rhs: SSAValue) -> None:
        super().__init__(operands=[lhs, rhs], properties={"kind": ScalarBinaryAttr(kind)}, result_types=[bf16])


@irdl_op_definition
class ScalarUnaryOp(UnitOp):
    """result = function of the operand in f32, rounded to bf16."""

    name = "plena_tile.scalar_unary"
    kind = prop_def(ScalarUnaryAttr)
    operand = operand_def(BFloat16Type)
    result = result_def(BFloat16Type)
    traits = traits_def(Pure())
    assembly_format = "$kind $operand attr-dict"

    def __init__(self, kind: ScalarUnary, operand: SSAValue) -> None:
        super().__init__(operands=[operand], properties={"kind": ScalarUnaryAttr(kind)}, result_types=[bf16])


@irdl_op_definition
class LoadScalarOp(UnitOp):
    """A word of FP SRAM."""

    name = "plena_tile.load_scalar"
    source = operand_def(_FPRAM)
    result = result_def(BFloat16Type)
    traits = traits_def(MemoryReadEffect())
    assembly_format = "$source attr-dict"

    def __init__(self, source: SSAValue) -> None:
        super().__init__(operands=[source], result_types=[bf16])


@irdl_op_definition
class StoreScalarOp(EffectfulUnitOp):
    """Write a scalar to FP SRAM."""

    name = "plena_tile.store_scalar"
    value = operand_def(BFloat16Type)
    target = operand_def(_FPRAM)
    assembly_format = "$value `,` $target attr-dict"

    def __init__(self, value: SSAValue, target: SSAValue) -> None:
        super().__init__(operands=[value, target])


@irdl_op_definition
class LoadIndexOp(UnitOp):
    """A word of INT SRAM, as an index that places may depend on linearly (a token id, an expert number)."""

    name = "plena_tile.load_index"
    source = operand_def(_INTRAM)
    result = result_def(IndexType)
    traits = traits_def(MemoryReadEffect())
    assembly_format = "$source attr-dict"

    def __init__(self, source: SSAValue) -> None:
        super().__init__(operands=[source], result_types=[IndexType()])
