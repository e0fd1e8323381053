"""raise-attention: scaled dot product attention on [batch, heads, rows, d] becomes one attention on [batch * rows, heads * d]."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp, i1
from xdsl.ir import SSAValue
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import BIDIRECTIONAL_ATTRIBUTE, module_path, sequences_of
from plena_mlir.errors import LoweringError
from plena_mlir.passes.hidden_scores import LOWEST
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.heads import to_heads, to_rows
from plena_mlir.passes.tensor.masks import ConstantsPass, ConstantStore, Mask, constant_values, recognise
from plena_mlir.passes.tensor.sequence_masks import Sequences, explicit_mask, mask_of_sequences


def repeated_heads(value: SSAValue) -> tuple[SSAValue, int] | None:
    """(x, n) if the value [1, G * n, T, d] is x [1, G, 1, T, d] with every head n times in a row, as reshape(expand(x))."""
    merged = pt.defined_by(value, pt.ReshapeOp)
    repeated = pt.defined_by(merged.x, pt.ExpandOp) if merged is not None else None
    if repeated is None or len(pt.shape_of(repeated.x)) != 5:
        return None
    batch, groups, one, keys, d = pt.shape_of(repeated.x)
    count = pt.shape_of(repeated.result)[2]
    whole, split = (batch, groups * count, keys, d), (batch, groups, count, keys, d)
    if one != 1 or pt.shape_of(repeated.result) != split or pt.shape_of(value) != whole:
        return None
    return repeated.x, count


def _without_repetition(k: SSAValue, v: SSAValue) -> list[pt.ReshapeOp]:
    """Ops for k and v [1, G, T, d] before their heads were repeated, if both were by the same number."""
    k_found, v_found = repeated_heads(k), repeated_heads(v)
    if k_found is None or v_found is None or k_found[1] != v_found[1]:
        return []
    ops: list[pt.ReshapeOp] = []
    for x, _ in (k_found, v_found):
        batch, groups, _, keys, d = pt.shape_of(x)
        ops.append(pt.ReshapeOp(x, (batch, groups, keys, d)))
    return ops


def _mask_of(op: pt.SdpaOp, store: ConstantStore | None) -> Mask:
    """The kind of mask that an sdpa applies."""
    if op.mask is None:
        queries, keys = pt.shape_of(op.q)[-2], pt.shape_of(op.k)[-2]
        if op.is_causal is None or queries == keys == 1:
            return Mask(pt.MaskKind.NONE)
        # PyTorch aligns `is_causal` at the first key, the attention op at the last: they agree on square scores only.
        return Mask(pt.MaskKind.CAUSAL if queries == keys else pt.MaskKind.EXPLICIT)
    values = constant_values(op.mask, store)
    if values is None:
        hint = "masks are recognised by value: give the pass the parameter store"
        raise LoweringError("the values of the attention mask are not known", where=module_path(op) or op.name, hint=hint)
    scores = np.broadcast_shapes(values.shape, (pt.shape_of(op.q)[-2], pt.shape_of(op.k)[-2]))
    return recognise(np.broadcast_to(values, scores), boolean=pt.element_of(op.mask) == i1)


def _explicit_mask(mask: SSAValue, scores: tuple[int, int, int]) -> list[pt.TensorOp]:
    """Ops that bring a mask to f32 [R, T], or [heads, R, T] if it differs between heads; the last one holds it."""
    whole = np.broadcast_shapes(pt.shape_of(mask), scores[1:])
    per_head = any(size != 1 for size in whole[:-2])
    expanded = pt.ExpandOp(mask, whole)
    shaped = pt.ReshapeOp(expanded, scores if per_head else scores[1:])
    lowest = pt.splat(LOWEST)
    if pt.element_of(mask) == i1:
        zero = pt.splat(0.0)
        return [expanded, shaped, lowest, zero, pt.WhereOp(shaped, zero, lowest)]
    return [expanded, shaped, lowest, pt.MaximumOp(shaped, lowest)]


@dataclass(frozen=True)
class RaiseAttention(RewritePattern):
    """sdpa(q, k, v, mask)  ->  attention on rank 2 operands, repeated key heads taken before their repetition"""

    store: ConstantStore | None
    parts: tuple[tuple[int, int], ...] = ()
    bidirectional: bool = False

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.SdpaOp, rewriter: PatternRewriter) -> None:
        if len(pt.shape_of(op.q)) != 4:
            return
        single = _without_repetition(op.k, op.v)
        k, v = (part.result for part in single) if single else (op.k, op.v)
        batch, heads, queries, d = pt.shape_of(op.q)
        kv_heads, keys = pt.shape_of(k)[1:3]
        sequences = self._sequences(batch, queries) if queries == keys else None
        mask = _mask_of(op, self.store) if sequences is None else mask_of_sequences(op, sequences, self.store)
        if (mask.kind is pt.MaskKind.EXPLICIT and op.mask is None) or (sequences is None and batch != 1):
            return
        if self.bidirectional and mask.kind in (pt.MaskKind.CAUSAL, pt.MaskKind.SLIDING):
            raise LoweringError(
                "this attention hides later tokens although it is to be bidirectional",
                where=module_path(op) or op.name,
                hint="its mask does not follow the configuration; change the model itself",
            )
        explicit: list[pt.TensorOp] = []
        if mask.kind is pt.MaskKind.EXPLICIT and op.mask is not None:
            scores = (heads, queries, keys)
            explicit = _explicit_mask(op.mask, scores) if sequences is None else explicit_mask(op, sequences)
        q_rows, k_rows, v_rows = (to_rows(x) for x in (op.q, k, v))
        attention = pt.AttentionOp(
            q_rows[-1],
            k_rows[-1],
            v_rows[-1],
            explicit[-1] if explicit else None,
            heads=heads,
            kv_heads=kv_heads,
            scale=1.0 / sqrt(d) if op.scale is None else op.scale.value.data,
            mask_kind=mask.kind,
            window=mask.window,
            soft_cap=None if op.soft_cap is None else op.soft_cap.value.data,
            sinks=op.sinks,
            sequences=() if sequences is None else sequences.parts,
        )
        replace(rewriter, op, [*single, *explicit, *q_rows, *k_rows, *v_rows, attention, *to_heads(attention, heads, batch)])

    def _sequences(self, batch: int, rows: int) -> Sequences | None:
        """The sequences of an attention of so many rows each; None if it is one, without padding."""
        parts = self.parts or tuple((number * rows, rows) for number in range(batch))
        fits = len(parts) == batch and all(
            number * rows <= first <= (number + 1) * rows - count for number, (first, count) in enumerate(parts)
        )
        return Sequences(rows, parts) if fits and parts != ((0, rows),) else None


@dataclass(frozen=True)
class RaiseAttentionPass(ConstantsPass):
    """Recover attention with its mask kind and its number of key heads. Without the store, a mask above 4 KB is an error."""

    name = "raise-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseAttention(self.store, sequences_of(op), BIDIRECTIONAL_ATTRIBUTE in op.attributes))
