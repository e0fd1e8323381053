"""rms_norm and layer_norm: rows, or the heads of a row, to unit variance, times a gain, plus a bias."""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.passes.tile.emitter import Emitter, Index, IndexLike
from plena_mlir.passes.tile.layouts import Activation, Columns
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.exact import load_table

Norm = tensor.RmsNormOp | tensor.LayerNormOp


class _NormRows:
    """What is set up once for all rows of one norm: constants, scratch rows, gain, bias and the mask of the padding.

    The column blocks of a group are added up first, so that a group costs one reduction.
    """

    def __init__(self, context: LoweringContext, op: Norm, x: Activation, out: Activation) -> None:
        self.emitter: Emitter = context.emitter
        self.x, self.out = x, out
        blocks, self.rows, lanes = x.shape
        self.groups = op.group_count
        self.blocks = blocks // self.groups
        features = x.columns.features // self.groups
        self.zero, self.inverse = self.emitter.constant(0.0), self.emitter.constant(1.0 / features)
        self.eps = self.emitter.constant(op.eps.value.data)
        self.scratch = self.emitter.rows(1, 2)
        self.gain = self._row(context, op.gain)
        self.bias = self._row(context, op.bias if isinstance(op, tensor.LayerNormOp) else None)
        self.centred = isinstance(op, tensor.LayerNormOp)
        columns = x.columns
        self.padded_groups = columns.groups // self.groups if self.centred and columns.size % lanes else 0
        self.mask = self._mask(context, op, columns.size % lanes, lanes) if self.padded_groups else None

    def _row(self, context: LoweringContext, value: SSAValue | None) -> tuple[SSAValue, int] | None:
        """The buffer of a gain or bias, and how many column blocks it is ahead from one group to the next."""
        if value is None:
            return None
        columns = self.x.columns
        if shape_of(value)[0] == columns.features:
            return load_table(context, value, columns, 1), self.blocks
        return load_table(context, value, Columns(1, columns.size, columns.padded), 1), 0

    @staticmethod
    def _mask(context: LoweringContext, op: Norm, lanes_used: int, lanes: int) -> SSAValue:
        """A row of ones in the lanes of the last column block that hold features, and zeros in the others."""
        block = op.parent
        assert block is not None
        one = tensor.splat(1.0)
        ones = tensor.ExpandOp(one, (lanes_used,))
        block.insert_ops_before([one, ones], op)
        return load_table(context, ones.result, Columns(1, lanes_used, lanes), 1)

    # --- one group of one row ---------------------------------------------------------------------------------------------------

    def source(self, group: IndexLike, block: IndexLike, row: IndexLike) -> SSAValue:
        return self.emitter.at(self.x.buffer, group * self.blocks + block, row, 0)

    def target(self, group: IndexLike, block: IndexLike, row: IndexLike) -> SSAValue:
        return self.emitter.at(self.out.buffer, group * self.blocks + block, row, 0)

    def normalise(self, group: Index, row: Index) -> None:
        emitter = self.emitter
        if self.centred:
            self._centre(group, row)
        place = self.target if self.centred else self.source
        total = self._square(place(group, 0, row), 0)
        if self.blocks > 1:
            with emitter.loop(self.blocks, start=1) as block:
                square = self._square(place(group, block, row), 1)
                emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, total, total, square))
        variance = emitter.scalar(tile.ScalarBinary.ADD, self._mean(total), self.eps)
        root = emitter.scalar_function(tile.ScalarUnary.SQRT, variance)
        scale = emitter.scalar_function(tile.ScalarUnary.RECIPROCAL, root)
        with emitter.loop(self.blocks) as block:
            target = self.target(group, block, row)
            emitter.add(tile.RowScalarOp(tile.RowScalar.MUL, target, place(group, block, row), scale))
            for kind, part in ((tile.RowBinary.MUL, self.gain), (tile.RowBinary.ADD, self.bias)):
                if part is not None:
                    weights = emitter.at(part[0], group * part[1] + block, 0, 0)
                    emitter.add(tile.RowBinaryOp(kind, target, target, weights))

    def _square(self, place: SSAValue, scratch: int) -> SSAValue:
        square = self.emitter.at(self.scratch, 0, scratch, 0)
        self.emitter.add(tile.RowBinaryOp(tile.RowBinary.MUL, square, place, place))
        return square

    def _mean(self, total: SSAValue) -> SSAValue:
        """The mean of a group whose column blocks were added up in the row `total`."""
        sum = self.emitter.reduce(tile.RowReduce.SUM, self.zero, total)
        return self.emitter.scalar(tile.ScalarBinary.MUL, sum, self.inverse)

    def _centre(self, group: Index, row: Index) -> None:
        """out = x - mean(x), and zero in the padding, where the subtraction left -mean."""
        emitter = self.emitter
        total = self.source(group, 0, row)
        if self.blocks > 1:
            total = emitter.at(self.scratch, 0, 0, 0)
            emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, total, self.source(group, 0, row), self.source(group, 1, row)))
            if self.blocks > 2:
                with emitter.loop(self.blocks, start=2) as block:
                    emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, total, total, self.source(group, block, row)))
        mean = self._mean(total)
        with emitter.loop(self.blocks) as block:
            place = self.target(group, block, row)
            emitter.add(tile.RowScalarOp(tile.RowScalar.SUB, place, self.source(group, block, row), mean))
        if self.mask is not None:
            per_part = self.blocks // self.padded_groups
            with emitter.loop(self.padded_groups) as part:
                place = self.target(group, part * per_part + (per_part - 1), row)
                emitter.add(tile.RowBinaryOp(tile.RowBinary.MUL, place, place, emitter.at(self.mask, 0, 0, 0)))


def lower_norm(context: LoweringContext, op: Operation) -> None:
    """Group by group, row by row."""
    assert isinstance(op, tensor.RmsNormOp | tensor.LayerNormOp)
    x = context.activation(op.x)
    if op.group_count not in (1, x.columns.groups):
        raise refuse(op, f"the operand lies in {x.columns.groups} groups of features, the norm has {op.group_count}")
    out = context.new_activation(op.result)
    if out.columns != x.columns:
        raise refuse(op, f"the result lies differently from its operand: {out.columns} against {x.columns}")
    norm = _NormRows(context, op, x, out)
    with context.emitter.loop(norm.groups) as group, context.emitter.loop(norm.rows) as row:
        norm.normalise(group, row)
    context.values[op.result] = out
