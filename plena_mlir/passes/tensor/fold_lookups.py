"""fold-lookups: embedding rows that are known at compile time become weights: learned positions, token types."""

from __future__ import annotations

from dataclasses import dataclass, field
from dataclasses import replace as replace_field

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.utils.arg_spec import ArgSpec

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.masks import ConstantStore, constant_values


def _runs(ids: list[int]) -> list[tuple[int, int, int]]:
    """The ids as runs (first id, step 0 or 1, length), each as long as it can be."""
    runs: list[tuple[int, int, int]] = []
    for number in ids:
        if runs:
            first, step, length = runs[-1]
            if length == 1 and number - first in (0, 1):
                runs[-1] = (first, number - first, 2)
                continue
            if length > 1 and number == first + step * length:
                runs[-1] = (first, step, length + 1)
                continue
        runs.append((number, 1, 1))
    return runs


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
        for first, step, length in _runs([int(value) for value in values.reshape(-1)]):
            part: pt.TensorOp = pt.SliceOp(op.table, 0, first, first + (length if step else 1))
            ops.append(part)
            if step == 0:
                part = pt.ExpandOp(part, (length, features))
                ops.append(part)
            parts.append(part)
        joined = [] if len(parts) == 1 else [pt.ConcatOp(parts, 0)]
        replace(rewriter, op, [*ops, *joined, pt.ReshapeOp([*parts, *joined][-1], pt.shape_of(op.result))])


@dataclass(frozen=True)
class FoldLookupsPass(ModulePass):
    """Read embedding tables at compile time where the ids are constants.

    Attributes:
        store: where constants above 4 KB are read; without it such ids stay.
    """

    name = "fold-lookups"

    store: ConstantStore | None = field(default=None, compare=False)

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, FoldLookup(self.store))

    def spec(self, *, include_default: bool = False) -> ArgSpec:
        """The pass as text; the store has no textual form."""
        if self.store is None:
            return ArgSpec(self.name, {})
        return replace_field(self, store=None).spec()
