"""concat: activations, and rows of weights, one after the other; by rows, or by features in groups of their own."""

from __future__ import annotations

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.passes.tile.layouts import Activation, Columns
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.exact import load_table
from plena_mlir.passes.tile.lowering.rows import clear_padding, put_rows


def lower_concat(context: LoweringContext, op: Operation) -> None:
    """Every part copied to its place in the whole."""
    assert isinstance(op, tensor.ConcatOp)
    if op.dim.value.data == 0:
        _join_rows(context, op)
    else:
        _join_features(context, op)


def _activation(context: LoweringContext, part: SSAValue, rows: int, columns: Columns) -> Activation:
    """An activation, or a weight of `rows` rows as one whose features lie in `columns`."""
    if part in context.values:
        return context.values[part]
    return Activation(load_table(context, part, columns, rows), columns, rows)


def _join_rows(context: LoweringContext, op: tensor.ConcatOp) -> None:
    lying = {context.values[part].columns for part in op.inputs if part in context.values}
    if len(lying) != 1:
        raise refuse(op, f"operands lie differently: {', '.join(map(str, lying))}")
    (columns,) = lying
    out = context.allocate(columns, shape_of(op.result)[0])
    first = 0
    for part in op.inputs:
        rows = shape_of(part)[0]
        put_rows(context, _activation(context, part, rows, columns), rows, out, into=first)
        first += rows
    with context.emitter.loop(out.shape[0]) as block:
        clear_padding(context, out, block)
    context.values[op.result] = out


def _join_features(context: LoweringContext, op: tensor.ConcatOp) -> None:
    lanes = context.target.vlen
    lying = [
        context.values[part].columns if part in context.values else Columns.of(shape_of(part)[1], 1, lanes) for part in op.inputs
    ]
    out = context.allocate(_joined(op, lying), shape_of(op.result)[0])
    first = 0
    for part, columns in zip(op.inputs, lying, strict=True):
        put_rows(context, _activation(context, part, out.rows, columns), out.rows, out, block=first)
        first += columns.blocks(lanes)
    with context.emitter.loop(out.shape[0]) as block:
        clear_padding(context, out, block)
    context.values[op.result] = out


def _joined(op: tensor.ConcatOp, parts: list[Columns]) -> Columns:
    """How the features of all parts lie together: as groups of one size, or without padding between them."""
    groups = {(columns.size, columns.padded) for columns in parts}
    if len(groups) == 1:
        size, padded = groups.pop()
        return Columns(sum(columns.groups for columns in parts), size, padded)
    if all(columns.size == columns.padded for columns in parts):
        features = sum(columns.features for columns in parts)
        return Columns(1, features, features)
    raise refuse(
        op,
        f"joins parts of {', '.join(str(columns.features) for columns in parts)} features, padded to whole rows of lanes",
        "parts of one size, or of whole rows of lanes, can be joined",
    )
