"""fold-lookups: embedding rows that are known at compile time become weights: learned positions, token types."""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.masks import ConstantsPass, ConstantStore, constant_values
from plena_mlir.passes.tensor.runs import runs


@dataclass(frozen=True)
class FoldLookup(RewritePattern):
    """embedding(table, constant ids)  ->  rows of the table, sliced, repeated and joined as the ids say"""

    store: ConstantStore | None

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.EmbeddingOp, rewriter: PatternRewriter) -> None:
        values = constant_values(op.ids, self.store)
        if values is None or not pt.is_weight(op.table):
            return
        features = pt.shape_of(op.table)[1]
        ops: list[pt.TensorOp] = []
        parts: list[pt.TensorOp] = []
        for first, step, length in runs((int(value) for value in values.reshape(-1)), lambda step: step in (0, 1)):
            part: pt.TensorOp = pt.SliceOp(op.table, 0, first, first + (length if step else 1))
            ops.append(part)
            if step == 0:
                part = pt.ExpandOp(part, (length, features))
                ops.append(part)
            parts.append(part)
        joined = [] if len(parts) == 1 else [pt.ConcatOp(parts, 0)]
        replace(rewriter, op, [*ops, *joined, pt.ReshapeOp([*parts, *joined][-1], pt.shape_of(op.result))])


@dataclass(frozen=True)
class FoldLookupsPass(ConstantsPass):
    """Read embedding tables at compile time where the ids are constants. Without the store, ids above 4 KB stay."""

    name = "fold-lookups"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, FoldLookup(self.store))
