"""flatten-batch: the sequences of a batch follow each other; every activation becomes rank 2, [batch * rows, features]."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.simplify_shapes import SimplifyShapesPass


def _rows_and_features(shape: pt.Shape) -> pt.Shape | None:
    """[batch * rows, features] of a shape [batch, rows, features] with any number of 1s in front; None for other ranks."""
    if len(shape) < 3 or any(size != 1 for size in shape[:-3]):
        return None
    return shape[-3] * shape[-2], shape[-1]


class _Flattener:
    """Collects the ops that bring the operands of an op with a result [batch, rows, features] to rank 2 or less."""

    def __init__(self, shape: pt.Shape) -> None:
        self.shape = shape[-3:]
        self.ops: list[pt.TensorOp] = []

    def _emit(self, op: pt.TensorOp) -> SSAValue:
        self.ops.append(op)
        return op.result

    def activation(self, value: SSAValue) -> SSAValue:
        """[batch, rows, F] as [batch * rows, F]."""
        shape = _rows_and_features(pt.shape_of(value))
        if shape is None:
            raise LoweringError(f"an operand of shape {pt.shape_of(value)} is not [batch, rows, features]")
        return self._emit(pt.ReshapeOp(value, shape))

    def ids(self, value: SSAValue) -> SSAValue:
        return self._emit(pt.ReshapeOp(value, (prod(pt.shape_of(value)),)))

    def __call__(self, value: SSAValue) -> SSAValue:
        """An operand that broadcasts to the result: one row for all positions, or one row per position."""
        shape = pt.shape_of(value)
        if len(shape) < 2 or (len(shape) == 2 and self.shape[0] == 1):
            return value
        batch, rows = self.shape[:2]
        if not pt.is_weight(value):
            if shape[-3:-1] != (batch, rows):
                raise LoweringError(f"an activation of shape {shape} broadcasts to {self.shape}")
            return self.activation(value)
        if all(size == 1 for size in shape[:-1]):
            return self._emit(pt.ReshapeOp(value, (1, shape[-1])))
        if batch == 1 and all(size == 1 for size in shape[:-2]):
            return self._emit(pt.ReshapeOp(value, shape[-2:]))
        aligned = self._emit(pt.ReshapeOp(value, shape[-3:])) if len(shape) > 3 else value
        whole = self._emit(pt.ExpandOp(aligned, (batch, rows, shape[-1])))
        return self._emit(pt.ReshapeOp(whole, (batch * rows, shape[-1])))


class FlattenRowwise(RewritePattern):
    """op on [batch, rows, features]  ->  op on [batch * rows, features] between reshapes, for ops that treat rows alike"""

    @op_type_rewrite_pattern
    def match_and_rewrite(
        self,
        op: pt.BinaryOp | pt.UnaryOp | pt.LinearOp | pt.RmsNormOp | pt.LayerNormOp | pt.EmbeddingOp,
        rewriter: PatternRewriter,
    ) -> None:
        shape = pt.shape_of(op.result)
        rows = _rows_and_features(shape)
        if pt.is_weight(op.result) or pt.is_input(op.result) or rows is None:
            return
        flat = _Flattener(shape)
        match op:
            case pt.EmbeddingOp():
                new: pt.TensorOp = pt.EmbeddingOp(op.table, flat.ids(op.ids))
            case pt.LinearOp() | pt.RmsNormOp() | pt.LayerNormOp():
                new = op.on(flat.activation(op.x))
            case _:
                operands = [flat(operand) for operand in op.operands]
                types = [pt.tensor_type(rows, pt.element_of(op.result))]
                new = type(op).create(operands=operands, result_types=types, properties=dict(op.properties))
        replace(rewriter, op, [*flat.ops, new, pt.ReshapeOp(new, shape)])


class FunctionBeforePermute(RewritePattern):
    """f(permute(x)), f(reshape(permute(x)))  ->  permute(f(x)), reshape(permute(f(x))): images lie as rows of channels"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.UnaryOp, rewriter: PatternRewriter) -> None:
        reshaped = pt.defined_by(op.x, pt.ReshapeOp)
        permuted = pt.defined_by(op.x if reshaped is None else reshaped.x, pt.PermuteOp)
        if permuted is None or pt.is_weight(permuted.x) or pt.is_input(permuted.x):
            return
        new = type(op).create(operands=[permuted.x], result_types=[permuted.x.type], properties=dict(op.properties))
        moved = pt.PermuteOp(new, permuted.order)
        shaped = [] if reshaped is None else [pt.ReshapeOp(moved, pt.shape_of(op.result))]
        replace(rewriter, op, [new, moved, *shaped])


