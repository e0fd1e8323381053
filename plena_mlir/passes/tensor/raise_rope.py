"""raise-rope: x * cos + rotate_half(x) * sin of heads becomes a rope on [batch * rows, heads * d]."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.passes.rewriting import replace, rewrite
from plena_mlir.passes.tensor.heads import to_heads, to_rows


@dataclass(frozen=True)
class Rotation:
    """x turned by the angles whose cosines and sines are tables; x is [1, heads, rows, r], or [1, rows, heads, r]."""

    x: SSAValue
    cos: SSAValue
    sin: SSAValue
    interleaved: bool
    heads_first: bool


def _slice_bounds(op: pt.SliceOp) -> tuple[int, int] | None:
    """(start, end) of a slice with step 1 on the last dimension."""
    last = len(pt.shape_of(op.x)) - 1
    if op.step.value.data != 1 or op.dim.value.data not in (last, -1):
        return None
    return op.start.value.data, op.end.value.data


def _is_last(dim: int, value: SSAValue) -> bool:
    return dim in (-1, len(pt.shape_of(value)) - 1)


def _is_half(value: SSAValue, x: SSAValue, start: int, end: int) -> bool:
    """Whether `value` is x[..., start:end]; slicing may have been shared or folded away."""
    found = pt.defined_by(value, pt.SliceOp)
    return found is not None and found.x is x and _slice_bounds(found) == (start, end)


def _rotated(value: SSAValue) -> tuple[SSAValue, bool] | None:
    """x if the value is rotate_half of x, and whether its pairs are interleaved lanes."""
    half = _rotated_half(value)
    if half is not None:
        return half, False
    lanes = _rotated_lanes(value)
    return None if lanes is None else (lanes, True)


def _every_other(value: SSAValue, first: int) -> SSAValue | None:
    """x if the value [..., r / 2, 1] holds the lanes first, first + 2, ... of x [..., r]."""
    column = pt.defined_by(value, pt.ReshapeOp)
    found = pt.defined_by(column.x, pt.SliceOp) if column is not None else None
    if column is None or found is None or pt.shape_of(value) != (*pt.shape_of(column.x), 1):
        return None
    bounds = (found.start.value.data, found.step.value.data)
    if not _is_last(found.dim.value.data, found.x) or bounds != (first, 2):
        return None
    return found.x if found.end.value.data >= pt.shape_of(found.x)[-1] - 1 else None


def _negated(value: SSAValue) -> SSAValue | None:
    """x if the value is -x with a dimension of 1 added."""
    column = pt.defined_by(value, pt.ReshapeOp)
    inner = pt.defined_by(column.x, pt.NegOp) if column is not None else None
    return None if inner is None else inner.x


def _rotated_lanes(value: SSAValue) -> SSAValue | None:
    """x if the value is [-x1, x0, -x3, x2, ...] on the last dimension, as flatten(stack([-odd, even]))."""
    flat = pt.defined_by(value, pt.ReshapeOp)
    joined = pt.defined_by(flat.x, pt.ConcatOp) if flat is not None else None
    if joined is None or len(joined.inputs) != 2 or not _is_last(joined.dim.value.data, joined.result):
        return None
    odd, x = _negated(joined.inputs[0]), _every_other(joined.inputs[1], 0)
    found = pt.defined_by(odd, pt.SliceOp)
    if x is None or found is None or found.x is not x or pt.shape_of(value) != pt.shape_of(x):
        return None
    bounds = (found.start.value.data, found.end.value.data, found.step.value.data)
    return x if _is_last(found.dim.value.data, x) and bounds == (1, pt.shape_of(x)[-1], 2) else None


def _rotated_half(value: SSAValue) -> SSAValue | None:
    """x if the value is [-x[..., half:], x[..., :half]] on the last dimension."""
    joined = pt.defined_by(value, pt.ConcatOp)
    if joined is None or len(joined.inputs) != 2 or not _is_last(joined.dim.value.data, value):
        return None
    negated, first = pt.defined_by(joined.inputs[0], pt.NegOp), pt.defined_by(joined.inputs[1], pt.SliceOp)
    if negated is None or first is None:
        return None
    x, size = first.x, pt.shape_of(first.x)[-1]
    if size % 2 == 0 and _is_half(first.result, x, 0, size // 2) and _is_half(negated.x, x, size // 2, size):
        return x
    return None


def _heads_first(table: SSAValue, x: SSAValue) -> bool | None:
    """Whether a table with one row per row of x, the same for every head, says that x is [batch, heads, rows, r];
    False for [batch, rows, heads, r], None if it is no such table. All sequences share a table, or each has its own."""
    shape, (batch, *rest, lanes) = pt.shape_of(table), pt.shape_of(x)
    if not pt.is_weight(table):
        return None
    for heads_first, rows in ((True, (rest[1],)), (False, (rest[0], 1))):
        own = (*rows, lanes)
        leading = shape[: -len(own)]
        by_sequence = (batch, 1) if heads_first else (batch,)
        if shape[-len(own) :] == own and (set(leading) <= {1} or leading == by_sequence):
            return heads_first
    return None


def match_rotation(op: pt.AddOp) -> Rotation | None:
    """The rotation that a sum of two products computes, if it is one."""
    left, right = pt.defined_by(op.lhs, pt.MulOp), pt.defined_by(op.rhs, pt.MulOp)
    if left is None or right is None:
        return None
    for straight, turned in ((left, right), (right, left)):
        for half, sin in ((turned.lhs, turned.rhs), (turned.rhs, turned.lhs)):
            found = _rotated(half)
            if found is None or len(pt.shape_of(found[0])) != 4:
                continue
            x, interleaved = found
            cos = straight.rhs if straight.lhs is x else straight.lhs
            if x not in (straight.lhs, straight.rhs):
                continue
            heads_first = _heads_first(cos, x)
            if heads_first is not None and heads_first == _heads_first(sin, x):
                return Rotation(x, cos, sin, interleaved, heads_first)
    return None


def _table(rewriter: PatternRewriter, value: SSAValue, x: SSAValue, heads_first: bool) -> SSAValue:
    """The table of x as rank 2 [batch * rows, r], brought to that shape once, where it is defined, for all its users."""
    batch, *rest, _ = pt.shape_of(x)
    rows, lanes = rest[1 if heads_first else 0], pt.shape_of(value)[-1]
    if prod(pt.shape_of(value)) != batch * rows * lanes:
        value = _shaped(rewriter, value, pt.ExpandOp, (batch, *((1, rows) if heads_first else (rows, 1)), lanes))
    return _shaped(rewriter, value, pt.ReshapeOp, (batch * rows, lanes))


def _shaped(rewriter: PatternRewriter, value: SSAValue, kind: type[pt.ReshapeOp | pt.ExpandOp], shape: pt.Shape) -> SSAValue:
    """The value in another shape, by one op right behind its definition."""
    if pt.shape_of(value) == shape:
        return value
    for use in value.uses:
        if isinstance(use.operation, kind) and pt.shape_of(use.operation.result) == shape:
            return use.operation.result
    owner = value.owner
    assert isinstance(owner, Operation)
    shaped = kind(value, shape)
    shaped.location = owner.location
    shaped.result.name_hint = value.name_hint
    rewriter.insert(shaped, InsertPoint.after(owner))
    return shaped.result


def _raise(rewriter: PatternRewriter, op: Operation, x: SSAValue, rotation: Rotation) -> None:
    """Replace `op` by the rope of x, whose first lanes are turned by `rotation`."""
    heads = pt.shape_of(x)[1 if rotation.heads_first else 2]
    cos, sin = (_table(rewriter, table, rotation.x, rotation.heads_first) for table in (rotation.cos, rotation.sin))
    rows = to_rows(x, heads_first=rotation.heads_first)
    rope = pt.RopeOp(rows[-1], cos, sin, heads, interleaved=rotation.interleaved)
    replace(rewriter, op, [*rows, rope, *to_heads(rope, heads, pt.shape_of(x)[0], heads_first=rotation.heads_first)])


class RaisePartialRope(RewritePattern):
    """concat(rotation of x[..., :r], x[..., r:])  ->  rope of x with tables of width r"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ConcatOp, rewriter: PatternRewriter) -> None:
        if len(op.inputs) != 2 or not _is_last(op.dim.value.data, op.result):
            return
        turned, rest = pt.defined_by(op.inputs[0], pt.AddOp), pt.defined_by(op.inputs[1], pt.SliceOp)
        rotation = match_rotation(turned) if turned is not None else None
        if rotation is None or rest is None:
            return
        x, rotary, size = rest.x, pt.shape_of(rotation.x)[-1], pt.shape_of(rest.x)[-1]
        if _is_half(rotation.x, x, 0, rotary) and _slice_bounds(rest) == (rotary, size):
            _raise(rewriter, op, x, rotation)


