"""Mixtures of experts: rows choose experts by V_TOPK, and the number of an expert, read on the device, addresses its matrices.

The pairs of a row and an expert are computed one after the other: a product of one row, whose tiles start at the expert's place in
the stack of all experts. What is fetched and multiplied is what was chosen and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.ir import Operation, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena_tensor import Normalised, shape_of
from plena_mlir.passes.hidden_scores import MASKED
from plena_mlir.passes.tile.emitter import Index
from plena_mlir.passes.tile.layouts import Activation, Columns, Routing
from plena_mlir.passes.tile.lowering.context import LoweringContext, insert_before, refuse
from plena_mlir.passes.tile.lowering.exact import load_table, peel_quantize
from plena_mlir.passes.tile.lowering.linear import weight_tiles
from plena_mlir.passes.tile.lowering.rows import clear_padding
from plena_mlir.passes.tile.strategies import Product, choose_strategy


@dataclass
class _Logits:
    """The logits of one row at a time, and what is so low that it is never chosen in the lanes after them."""

    context: LoweringContext
    x: Activation
    mask: SSAValue
    row: SSAValue

    @staticmethod
    def of(context: LoweringContext, op: tensor.TopkOp | tensor.MoeWeightsOp, value: SSAValue, lanes: int) -> _Logits:
        """Logits with at least `lanes` lanes, in consecutive rows."""
        emitter, edge = context.emitter, context.target.vlen
        x = context.activation(value)
        blocks = max(-(-lanes // edge), x.shape[0])
        beyond = tensor.BandMaskOp(1, blocks * edge, MASKED, offset=shape_of(value)[1] - 1)
        mask = load_table(context, insert_before(op, beyond), Columns(1, blocks * edge, blocks * edge), 1)
        row = emitter.rows(1, blocks)
        if blocks > x.shape[0]:
            zero = emitter.constant(0.0)
            with emitter.loop(blocks, start=x.shape[0]) as block:
                emitter.copy_row(emitter.at(row, 0, block, 0), emitter.at(mask, block, 0, 0), zero)
        return _Logits(context, x, mask, row)

    def take(self, token: Index) -> None:
        """Bring the logits of a row to `row`. The sum turns -0 into +0, which V_TOPK tells apart and nobody else does."""
        emitter = self.context.emitter
        with emitter.loop(self.x.shape[0]) as block:
            source, target = emitter.at(self.x.buffer, block, token, 0), emitter.at(self.row, 0, block, 0)
            emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, target, source, emitter.at(self.mask, block, 0, 0)))


def lower_topk(context: LoweringContext, op: Operation) -> None:
    """One V_TOPK per row."""
    assert isinstance(op, tensor.TopkOp)
    experts, k = shape_of(op.x)[1], op.k.value.data
    policy = tensor.topk_policy(experts, k)
    if policy is None:
        limits = " or ".join(f"{chosen} of {most}" for most, chosen in tensor.TOPK_POLICIES)
        raise refuse(op, f"the machine chooses at most {limits}, not {k} of {experts}")
    lanes, width = tensor.TOPK_POLICIES[policy]
    emitter = context.emitter
    logits = _Logits.of(context, op, op.x, lanes)
    rows = logits.x.rows
    routing = Routing(emitter.alloc(tile.Space.INTRAM, [rows, width]), emitter.alloc(tile.Space.FPRAM, [rows, width]))
    with emitter.loop(rows) as token:
        logits.take(token)
        places = (emitter.at(routing.weights, token, 0), emitter.at(routing.experts, token, 0))
        emitter.add(tile.RowTopkOp(places[0], places[1], emitter.at(logits.row, 0, 0, 0), policy))
    context.routings[op.result] = routing


def lower_moe_weights(context: LoweringContext, op: Operation) -> None:
    """What V_TOPK's softmax over its own choice lacks, in place: see the rounding table."""
    assert isinstance(op, tensor.MoeWeightsOp)
    routing = context.routings[op.ids]
    experts, k = shape_of(op.logits)[1], shape_of(op.ids)[1]
    context.routings[op.result] = routing
    if sum(isinstance(use.operation, tensor.MoeWeightsOp) for use in op.ids.uses) > 1:
        raise refuse(op, "one choice of experts has several weights")
    width = tile.as_buffer(routing.weights).get_shape()[1]
    emitter = context.emitter
    if op.normalised.data == Normalised.ALL:
        logits = _Logits.of(context, op, op.logits, 1)
        with emitter.loop(logits.x.rows) as token:
            share = _share_of_best(logits, token)
            best = emitter.add(tile.LoadScalarOp(emitter.at(routing.weights, token, 0))).result
            inverse = emitter.scalar_function(tile.ScalarUnary.RECIPROCAL, best)
            _scale(context, routing, token, k, emitter.scalar(tile.ScalarBinary.MUL, share, inverse))
    elif k < min(width, experts):
        with emitter.loop(shape_of(op.ids)[0]) as token:
            total = emitter.add(tile.LoadScalarOp(emitter.at(routing.weights, token, 0))).result
            for number in range(1, k):
                weight = emitter.add(tile.LoadScalarOp(emitter.at(routing.weights, token, number))).result
                total = emitter.scalar(tile.ScalarBinary.ADD, total, weight)
            _scale(context, routing, token, k, emitter.scalar_function(tile.ScalarUnary.RECIPROCAL, total))


