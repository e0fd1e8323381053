"""raise-row-moves: rearrangements that keep rows of features whole become slices and joins of rows.

A chain of reshapes, permutations and slices of an activation [.., F] is followed with the numbers of its elements. Where every row
of the result turns out to be some whole rows of the activation, one after the other, that is what is written in its place:

    reshape(permute(reshape(x)))   ->   concat(concat(rows of x, ...), ...) of features

So the pixel shuffle of vision-language models, which joins the features of neighbouring patches, moves rows only.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.runs import runs

_MOVES = (pt.ReshapeOp, pt.PermuteOp, pt.SliceOp)


def _chain(value: SSAValue) -> tuple[SSAValue, list[pt.TensorOp]]:
    """What a chain of moves starts from, and the moves in order."""
    ops: list[pt.TensorOp] = []
    while isinstance(op := value.owner, _MOVES):
        ops.insert(0, op)
        value = op.x
    return value, ops


def _moved(numbers: NDArray[np.int64], ops: list[pt.TensorOp]) -> NDArray[np.int64]:
    for op in ops:
        match op:
            case pt.PermuteOp():
                numbers = numbers.transpose(op.order)
            case pt.SliceOp():
                part = slice(op.start.value.data, op.end.value.data, op.step.value.data)
                numbers = numbers[(slice(None),) * (op.dim.value.data % numbers.ndim) + (part,)]
            case _:
                numbers = numbers.reshape(pt.shape_of(op.result))
    return numbers


def moved_rows(value: SSAValue, ops: list[pt.TensorOp], width: int) -> NDArray[np.int64] | None:
    """The rows of `value` that each row of `width` features of a chain's result consists of, [rows, parts].

    None if the chain does not keep rows whole.
    """
    shape = pt.shape_of(value)
    features = shape[-1]
    if width % features:
        return None
    numbers = _moved(np.arange(prod(shape)).reshape(shape), ops).reshape(-1, width // features, features)
    whole = np.array_equal(numbers, numbers[..., :1] + np.arange(features)) and not (numbers[..., 0] % features).any()
    return numbers[..., 0] // features if whole else None


class RaiseRowMoves(RewritePattern):
    """The end of a chain with a permutation in it, if whole rows move"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ReshapeOp | pt.PermuteOp | pt.SliceOp, rewriter: PatternRewriter) -> None:
        source, ops = _chain(op.result)
        if pt.is_weight(source) or pt.is_input(source) or not any(isinstance(move, pt.PermuteOp) for move in ops):
            return
        if all(isinstance(use.operation, _MOVES) for use in op.result.uses):
            return
        shape, features = pt.shape_of(op.result), pt.shape_of(source)[-1:]
        rows = moved_rows(source, ops, shape[-1]) if shape and features else None
        if rows is None:
            return
        flat = pt.ReshapeOp(source, (prod(pt.shape_of(source)[:-1]), features[0]))
        new: list[pt.TensorOp] = [flat]
        columns: list[SSAValue] = []
        for column in rows.T:
            taken = runs(map(int, column), lambda step: step > 0)
            parts = [pt.SliceOp(flat, 0, first, first + step * (count - 1) + 1, step) for first, step, count in taken]
            new += parts
            if len(parts) > 1:
                new.append(pt.ConcatOp(parts, 0))
            columns.append(new[-1].result)
        if len(columns) > 1:
            new.append(pt.ConcatOp(columns, 1))
        replace(rewriter, op, [*new, pt.ReshapeOp(new[-1], shape)])


@dataclass(frozen=True)
class RaiseRowMovesPass(ModulePass):
    """Find out what rearrangements of activations do by following their elements."""

    name = "raise-row-moves"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseRowMoves())
