"""Unit operations of the tile level as instructions on virtual registers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

from xdsl.ir import Operation, SSAValue
from xdsl.utils.hints import isa as has_type

from plena_mlir.dialects import plena_isa as isa
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.fp_constants import FpConstants, as_bf16
from plena_mlir.passes.isa.isa_emitter import IsaEmitter
from plena_mlir.passes.isa.place_analysis import PlaceAnalysis
from plena_mlir.target import Target

_ROW_BINARY = {
    tile.RowBinary.ADD: isa.VAddVvOp,
    tile.RowBinary.SUB: isa.VSubVvOp,
    tile.RowBinary.MUL: isa.VMulVvOp,
}
_ROW_SCALAR: Mapping[tile.RowScalar, type[isa.VAddVfOp | isa.VMulVfOp | isa.VMaxVfOp | isa.VMinVfOp]] = {
    tile.RowScalar.ADD: isa.VAddVfOp,
    tile.RowScalar.MUL: isa.VMulVfOp,
    tile.RowScalar.MAX: isa.VMaxVfOp,
    tile.RowScalar.MIN: isa.VMinVfOp,
}
_ROW_UNARY = {tile.RowUnary.EXP: isa.VExpVOp, tile.RowUnary.RECIPROCAL: isa.VReciVOp}
_ROW_REDUCE = {tile.RowReduce.SUM: isa.VRedSumOp, tile.RowReduce.MAX: isa.VRedMaxOp}
_SCALAR_BINARY = {
    tile.ScalarBinary.ADD: isa.SAddFpOp,
    tile.ScalarBinary.SUB: isa.SSubFpOp,
    tile.ScalarBinary.MUL: isa.SMulFpOp,
    tile.ScalarBinary.MAX: isa.SMaxFpOp,
}
_SCALAR_UNARY = {
    tile.ScalarUnary.EXP: isa.SExpFpOp,
    tile.ScalarUnary.RECIPROCAL: isa.SReciFpOp,
    tile.ScalarUnary.SQRT: isa.SSqrtFpOp,
}
_Transfer: TypeAlias = tile.LoadMatrixOp | tile.LoadRowsOp | tile.StoreRowsOp
_MATRIX_FIRST = {tile.Accumulator.MM: isa.MMmOp, tile.Accumulator.BMM: isa.MBmmOp, tile.Accumulator.BTMM: isa.MBtmmOp}


@dataclass
class UnitLowering:
    """Lowers one unit operation at a time through an emitter. `scalars` holds the registers of tile-level scalars."""

    target: Target
    analysis: PlaceAnalysis
    emitter: IsaEmitter
    constants: FpConstants
    scalars: dict[SSAValue, SSAValue] = field(default_factory=dict[SSAValue, SSAValue])

    def lower(self, op: Operation) -> None:
        """Emit the instructions of a unit operation; buffers, places and index constants need none of their own."""
        add = self.emitter.add
        match op:
            case tile.RowBinaryOp():
                add(_ROW_BINARY[op.kind.data](self._at(op.target), self._at(op.lhs), self._at(op.rhs)))
            case tile.RowScalarOp():
                self._row_scalar(op)
            case tile.RowUnaryOp():
                add(_ROW_UNARY[op.kind.data](self._at(op.target), self._at(op.row)))
            case tile.RowShiftOp():
                amount = self.emitter.constant(op.amount.value.data)
                add(isa.VShftVOp(self._at(op.target), self._at(op.row), amount))
            case tile.RowReduceOp():
                init = self.scalars[op.init]
                self.scalars[op.result] = add(_ROW_REDUCE[op.kind.data](init, self._at(op.row))).rd
            case tile.RowFillOp():
                words, immediate = self.emitter.address_and_immediate(self.analysis.place(op.words))
                add(isa.SMapVFpOp(self._at(op.target), words, immediate))
            case tile.RowTopkOp():
                add(isa.VTopkOp(self._at(op.weights), self._at(op.rows), self._at(op.lanes), op.policy.value.data))
            case tile.AccumulateOp():
                self._accumulate(op)
            case tile.WriteOutOp():
                self._write_out(op)
            case tile.LoadMatrixOp() | tile.LoadRowsOp() | tile.StoreRowsOp():
                self._transfer(op)
            case tile.ConstantOp():
                self.scalars[op.result] = self.fp_constant(as_bf16(op.value.value.data))
            case tile.ScalarBinaryOp():
                self.scalars[op.result] = add(_SCALAR_BINARY[op.kind.data](self.scalars[op.lhs], self.scalars[op.rhs])).rd
            case tile.ScalarUnaryOp():
                self.scalars[op.result] = add(_SCALAR_UNARY[op.kind.data](self.scalars[op.operand])).rd
            case tile.LoadScalarOp():
                source, immediate = self.emitter.address_and_immediate(self.analysis.place(op.source))
                self.scalars[op.result] = add(isa.SLdFpOp(source, immediate)).rd
            case tile.StoreScalarOp():
                target, immediate = self.emitter.address_and_immediate(self.analysis.place(op.target))
                add(isa.SStFpOp(self.scalars[op.value], target, immediate))
            case tile.LoadIndexOp():
                self._load_index(op)
            case _:
                raise LoweringError(
                    f"`{op.name}` is no unit operation",
                    where=module_path(op) or None,
                    hint="expand structured operations before convert-tile-to-isa",
                )

    def fp_constant(self, value: float) -> SSAValue:
        """A register that holds a bf16 constant."""
        if value == 0 and str(value) == "0.0":
            return self.emitter.fp_zero
        word = self.constants.word_of(value)
        return self.emitter.once(("fp", word), lambda: self.emitter.add(isa.SLdFpOp(self.emitter.zero, word)).rd)

    def _at(self, ref: SSAValue) -> SSAValue:
        return self.emitter.address(self.analysis.place(ref))

    def _row_scalar(self, op: tile.RowScalarOp) -> None:
        target, row, scalar = self._at(op.target), self._at(op.row), self.scalars[op.scalar]
        match op.kind.data:
            case tile.RowScalar.SUB:
                self.emitter.add(isa.VSubVfOp(target, row, scalar, order=0))
            case tile.RowScalar.RSUB:
                self.emitter.add(isa.VSubVfOp(target, row, scalar, order=1))
            case kind:
                self.emitter.add(_ROW_SCALAR[kind](target, row, scalar))

    def _accumulate(self, op: tile.AccumulateOp) -> None:
        rows, matrix = self._at(op.rows), self._at(op.matrix)
        form = op.form.data
        # M_TMM takes its operands in the other order than its siblings.
        self.emitter.add(isa.MTmmOp(rows, matrix) if form is tile.Accumulator.TMM else _MATRIX_FIRST[form](matrix, rows))

    def _write_out(self, op: tile.WriteOutOp) -> None:
        address, immediate = self.emitter.address_and_immediate(self.analysis.place(op.target))
        if op.form.data in (tile.Accumulator.MM, tile.Accumulator.TMM):
            self.emitter.add(isa.MMmWoOp(address, self.emitter.zero, immediate))
        else:
            self.emitter.add(isa.MBmmWoOp(address, immediate))

    def _load_index(self, op: tile.LoadIndexOp) -> None:
        source, immediate = self.emitter.address_and_immediate(self.analysis.place(op.source))
        index = self.emitter.add(isa.SLdIntOp(source, immediate)).rd
        for pointer in self.analysis.plan.pointers(self.analysis.index(op.result)):
            product = index
            if pointer.factor != 1:
                product = self.emitter.add(isa.SMulIntOp(index, self.emitter.constant(pointer.factor))).rd
            start = self.emitter.address(pointer.outer)
            if start is not self.emitter.zero:
                product = self.emitter.add(isa.SAddIntOp(start, product)).rd
            self.emitter.pointers[pointer] = product

    # --- DMA (machine specification, section 4.6) -----------------------------------------------------------------------------

    def _transfer(self, op: _Transfer) -> None:
        remote, local = (op.target, op.source) if isinstance(op, tile.StoreRowsOp) else (op.source, op.target)
        tensor = self.analysis.global_of(remote)
        assert has_type(tensor.type, tile.Buffer)
        emitter = self.emitter
        emitter.add(isa.CSetScaleRegOp(emitter.constant(prod(tensor.type.get_shape()))))
        stride = self._row_stride(op, remote)
        if stride is not None:
            emitter.add(isa.CSetStrideRegOp(emitter.constant(stride)))
        operands = self._at(local), self._at(remote), self._base(tensor)
        flags = 0 if stride is None else 1, self._precision(op, tensor)
        match op:
            case tile.LoadMatrixOp():
                emitter.add(isa.HPrefetchMOp(*operands, *flags))
            case tile.LoadRowsOp():
                emitter.add(isa.HPrefetchVOp(*operands, *flags))
            case tile.StoreRowsOp():
                emitter.add(isa.HStoreVOp(*operands, *flags))

    def _base(self, tensor: tile.GlobalOp) -> SSAValue:
        """An address register that holds the first byte of a tensor."""
        if tensor.address is None:
            raise LoweringError("a tensor in HBM has no address", where=tensor.sym_name.data, hint="run plan-memory first")
        address = tensor.address.value.data

        def set_register() -> SSAValue:
            high, low = self.emitter.constant(address >> 32), self.emitter.constant(address)
            return self.emitter.add(isa.CSetAddrRegOp(high, low)).rd

        return self.emitter.once(("hbm", address), set_register)

    def _row_stride(self, op: _Transfer, remote: SSAValue) -> int | None:
        """Elements between successive rows; None when they follow each other."""
        strides = tile.strides_of(tile.source_type(remote))
        rows = {
            tile.LoadMatrixOp: self.target.prefetch_m_rows,
            tile.LoadRowsOp: self.target.prefetch_v_rows,
            tile.StoreRowsOp: self.target.writeback_v_rows,
        }[type(op)]
        if rows == 1 or len(strides) < 2 or strides[-2] == self.target.mlen:
            return None
        if strides[-2] % 8:
            raise LoweringError(
                f"rows {strides[-2]} elements apart, the scales need a multiple of 8", where=module_path(op) or None
            )
        return strides[-2]

    def _precision(self, op: _Transfer, tensor: tile.GlobalOp) -> int:
        """The precision field that makes the transfer use the format the tensor is stored in."""
        assert has_type(tensor.type, tile.Buffer)
        element = tensor.type.element_type
        if not isinstance(element, tile.MxType):
            raise LoweringError(f"elements of type {element} cannot be transferred", where=tensor.sym_name.data)
        formats = self.target.precisions
        stored = {
            tile.Precision.WEIGHT: formats.m_weight,
            tile.Precision.KV: formats.m_kv,
            tile.Precision.ACT: formats.v_act,
        }[element.precision.data]
        first, kv = (formats.m_weight, formats.m_kv) if isinstance(op, tile.LoadMatrixOp) else (formats.v_act, formats.v_kv)
        if element.precision.data is tile.Precision.KV and stored == kv:
            return 1
        if stored == first:
            return 0
        if stored == kv:
            return 1
        raise LoweringError(
            f"{tensor.sym_name.data} is stored as {stored}, the transfer reads {first} or {kv}",
            where=module_path(op) or None,
            hint="use one format for the streams that share the tensor",
        )