def _share_of_best(logits: _Logits, token: Index) -> SSAValue:
    """The softmax over all experts at the greatest logit of a row: 1 / sum of exp(l - max)."""
    emitter, blocks = logits.context.emitter, logits.x.shape[0]
    logits.take(token)
    maximum, total = emitter.constant(float("-inf")), emitter.constant(0.0)
    rows = [emitter.at(logits.row, 0, block, 0) for block in range(blocks)]
    for row in rows:
        maximum = emitter.reduce(tile.RowReduce.MAX, maximum, row)
    for row in rows:
        emitter.add(tile.RowScalarOp(tile.RowScalar.SUB, row, row, maximum))
        emitter.add(tile.RowUnaryOp(tile.RowUnary.EXP, row, row))
        total = emitter.reduce(tile.RowReduce.SUM, total, row)
    return emitter.scalar_function(tile.ScalarUnary.RECIPROCAL, total)


def _scale(context: LoweringContext, routing: Routing, token: Index, k: int, factor: SSAValue) -> None:
    """The first k weights of a row times a factor."""
    emitter = context.emitter
    for number in range(k):
        place = emitter.at(routing.weights, token, number)
        weight = emitter.add(tile.LoadScalarOp(place)).result
        emitter.add(tile.StoreScalarOp(emitter.scalar(tile.ScalarBinary.MUL, weight, factor), place))


def lower_expert_linear(context: LoweringContext, op: Operation) -> None:
    """Pair by pair: the row alone in a block of rows, times the tiles of its expert."""
    assert isinstance(op, tensor.ExpertLinearOp)
    emitter, target = context.emitter, context.target
    x, out = context.activation(op.x), context.new_activation(op.result)
    experts, outputs, inputs = shape_of(op.weight)
    tokens, k = shape_of(op.ids)
    entry = choose_strategy(target, Product(1, transposed=True), context.force)
    block_rows = entry.granule(target)
    expr, _ = peel_quantize(op.weight)
    stack = insert_before(op, tensor.ReshapeOp(expr, (experts * outputs, inputs)))
    tiles = weight_tiles(context, stack, out.columns, x.columns, entry.strategy, experts)
    _, input_blocks, *edges = tile.as_buffer(tiles).get_shape()
    output_blocks, _, lanes = out.shape
    assert lanes == target.vlen
    bias = None if op.bias is None else load_table(context, op.bias, out.columns, experts)
    row, product = emitter.rows(input_blocks, block_rows), emitter.rows(output_blocks, block_rows)
    zero = emitter.constant(0.0)
    with emitter.loop(tokens) as token, emitter.loop(k) as choice:
        pair = token * k + choice
        number = emitter.add(tile.LoadIndexOp(emitter.at(context.routings[op.ids].experts, token, choice)))
        expert = Index.of(number.result)
        with emitter.loop(input_blocks) as block:
            source = emitter.at(x.buffer, block, token if op.repeats > 1 else pair, 0)
            emitter.copy_row(emitter.at(row, block, 0, 0), source, zero)
        chosen = emitter.slice(tiles, [expert * output_blocks, 0, 0, 0], [output_blocks, input_blocks, *edges])
        emitter.add(tile.MatmulOp(row, chosen, product, transposed=True, strategy=entry.strategy))
        with emitter.loop(output_blocks) as block:
            place, finished = emitter.at(out.buffer, block, pair, 0), emitter.at(product, block, 0, 0)
            if bias is None:
                emitter.copy_row(place, finished, zero)
            else:
                emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, place, finished, emitter.at(bias, block, expert, 0)))
    with emitter.loop(output_blocks) as block:
        clear_padding(context, out, block)
    context.values[op.result] = out


def lower_moe_combine(context: LoweringContext, op: Operation) -> None:
    """Expert after expert: out = y0 * w0; out += y1 * w1; ..."""
    assert isinstance(op, tensor.MoeCombineOp)
    emitter = context.emitter
    y, out = context.activation(op.y), context.new_activation(op.result)
    weights = context.routings[op.weights].weights
    tokens, k = shape_of(op.weights)
    scratch = emitter.rows(1, 1)
    with emitter.loop(tokens) as token:
        for choice in range(k):
            weight = emitter.add(tile.LoadScalarOp(emitter.at(weights, token, choice))).result
            with emitter.loop(out.shape[0]) as block:
                place, source = emitter.at(out.buffer, block, token, 0), emitter.at(y.buffer, block, token * k + choice, 0)
                part = place if choice == 0 else emitter.at(scratch, 0, 0, 0)
                emitter.add(tile.RowScalarOp(tile.RowScalar.MUL, part, source, weight))
                if choice > 0:
                    emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, place, place, part))
    with emitter.loop(out.shape[0]) as block:
        clear_padding(context, out, block)
    context.values[op.result] = out
