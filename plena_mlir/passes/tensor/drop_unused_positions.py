"""drop-unused-positions: only the logits of the last position of each sequence are computed and returned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType, IntegerType, ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import carry_location, sequences_of
from plena_mlir.errors import LoweringError
from plena_mlir.passes.rewriting import replace, rewrite

_ROW_BY_ROW = (pt.LinearOp, pt.RmsNormOp, pt.LayerNormOp, pt.UnaryOp)


def _row_slice(op: pt.SliceOp) -> bool:
    return op.dim.value.data == 0 and len(pt.shape_of(op.x)) == 2


def _rows(value: SSAValue, rows: Sequence[int]) -> list[pt.TensorOp]:
    """Ops that take some rows of an activation; the last one holds them."""
    steps = {after - before for before, after in pairwise(rows)} or {1}
    if len(steps) == 1 and min(steps) > 0:
        return [pt.SliceOp(value, 0, rows[0], rows[-1] + 1, steps.pop())]
    taken: list[pt.TensorOp] = [pt.SliceOp(value, 0, row, row + 1) for row in rows]
    return [*taken, pt.ConcatOp(taken, 0)]


class SliceBeforeRowwise(RewritePattern):
    """slice rows of op(x)  ->  op(slice rows of x), for linear layers, norms and unary ops with no other user"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SliceOp, rewriter: PatternRewriter) -> None:
        owner = op.x.owner
        if not _row_slice(op) or not op.x.has_one_use() or not isinstance(owner, _ROW_BY_ROW):
            return
        rows = pt.SliceOp(owner.x, 0, op.start.value.data, op.end.value.data, op.step.value.data)
        new = owner.on(rows)
        carry_location([rows, new], owner)
        replace(rewriter, op, [rows, new])
        rewriter.erase(owner)


@dataclass(frozen=True)
class DropUnusedPositionsPass(ModulePass):
    """Return the last row of each sequence only, and compute only these in the final norm, the linear layer after it and its cap.

    Raises:
        LoweringError: the rows of a result are neither those of the input nor one for each sequence.
    """

    name = "drop-unused-positions"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for function in op.body.block.ops:
            if isinstance(function, func.FuncOp):
                self._keep_last_row(function, [first + count - 1 for first, count in sequences_of(op)])
        rewrite(op, SliceBeforeRowwise(), recursively=True)

    def _keep_last_row(self, function: func.FuncOp, last_rows: Sequence[int]) -> None:
        terminator = function.body.block.last_op
        assert isinstance(terminator, func.ReturnOp)
        given = [_given_rows(argument) for argument in function.body.block.args]
        for index, value in enumerate(terminator.operands):
            rows = pt.shape_of(value)[0]
            if rows <= max(1, len(last_rows)):
                continue
            if rows not in given:
                raise LoweringError(
                    f"a result of {rows} rows is not one row for each position of an input ({', '.join(map(str, given))})",
                    where=f"@{function.sym_name.data}",
                    hint="keep the rows of all positions (--logits all)",
                )
            taken = _rows(value, last_rows or [rows - 1])
            carry_location(taken, terminator)
            function.body.block.insert_ops_before(taken, terminator)
            terminator.operands[index] = taken[-1].results[0]
        outputs = [value.type for value in terminator.operands]
        function.function_type = FunctionType.from_lists(function.function_type.inputs.data, outputs)


def _given_rows(argument: SSAValue) -> int:
    """The positions of an input: token ids, or rows of features."""
    shape = pt.shape_of(argument)
    return math.prod(shape if isinstance(pt.element_of(argument), IntegerType) else shape[:-1])
