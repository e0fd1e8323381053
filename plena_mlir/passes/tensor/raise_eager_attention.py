"""raise-eager-attention: softmax(q k^T * scale + mask) v, written out in products, becomes one sdpa.

Models whose scores pass a soft cap, or whose softmax has one score more than there are keys (a sink), are exported like this, since
PyTorch's attention function has neither; older ones write it out by habit, with the mask before or after the scale, as a choice
between scores and a low number, or heads and batch in one dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.hidden_scores import HIDDEN, HIDDEN_BELOW
from plena_mlir.passes.rewriting import replace, rewrite


@dataclass(frozen=True)
class Addend:
    """What a mask adds to the scores: weights times a factor, or a low number where `kept` is false."""

    weights: SSAValue
    factor: float
    kept: bool = False


@dataclass
class Scores:
    """What a softmax is taken of: soft_cap(q k^T * scale) + masks."""

    product: pt.MatmulOp
    scale: float = 1.0
    soft_cap: float | None = None
    masks: list[Addend] = field(default_factory=list[Addend])


def _same_rows(a: SSAValue, b: SSAValue) -> bool:
    """Whether two shapes differ in dimensions of 1 in front of the last two only."""
    (*a_front, a_rows, a_lanes), (*b_front, b_rows, b_lanes) = pt.shape_of(a), pt.shape_of(b)
    same_front = [size for size in a_front if size != 1] == [size for size in b_front if size != 1]
    return (a_rows, a_lanes) == (b_rows, b_lanes) and same_front


def _through_reshapes(value: SSAValue) -> SSAValue:
    """The value before reshapes that add or drop dimensions of 1 in front."""
    while (op := pt.defined_by(value, pt.ReshapeOp)) is not None and len(pt.shape_of(op.x)) >= 3 and _same_rows(op.x, value):
        value = op.x
    return value


def _number(value: SSAValue, x: SSAValue) -> tuple[SSAValue, float] | None:
    """(y, b) if `value` is y * b or y / (1 / b), b a number, and y has the shape of `x`."""
    op = value.owner
    if isinstance(op, pt.DivOp) and (divisor := pt.scalar_value(op.rhs)):
        return op.lhs, 1.0 / divisor
    if isinstance(op, pt.MulOp):
        for y, other in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
            factor = pt.scalar_value(other)
            if factor is not None and pt.shape_of(y) == pt.shape_of(x):
                return y, factor
    return None


def _match_scores(value: SSAValue) -> Scores | None:
    """Peel a softmax's operand from the outside; what was added inside a factor is multiplied by it."""
    factor, soft_cap = 1.0, None
    masks: list[Addend] = []
    while True:
        value = _through_reshapes(value)
        op = value.owner
        if isinstance(op, pt.MatmulOp):
            return Scores(op, factor, soft_cap, masks)
        if (scaled := _number(value, value)) is not None:
            value, factor = scaled[0], factor * scaled[1]
        elif isinstance(op, pt.SoftCapOp) and soft_cap is None and factor == 1.0:
            value, soft_cap = op.x, op.cap.value.data
        elif soft_cap is not None:
            return None
        elif isinstance(op, pt.AddOp) and (found := _with_weight(op)) is not None:
            value = found[0]
            masks.append(Addend(found[1], factor))
        elif isinstance(op, pt.WhereOp) and _hides(op.on_false) and pt.is_weight(op.condition):
            value = op.on_true
            masks.append(Addend(op.condition, factor, kept=True))
        elif isinstance(op, pt.MaximumOp) and _hides(op.rhs):  # a lower bound that hidden scores alone reach
            value = op.lhs
        else:
            return None


def _hides(value: SSAValue) -> bool:
    number = pt.scalar_value(value)
    return number is not None and number < HIDDEN_BELOW


def _with_weight(op: pt.AddOp) -> tuple[SSAValue, SSAValue] | None:
    """The scores and the weight of a sum of both."""
    for scores, weight in ((op.lhs, op.rhs), (op.rhs, op.lhs)):
        if pt.is_weight(weight) and pt.shape_of(scores) == pt.shape_of(op.result):
            return scores, weight
    return None


def _as_heads(value: SSAValue, ops: list[pt.TensorOp]) -> SSAValue:
    """The value with a batch of one in front, if it has none."""
    shape = pt.shape_of(value)
    if len(shape) != 3:
        return value
    ops.append(pt.ReshapeOp(value, (1, *shape)))
    return ops[-1].result


