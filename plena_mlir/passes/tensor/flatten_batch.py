"""flatten-batch: the batch of one disappears; every activation becomes rank 2, [rows, features]."""

from __future__ import annotations

from dataclasses import dataclass

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


def _last_two(shape: pt.Shape) -> pt.Shape | None:
    """The last two sizes if all before them are 1 and there are some."""
    return shape[-2:] if len(shape) > 2 and all(size == 1 for size in shape[:-2]) else None


class _Flattener:
    """Collects the reshapes that bring operands to rank 2 or less."""

    def __init__(self) -> None:
        self.ops: list[pt.TensorOp] = []

    def __call__(self, value: SSAValue, keep: int = 2) -> SSAValue:
        """The value with its leading sizes of 1 removed down to rank `keep`."""
        shape = pt.shape_of(value)
        if len(shape) <= keep:
            return value
        if any(size != 1 for size in shape[:-keep]):
            raise LoweringError(f"an operand of shape {shape} has a batch")
        self.ops.append(pt.ReshapeOp(value, shape[-keep:]))
        return self.ops[-1].result


class FlattenRowwise(RewritePattern):
    """op on [1, rows, features]  ->  op on [rows, features] between reshapes, for ops that treat rows alike"""

    @op_type_rewrite_pattern
    def match_and_rewrite(
        self,
        op: pt.BinaryOp | pt.UnaryOp | pt.LinearOp | pt.RmsNormOp | pt.LayerNormOp | pt.EmbeddingOp,
        rewriter: PatternRewriter,
    ) -> None:
        shape = pt.shape_of(op.result)
        if pt.is_weight(op.result) or _last_two(shape) is None:
            return
        flat = _Flattener()
        match op:
            case pt.EmbeddingOp():
                new: pt.TensorOp = pt.EmbeddingOp(op.table, flat(op.ids, keep=1))
            case pt.LinearOp():
                new = pt.LinearOp(flat(op.x), op.weight, op.bias)
            case pt.RmsNormOp():
                new = pt.RmsNormOp(flat(op.x), op.gain, op.eps.value.data)
            case pt.LayerNormOp():
                new = pt.LayerNormOp(flat(op.x), op.gain, op.bias, op.eps.value.data)
            case _:
                operands = [flat(operand) for operand in op.operands]
                types = [pt.tensor_type(shape[-2:], pt.element_of(op.result))]
                new = type(op).create(operands=operands, result_types=types, properties=dict(op.properties))
        replace(rewriter, op, [*flat.ops, new, pt.ReshapeOp(new, shape)])


def check_rank_2(module: ModuleOp) -> None:
    """Raise `LoweringError` for the first activation that is not [rows, features], naming its op and module."""
    for op in module.walk():
        if not isinstance(op, pt.TensorOp) or pt.is_weight(op.result) or len(pt.shape_of(op.result)) == 2:
            continue
        raise LoweringError(
            f"{op.name} computes an activation of shape {pt.shape_of(op.result)}, not [rows, features]",
            where=module_path(op) or None,
            hint="one sequence (batch 1) of a decoder whose norms, rotary embedding and attention were recognised is supported",
        )


@dataclass(frozen=True)
class FlattenBatchPass(ModulePass):
    """Bring all activations to rank 2. What cannot be flattened was not raised, or has a batch, and is an error."""

    name = "flatten-batch"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, FlattenRowwise())
        SimplifyShapesPass().apply(ctx, op)
        check_rank_2(op)