class FlattenSlice(RewritePattern):
    """slice of the rows of [batch, rows, features]  ->  slice of [batch * rows, features]: of whole sequences, or a row of each"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SliceOp, rewriter: PatternRewriter) -> None:
        shape = pt.shape_of(op.x)
        if len(shape) != 3 or pt.is_weight(op.x):
            return
        batch, rows, features = shape
        start, end, step = (bound.value.data for bound in (op.start, op.end, op.step))
        flat = pt.ReshapeOp(op.x, (batch * rows, features))
        dim = op.dim.value.data % 3
        if dim == 0 and step == 1:
            taken = pt.SliceOp(flat, 0, start * rows, end * rows)
        elif dim == 1 and batch == 1:
            taken = pt.SliceOp(flat, 0, start, end, step)
        elif dim == 1 and end == start + 1:
            taken = pt.SliceOp(flat, 0, start, (batch - 1) * rows + end, rows)
        else:
            return
        replace(rewriter, op, [flat, taken, pt.ReshapeOp(taken, pt.shape_of(op.result))])


class FlattenConcat(RewritePattern):
    """concat of [batch, rows, features]  ->  concat of [batch * rows, features]: of features, or of the rows of each sequence"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ConcatOp, rewriter: PatternRewriter) -> None:
        shape = pt.shape_of(op.result)
        if len(shape) != 3 or pt.is_weight(op.result) or pt.is_input(op.result):
            return
        dim = op.dim.value.data % 3
        flat = [pt.ReshapeOp(part, _all_rows(pt.shape_of(part))) for part in op.inputs]
        if dim == 1 and shape[0] > 1:
            counts = [pt.shape_of(part)[1] for part in op.inputs]
            parts: list[pt.TensorOp] = [
                pt.SliceOp(part, 0, sequence * count, (sequence + 1) * count)
                for sequence in range(shape[0])
                for part, count in zip(flat, counts, strict=True)
            ]
        else:
            parts = []
        joined = pt.ConcatOp(parts or flat, 1 if dim == 2 else 0)
        replace(rewriter, op, [*flat, *parts, joined, pt.ReshapeOp(joined, shape)])


def _all_rows(shape: pt.Shape) -> pt.Shape:
    return prod(shape[:-1]), shape[-1]


def check_rank_2(module: ModuleOp) -> None:
    """Raise `LoweringError` for the first activation that is not [rows, features], naming its op and module."""
    for op in module.walk():
        if not isinstance(op, pt.TensorOp) or pt.is_weight(op.result) or pt.is_input(op.result):
            continue
        if len(pt.shape_of(op.result)) == 2:
            continue
        raise LoweringError(
            f"{op.name} computes an activation of shape {pt.shape_of(op.result)}, not [rows, features]",
            where=module_path(op) or None,
            hint="a transformer whose norms, rotary embedding and attention were recognised is supported",
        )


@dataclass(frozen=True)
class FlattenBatchPass(ModulePass):
    """Bring all activations to rank 2. What cannot be flattened was not raised, and is an error."""

    name = "flatten-batch"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, FunctionBeforePermute())
        SimplifyShapesPass().apply(ctx, op)
        rewrite(op, FlattenRowwise(), FlattenSlice(), FlattenConcat())
        SimplifyShapesPass().apply(ctx, op)
        check_rank_2(op)