def _combined(masks: list[Addend], ops: list[pt.TensorOp]) -> SSAValue | None:
    """The sum of what the masks add, one alone as it is."""
    values: list[SSAValue] = []
    for mask in masks:
        value = _as_heads(mask.weights, ops)
        if mask.kept and len(masks) > 1:
            zero, lowest = pt.splat(0.0), pt.splat(HIDDEN)
            ops += [zero, lowest, pt.WhereOp(value, zero, lowest)]
            value = ops[-1].result
        elif not mask.kept and mask.factor != 1.0:
            factor = pt.splat(mask.factor)
            ops += [factor, pt.MulOp(value, factor)]
            value = ops[-1].result
        values.append(value)
    for value in values[1:]:
        ops.append(pt.AddOp(values[0], value))
        values[0] = ops[-1].result
    return values[0] if values else None


def _without_shift(value: SSAValue) -> SSAValue:
    """x if the value is x - max(x) along the last dimension, which a softmax does not see."""
    shifted = pt.defined_by(value, pt.SubOp)
    largest = None if shifted is None else pt.defined_by(shifted.rhs, pt.AmaxOp)
    if shifted is None or largest is None or largest.x is not shifted.lhs or largest.axes != (len(pt.shape_of(value)) - 1,):
        return value
    return shifted.lhs


def _sinks(value: SSAValue, heads: int) -> pt.ReshapeOp | None:
    """The op for the sinks [heads] that a column of scores [1, heads, R, 1] repeats for every query."""
    spread = pt.defined_by(value, pt.ExpandOp)
    source = value if spread is None else spread.x
    if pt.shape_of(source) != (1, heads, 1, 1) or not pt.is_weight(source):
        return None
    return pt.ReshapeOp(source, (heads,))


def _match_softmax(value: SSAValue) -> tuple[SSAValue, pt.ReshapeOp | None] | None:
    """(x, sinks) if the value is the softmax of x along the last dimension, or of x and a column of sinks that is then dropped."""
    kept = pt.defined_by(value, pt.SliceOp)
    softmax = pt.defined_by(value if kept is None else kept.x, pt.SoftmaxOp)
    last = len(pt.shape_of(value)) - 1
    if softmax is None or softmax.dim.value.data not in (-1, last):
        return None
    x = _without_shift(softmax.x)
    if kept is None:
        return x, None
    joined = pt.defined_by(x, pt.ConcatOp)
    if joined is None or len(joined.inputs) != 2 or joined.dim.value.data not in (-1, last) or last != 3:
        return None
    scores, column = joined.inputs
    taken = (kept.dim.value.data % (last + 1), kept.start.value.data, kept.step.value.data)
    if taken != (last, 0, 1) or pt.shape_of(value) != pt.shape_of(scores):
        return None
    sinks = _sinks(column, pt.shape_of(scores)[1])
    return None if sinks is None else (scores, sinks)


class RaiseEagerAttention(RewritePattern):
    """matmul(softmax(matmul(q, k^T) * scale + mask), v)  ->  sdpa(q, k, v, mask)"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.MatmulOp, rewriter: PatternRewriter) -> None:
        found = _match_softmax(_through_reshapes(op.lhs)) if len(pt.shape_of(op.result)) >= 3 else None
        scores = None if found is None else _match_scores(found[0])
        if found is None or scores is None:
            return
        sinks = found[1]
        rank = len(pt.shape_of(scores.product.rhs))
        untransposed = pt.PermuteOp(scores.product.rhs, (*range(rank - 2), rank - 1, rank - 2))
        ops: list[pt.TensorOp] = [untransposed, *([] if sinks is None else [sinks])]
        q, k, v = (_as_heads(value, ops) for value in (scores.product.lhs, untransposed.result, op.rhs))
        mask = _combined(scores.masks, ops)
        sdpa = pt.SdpaOp(q, k, v, mask, scale=scores.scale, soft_cap=scores.soft_cap, sinks=sinks)
        ops.append(sdpa)
        if pt.shape_of(sdpa.result) != pt.shape_of(op.result):
            ops.append(pt.ReshapeOp(sdpa, pt.shape_of(op.result)))
        replace(rewriter, op, ops)


@dataclass(frozen=True)
class RaiseEagerAttentionPass(ModulePass):
    """Recover attention from its products; raise-activations, which finds the soft cap, comes before."""

    name = "raise-eager-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseEagerAttention())
