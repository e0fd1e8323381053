"""The masks of several sequences in one attention: what rule they follow, each on its own rows and keys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import i1

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError
from plena_mlir.passes.hidden_scores import HIDDEN_BELOW, LOWEST
from plena_mlir.passes.tensor.masks import ConstantStore, Mask, common_rule, constant_values, keeps


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a batch lie: each has `rows` rows, of which some are no padding.

    Attributes:
        parts: (first row, rows) of what is no padding, counted in the rows of the whole batch; one for each sequence.
    """

    rows: int
    parts: tuple[tuple[int, int], ...]

    @property
    def longest(self) -> int:
        return max(count for _, count in self.parts)

    def own(self, number: int) -> slice:
        """The rows of a sequence that are no padding, counted from its first."""
        first, count = self.parts[number]
        return slice(first - number * self.rows, first - number * self.rows + count)


def mask_of_sequences(op: pt.SdpaOp, sequences: Sequences, store: ConstantStore | None) -> Mask:
    """The rule that an sdpa of square scores applies to every sequence by itself.

    Raises:
        LoweringError: the mask is not known, lets a sequence see padding, or differs between heads.
    """
    where = module_path(op) or op.name
    square = (sequences.rows, sequences.rows)
    boolean = op.mask is None or pt.element_of(op.mask) == i1
    if op.mask is None:
        values: NDArray[np.float32] | None = np.ones(square, np.float32)
        values = np.tril(values) if op.is_causal is not None else values
    else:
        values = constant_values(op.mask, store)
    if values is None:
        hint = "masks are recognised by value: give the pass the parameter store"
        raise LoweringError("the values of the attention mask are not known", where=where, hint=hint)
    batched = np.broadcast_to(values, np.broadcast_shapes(values.shape, (len(sequences.parts), 1, *square)))
    if batched.shape[1] != 1:
        raise LoweringError("a mask that differs between heads is not lowered for several sequences", where=where)
    seen = batched != 0 if boolean else batched >= HIDDEN_BELOW
    kept = keeps(batched, boolean=boolean)
    parts: list[NDArray[np.bool_]] = []
    for number in range(len(sequences.parts)):
        own = sequences.own(number)
        rows = seen[number, 0, own]
        if rows[:, : own.start].any() or rows[:, own.stop :].any():
            raise LoweringError(
                f"the attention mask lets sequence {number} see its padding",
                where=where,
                hint="the model does not use its attention mask: give all sequences one length",
            )
        parts.append(rows[:, own])
    return common_rule(parts) if kept is not None else Mask(pt.MaskKind.EXPLICIT)


def explicit_mask(op: pt.SdpaOp, sequences: Sequences) -> list[pt.TensorOp]:
    """Ops for the mask [batch * rows, longest] in f32: in each row the keys of its own sequence; the last one holds it."""
    assert op.mask is not None
    whole = pt.ExpandOp(op.mask, (len(sequences.parts), 1, sequences.rows, sequences.rows))
    ops: list[pt.TensorOp] = [whole]
    joined: list[pt.TensorOp] = []
    boolean = pt.element_of(op.mask) == i1
    least = pt.splat(LOWEST)
    ops.append(least)
    for number, (_, count) in enumerate(sequences.parts):
        own = sequences.own(number)
        one = pt.SliceOp(whole, 0, number, number + 1)
        keys = pt.SliceOp(one, 3, own.start, own.stop)
        flat = pt.ReshapeOp(keys, (sequences.rows, count))
        zero = pt.splat(0.0)
        added: pt.TensorOp = pt.WhereOp(flat, zero, least) if boolean else pt.MaximumOp(flat, least)
        beyond = pt.ExpandOp(zero, (sequences.rows, sequences.longest - count))
        padded = pt.ConcatOp([added, beyond], 1) if count < sequences.longest else added
        ops += [one, keys, flat, zero, added, *([beyond, padded] if padded is not added else [])]
        joined.append(padded)
    return [*ops, pt.ConcatOp(joined, 0)] if len(joined) > 1 else ops