def _product(value: SSAValue, x: SSAValue) -> SSAValue | None:
    """The other factor of a product with x."""
    product = pt.defined_by(value, pt.MulOp)
    if product is None or x not in (product.lhs, product.rhs):
        return None
    return product.rhs if product.lhs is x else product.lhs


def _doubled(rewriter: PatternRewriter, table: SSAValue) -> SSAValue:
    """The table twice side by side, made once, where it is defined, for all its users."""
    for use in table.uses:
        joined = use.operation
        if isinstance(joined, pt.ConcatOp) and [*joined.inputs] == [table, table] and _is_last(joined.dim.value.data, table):
            return joined.result
    owner = table.owner
    assert isinstance(owner, Operation)
    joined = pt.ConcatOp([table, table], len(pt.shape_of(table)) - 1)
    joined.location = owner.location
    joined.result.name_hint = table.name_hint
    rewriter.insert(joined, InsertPoint.after(owner))
    return joined.result


class RaiseRopeOfHalves(RewritePattern):
    """concat(a * cos - b * sin, b * cos + a * sin), a and b the halves of x  ->  rope of x with both tables twice as wide"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.ConcatOp, rewriter: PatternRewriter) -> None:
        if len(op.inputs) != 2 or not _is_last(op.dim.value.data, op.result) or len(pt.shape_of(op.result)) != 4:
            return
        first, second = pt.defined_by(op.inputs[0], pt.SubOp), pt.defined_by(op.inputs[1], pt.AddOp)
        if first is None or second is None:
            return
        for a, b in _pairs(first):
            x, size = a.x, pt.shape_of(a.x)[-1]
            if b.x is not x or not _is_half(a.result, x, 0, size // 2) or not _is_half(b.result, x, size // 2, size):
                continue
            cos, sin = _product(first.lhs, a.result), _product(first.rhs, b.result)
            for left, right in ((second.lhs, second.rhs), (second.rhs, second.lhs)):
                if cos is None or sin is None or _product(left, b.result) is not cos or _product(right, a.result) is not sin:
                    continue
                heads_first = _heads_first(cos, a.result)
                if heads_first is not None and heads_first == _heads_first(sin, a.result):
                    tables = (_doubled(rewriter, cos), _doubled(rewriter, sin))
                    _raise(rewriter, op, x, Rotation(x, *tables, interleaved=False, heads_first=heads_first))
                    return


def _pairs(difference: pt.SubOp) -> list[tuple[pt.SliceOp, pt.SliceOp]]:
    """The slices that the two products of a difference may be products of."""
    left, right = pt.defined_by(difference.lhs, pt.MulOp), pt.defined_by(difference.rhs, pt.MulOp)
    if left is None or right is None:
        return []
    return [(a, b) for a in _slices(left) for b in _slices(right)]


def _slices(product: pt.MulOp) -> list[pt.SliceOp]:
    return [factor.owner for factor in product.operands if isinstance(factor.owner, pt.SliceOp)]


class RaiseRope(RewritePattern):
    """x * cos + rotate_half(x) * sin  ->  rope of x"""

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: pt.AddOp, rewriter: PatternRewriter) -> None:
        rotation = match_rotation(op)
        if rotation is not None:
            _raise(rewriter, op, rotation.x, rotation)


@dataclass(frozen=True)
class RaiseRopePass(ModulePass):
    """Recover rotary embedding, full or partial. Tables must be weights (folded at import)."""

    name = "raise-rope"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        rewrite(op, RaiseRopeOfHalves(), RaisePartialRope())
        rewrite(op, RaiseRope())
