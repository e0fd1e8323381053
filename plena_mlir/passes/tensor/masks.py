"""What an attention mask means, read from its values rather than from the graph that made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import OpResult, SSAValue
from xdsl.passes import ModulePass
from xdsl.utils.arg_spec import ArgSpec

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.hidden_scores import HIDDEN_BELOW


class ConstantStore(Protocol):
    """Where constants too large for the IR are read."""

    def get(self, name: str) -> NDArray[np.float32]:
        """The values of a constant, booleans as 0 and 1."""
        ...


@dataclass(frozen=True)
class ConstantsPass(ModulePass):
    """A pass that needs the values of constants.

    Attributes:
        store: where constants above 4 KB are read; without it they are not known.
    """

    store: ConstantStore | None = field(default=None, compare=False)

    def spec(self, *, include_default: bool = False) -> ArgSpec:
        """The pass as text; the store has no textual form."""
        return ArgSpec(self.name, {})


@dataclass(frozen=True)
class Mask:
    """A recognised mask.

    Attributes:
        kind: the rule it follows.
        window: keys a query sees, itself included, for the sliding kind.
    """

    kind: pt.MaskKind
    window: int | None = None


def constant_values(value: SSAValue, store: ConstantStore | None) -> NDArray[np.float32] | None:
    """The values of a constant, seen through rearrangements and arithmetic; None when it is none or the store is missing."""
    op = value.op if isinstance(value, OpResult) else None
    match op:
        case pt.ConstantOp():
            data = np.array(list(op.value.get_values()), dtype=np.float32)
            return np.broadcast_to(data.reshape(() if data.size == 1 else pt.shape_of(value)), pt.shape_of(value))
        case pt.ParameterOp():
            return store.get(op.parameter_name.data) if store is not None and op.layer is None else None
        case pt.ReshapeOp() | pt.ExpandOp() | pt.SliceOp() | pt.CastOp():
            source = constant_values(op.x, store)
            return None if source is None else _rearrange(op, source)
        case pt.AddOp() | pt.MulOp() | pt.MaximumOp() | pt.WhereOp():
            sources = [constant_values(operand, store) for operand in op.operands]
            known = [source for source in sources if source is not None]
            return _combine(op, known) if len(known) == len(sources) else None
        case _:
            return None


def _rearrange(op: pt.ReshapeOp | pt.ExpandOp | pt.SliceOp | pt.CastOp, source: NDArray[np.float32]) -> NDArray[np.float32]:
    match op:
        case pt.ReshapeOp():
            return source.reshape(pt.shape_of(op.result))
        case pt.ExpandOp():
            return np.broadcast_to(source, pt.shape_of(op.result))
        case pt.SliceOp():
            axis = op.dim.value.data % source.ndim
            window = slice(op.start.value.data, op.end.value.data, op.step.value.data)
            return source[(*[slice(None)] * axis, window)]
        case pt.CastOp():
            return source


def _combine(op: pt.AddOp | pt.MulOp | pt.MaximumOp | pt.WhereOp, sources: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # two numbers that hide a key may add up to -inf, which hides it too
        match op:
            case pt.AddOp():
                return sources[0] + sources[1]
            case pt.MulOp():
                return sources[0] * sources[1]
            case pt.MaximumOp():
                return np.maximum(*sources)
            case pt.WhereOp():
                return np.where(sources[0] != 0, sources[1], sources[2])


def keeps(values: NDArray[np.float32], *, boolean: bool) -> NDArray[np.bool_] | None:
    """Which scores a mask keeps; None if it changes some that it keeps."""
    if boolean:
        return values != 0
    kept = values == 0
    return kept if np.all(kept | (values < HIDDEN_BELOW)) else None


def follows(mask: Mask, kept: NDArray[np.bool_]) -> bool:
    """Whether a boolean mask [R, T] is what a rule makes of so many queries and keys."""
    queries, keys = kept.shape
    distance = np.arange(queries)[:, None] + (keys - queries) - np.arange(keys)[None, :]
    match mask.kind:
        case pt.MaskKind.NONE:
            return bool(kept.all())
        case pt.MaskKind.CAUSAL:
            return np.array_equal(kept, distance >= 0)
        case pt.MaskKind.SLIDING:
            return np.array_equal(kept, (distance >= 0) & (distance < (mask.window or 0)))
        case _:
            return False


def common_rule(parts: Sequence[NDArray[np.bool_]]) -> Mask:
    """The rule that all boolean masks [R, T] follow, each by itself; explicit if there is none."""
    for candidate in dict.fromkeys(_rule(kept) for kept in sorted(parts, key=len, reverse=True)):
        if all(follows(candidate, kept) for kept in parts):
            return candidate
    return Mask(pt.MaskKind.EXPLICIT)


def recognise(values: NDArray[np.float32], *, boolean: bool) -> Mask:
    """The kind of a mask [.., R, T] with R <= T, whose last query row stands at the last key.

    Boolean masks keep where true; float masks are added to the scores, and count as a rule only if they hold nothing but 0 and
    numbers below `HIDDEN_BELOW`. Whatever follows no rule, or differs between heads, is explicit.
    """
    explicit = Mask(pt.MaskKind.EXPLICIT)
    kept = keeps(values, boolean=boolean)
    if kept is None:
        return explicit
    queries, keys = kept.shape[-2:]
    rows = kept.reshape(-1, queries, keys)
    if np.any(rows != rows[:1]):
        return explicit
    return _rule(rows[0])


def _rule(kept: NDArray[np.bool_]) -> Mask:
    """The rule that a boolean mask [R, T] follows."""
    rules = [Mask(pt.MaskKind.NONE), Mask(pt.MaskKind.CAUSAL)]
    window = int(kept[-1].sum())
    if window >= 1:
        rules.append(Mask(pt.MaskKind.SLIDING, window))
    return next((rule for rule in rules if follows(rule, kept)), Mask(pt.MaskKind.EXPLICIT))
