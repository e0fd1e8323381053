"""expand-attention: structured attention to products of blocks and loops over the rows of the softmax.

    for key head, query head of its group:
        for block of queries:
            rows: m = -inf; l = 0; O = 0
            for block of keys (causal: from the diagonal back to the first; else: all):
                S = q k^T
                rows: S += mask;  m' = max(m, S);  P = exp(S - m');  l = l exp(m - m') + sum P;  O *= exp(m - m')
                O += P v
            rows: out = O / l

With one block of keys in all, P is normalised before the second product, and neither m nor l is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint
from xdsl.utils.hints import isa

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path, part_location, target_of
from plena_mlir.errors import LoweringError
from plena_mlir.passes.tile.emitter import Emitter, Index, IndexLike
from plena_mlir.passes.tile.lowering.stages import PROBABILITIES_PART, SCORES_PART
from plena_mlir.passes.tile.row_functions import CappedTanh
from plena_mlir.target import Target

_BROADCAST_FACTOR = 4.0
"""Undoes the factor 1/4 of the broadcast forms."""


class _Attention:
    """One expansion: extents, scratch buffers, and the emission of each part."""

    def __init__(self, emitter: Emitter, op: tile.AttentionOp) -> None:
        q, k = op.q.type, op.k.type
        assert isa(q, tile.Buffer) and isa(k, tile.Buffer)
        self.emitter, self.op = emitter, op
        self.edge = emitter.target.mlen
        self.kv_heads, self.blocks, self.keys, self.pitch = k.get_shape()
        self.lanes = emitter.target.vlen
        self.rows = q.get_shape()[1]
        self.group = op.heads.value.data // self.kv_heads
        self.query_rows = min(self.rows, self.edge)
        self.query_blocks = -(-self.rows // self.edge)
        self.key_blocks = self.keys // self.edge
        if op.scores_strategy is None or op.values_strategy is None:
            raise LoweringError("the attention has no strategies", where=module_path(op) or None)
        self.causal = op.mask_kind.data == "causal"
        self.scores_strategy, self.values_strategy = op.scores_strategy.data, op.values_strategy.data
        self.scores = emitter.rows(1, self.query_rows)
        self.zero = emitter.constant(0.0)
        self.lowest = emitter.constant(float("-inf"))
        self.factor = emitter.constant(_BROADCAST_FACTOR)
        self.soft_cap = None if op.soft_cap is None else CappedTanh(emitter, op.soft_cap.value.data)

    def expand(self) -> None:
        """All heads. Blocks of queries count from 1, so that the number of a block is how many blocks of keys it sees."""
        emitter = self.emitter
        if self.key_blocks > 1:
            self.maxima = emitter.alloc(tile.Space.FPRAM, [self.query_rows])
            self.sums = emitter.alloc(tile.Space.FPRAM, [self.query_rows])
        with emitter.loop(self.kv_heads) as kv_head, emitter.loop(self.group) as member:
            head = kv_head * self.group + member
            if self.op.number is not None:
                self._queries(head, kv_head, Index.of(self.op.number))
            else:
                with emitter.loop(self.query_blocks + 1, start=1) as number:
                    self._queries(head, kv_head, number)

    def _queries(self, head: Index, kv_head: Index, number: Index) -> None:
        if self.key_blocks == 1:
            self._single_block(head, kv_head, number + -1)
        else:
            self._query_block(head, kv_head, number)

    def _first_row(self, block: IndexLike) -> IndexLike:
        """Where a block of queries starts in the buffers of the operation, which may hold one block only."""
        return 0 if self.op.number is not None else block * self.edge

    # --- one block of queries ---------------------------------------------------------------------------------------------------

    def _sink(self, head: Index) -> SSAValue:
        """The score that the maximum of every row of a head starts from: its sink, or less than any other."""
        if self.op.sinks is None:
            return self.lowest
        return self.emitter.reduce(tile.RowReduce.MAX, self.lowest, self.emitter.at(self.op.sinks, 0, head, 0))

    def _single_block(self, head: Index, kv_head: Index, block: Index) -> None:
        emitter = self.emitter
        sink = self._sink(head)
        self._scores(head, kv_head, block, 0)
        with emitter.loop(self.query_rows) as row:
            place = self._score_row(block, row, block, 0)
            maximum = emitter.reduce(tile.RowReduce.MAX, sink, place)
            self._exponentials(place, maximum)
            before = self.zero if self.op.sinks is None else self._decay(sink, maximum)
            total = emitter.reduce(tile.RowReduce.SUM, before, place)
            scaled = emitter.add(tile.RowScalarOp(tile.RowScalar.MUL, place, place, self._inverse(total)))
            self._mark(scaled, PROBABILITIES_PART)
        self._values(head, kv_head, block, 0, accumulate=False)

    def _query_block(self, head: Index, kv_head: Index, number: Index) -> None:
        emitter = self.emitter
        block = number + -1
        # A sink is a key seen before all others.
        sink, total = self._sink(head), self.zero if self.op.sinks is None else emitter.constant(1.0)
        with emitter.loop(self.query_rows) as row:
            self._remember(row, sink, total)
            with emitter.loop(self.blocks) as column:
                emitter.zero_row(self._output_row(head, block, row, column))
        with emitter.loop(number.terms[0][0] if self.causal else self.key_blocks) as step:
            keys, distance = (block + step * -1, step) if self.causal else (step, block)
            self._key_block(head, kv_head, block, keys, distance)
        with emitter.loop(self.query_rows) as row:
            inverse = self._inverse(emitter.add(tile.LoadScalarOp(emitter.at(self.sums, row))).result)
            self._scale_output(head, block, row, inverse)

    def _key_block(self, head: Index, kv_head: Index, block: Index, keys: Index, distance: Index) -> None:
        emitter = self.emitter
        self._scores(head, kv_head, block, keys)
        with emitter.loop(self.query_rows) as row:
            place = self._score_row(block, row, distance, keys)
            old = emitter.add(tile.LoadScalarOp(emitter.at(self.maxima, row))).result
            maximum = emitter.reduce(tile.RowReduce.MAX, old, place)
            self._mark(self._exponentials(place, maximum), PROBABILITIES_PART)
            decay = self._decay(old, maximum)
            total = emitter.add(tile.LoadScalarOp(emitter.at(self.sums, row))).result
            total = emitter.scalar(tile.ScalarBinary.MUL, total, decay)
            self._remember(row, maximum, emitter.reduce(tile.RowReduce.SUM, total, place))
            self._scale_output(head, block, row, decay)
        self._values(head, kv_head, block, keys, accumulate=True)

    # --- parts ------------------------------------------------------------------------------------------------------------------

    def _scores(self, head: Index, kv_head: Index, block: IndexLike, keys: IndexLike) -> None:
        emitter, edge = self.emitter, self.edge
        q = emitter.slice(self.op.q, [head * self.blocks, self._first_row(block), 0], [self.blocks, self.query_rows, self.lanes])
        strides = [edge * self.pitch, self.keys * self.pitch, self.pitch, 1]
        k = emitter.view(self.op.k, [kv_head, 0, keys * edge, 0], [1, self.blocks, edge, self.lanes], strides)
        emitter.add(tile.MatmulOp(q, k, self.scores, transposed=True, strategy=self.scores_strategy))

    def _values(self, head: Index, kv_head: Index, block: IndexLike, keys: IndexLike, *, accumulate: bool) -> None:
        emitter, edge = self.emitter, self.edge
        out = emitter.slice(
            self.op.out, [head * self.blocks, self._first_row(block), 0], [self.blocks, self.query_rows, self.lanes]
        )
        strides = [self.keys * self.pitch, edge * self.pitch, self.pitch, 1]
        v = emitter.view(self.op.v, [kv_head, 0, keys * edge, 0], [self.blocks, 1, edge, self.lanes], strides)
        emitter.add(tile.MatmulOp(self.scores, v, out, transposed=False, strategy=self.values_strategy, accumulate=accumulate))

    def _score_row(self, block: Index, row: Index, distance: IndexLike, keys: IndexLike) -> SSAValue:
        emitter = self.emitter
        place = emitter.at(self.scores, 0, row, 0)
        if self.scores_strategy is tile.Strategy.BROADCAST:
            emitter.add(tile.RowScalarOp(tile.RowScalar.MUL, place, place, self.factor))
        if self.soft_cap is not None:
            self.soft_cap.apply(place, place)
        if self.op.mask is not None:
            indices = {
                "causal": (distance, row),
                "none": (keys, 0),
                "explicit": (keys, row + self._first_row(block)),
            }[self.op.mask_kind.data]
            emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, place, place, emitter.at(self.op.mask, *indices, 0)))
        return place

    def _exponentials(self, place: SSAValue, maximum: SSAValue) -> Operation:
        self._mark(self.emitter.add(tile.RowScalarOp(tile.RowScalar.SUB, place, place, maximum)), SCORES_PART)
        return self.emitter.add(tile.RowUnaryOp(tile.RowUnary.EXP, place, place))

    def _decay(self, score: SSAValue, maximum: SSAValue) -> SSAValue:
        """exp(score - maximum)."""
        return self.emitter.scalar_function(tile.ScalarUnary.EXP, self.emitter.scalar(tile.ScalarBinary.SUB, score, maximum))

    def _mark(self, op: Operation, part: str) -> None:
        """Name the part of the stage that an operation completes, for whoever compares levels."""
        op.location = part_location(op.location, part)

    def _remember(self, row: Index, maximum: SSAValue, total: SSAValue) -> None:
        self.emitter.add(tile.StoreScalarOp(maximum, self.emitter.at(self.maxima, row)))
        self.emitter.add(tile.StoreScalarOp(total, self.emitter.at(self.sums, row)))

    def _inverse(self, total: SSAValue) -> SSAValue:
        """1 / total, and with it the factor that the broadcast form of the second product lacks."""
        inverse = self.emitter.scalar_function(tile.ScalarUnary.RECIPROCAL, total)
        if self.values_strategy is tile.Strategy.BROADCAST:
            inverse = self.emitter.scalar(tile.ScalarBinary.MUL, inverse, self.factor)
        return inverse

    def _output_row(self, head: Index, block: IndexLike, row: Index, column: Index) -> SSAValue:
        return self.emitter.at(self.op.out, head * self.blocks + column, row + self._first_row(block), 0)

    def _scale_output(self, head: Index, block: IndexLike, row: Index, factor: SSAValue) -> None:
        with self.emitter.loop(self.blocks) as column:
            place = self._output_row(head, block, row, column)
            self.emitter.add(tile.RowScalarOp(tile.RowScalar.MUL, place, place, factor))


@dataclass
class ExpandAttentionPattern(RewritePattern):
    """One structured attention to its blocks."""

    target: Target

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: tile.AttentionOp, rewriter: PatternRewriter) -> None:
        _Attention(Emitter(self.target, Builder(InsertPoint.before(op)), op.location), op).expand()
        rewriter.erase(op)


@dataclass(frozen=True)
class ExpandAttentionPass(ModulePass):
    """Turn every `plena_tile.attention` into products and row loops."""

    name = "expand-attention"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(ExpandAttentionPattern(target_of(op)), apply_recursively=False).rewrite_module(op)
