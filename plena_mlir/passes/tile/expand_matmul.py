"""expand-matmul: structured matrix products to loops over tiles, in the form that their strategy names.

micro                                        broadcast (one or several heads of HLEN lanes in a tile)
    for n:                                       copies of x, shifted so that slice p lies in the last head
        load tiles (n, 0 .. K)                   for n:
        for row block, column block:                 for k: load tile (n, k)     (all first, if several row blocks share them)
            for k: accumulate                        for row block:
            write out BLEN x BLEN                        for k: for slice p: accumulate (copy p, slice p)
                                                         write out; the last head's rows are the product
"""

from __future__ import annotations

from dataclasses import dataclass

from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import SSAValue
from xdsl.passes import ModulePass
from xdsl.pattern_rewriter import PatternRewriter, PatternRewriteWalker, RewritePattern, op_type_rewrite_pattern
from xdsl.rewriter import InsertPoint
from xdsl.utils.hints import isa

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path, target_of
from plena_mlir.errors import LoweringError
from plena_mlir.passes.tile.emitter import Emitter, IndexLike
from plena_mlir.target import Target


@dataclass(frozen=True)
class _Shape:
    """Extents of one product: blocks of outputs and inputs, physical rows, lanes."""

    outputs: int
    inputs: int
    rows: int
    lanes: int


def _shape(op: tile.MatmulOp) -> _Shape:
    x, w = op.x.type, op.w.type
    assert isa(x, tile.Buffer) and isa(w, tile.Buffer)
    inputs, rows, lanes = x.get_shape()
    return _Shape(w.get_shape()[0], inputs, rows, lanes)


def _tile_buffer(emitter: Emitter, tiles: int) -> SSAValue:
    """Matrix SRAM for `tiles` tiles, and for what a fetch of several tiles at a time leaves behind the last one."""
    target = emitter.target
    return emitter.alloc(tile.Space.MRAM, [tiles + target.prefetch_m_tiles - 1, target.mlen, target.mlen])


def _deliver(
    emitter: Emitter, op: tile.MatmulOp, block: IndexLike, first: IndexLike, source: SSAValue, start: int, rows: int
) -> None:
    """Copy (or add) `rows` finished rows from a scratch buffer into the product's place."""
    zero = None if op.accumulate is not None else emitter.constant(0.0)
    with emitter.loop(rows) as row:
        target, finished = emitter.at(op.out, block, first + row, 0), emitter.at(source, 0, start + row, 0)
        if zero is None:
            emitter.add(tile.RowBinaryOp(tile.RowBinary.ADD, target, target, finished))
        else:
            emitter.copy_row(target, finished, zero)


def expand_micro(emitter: Emitter, op: tile.MatmulOp) -> None:
    """M_TMM / M_MM: BLEN rows by BLEN outputs a time, all tiles of one block of outputs resident."""
    target, shape = emitter.target, _shape(op)
    form = tile.Accumulator.TMM if op.transposed is not None else tile.Accumulator.MM
    if shape.inputs > target.matrix_sram_tiles:
        raise LoweringError(
            f"the product needs {shape.inputs} tiles in Matrix SRAM, which holds {target.matrix_sram_tiles}",
            where=module_path(op) or None,
            hint="run split-k before expand-matmul",
        )
    tiles = _tile_buffer(emitter, shape.inputs)
    scratch = emitter.rows(1, shape.rows) if op.accumulate is not None else None
    with emitter.loop(shape.outputs) as n:
        with emitter.loop(shape.inputs) as k:
            emitter.add(tile.LoadMatrixOp(emitter.at(op.w, n, k, 0, 0), emitter.at(tiles, k, 0, 0)))
        with emitter.loop(shape.rows, step=target.blen) as row, emitter.loop(target.mlen, step=target.blen) as column:
            with emitter.loop(shape.inputs) as k:
                emitter.add(tile.AccumulateOp(form, emitter.at(op.x, k, row, 0), emitter.at(tiles, k, column, 0)))
            place = emitter.at(op.out, n, row, column) if scratch is None else emitter.at(scratch, 0, row, column)
            emitter.add(tile.WriteOutOp(form, place))
        if scratch is not None:
            _deliver(emitter, op, n, 0, scratch, 0, shape.rows)


def expand_broadcast(emitter: Emitter, op: tile.MatmulOp) -> None:
    """M_BTMM / M_BMM on whole tiles: the accumulator sums all of K before one write-out."""
    target, shape = emitter.target, _shape(op)
    form = tile.Accumulator.BTMM if op.transposed is not None else tile.Accumulator.BMM
    slices, edge = target.broadcast, target.mlen
    row_blocks = shape.rows // edge
    resident = shape.inputs if row_blocks > 1 else 1
    if resident > target.matrix_sram_tiles:
        raise LoweringError(
            f"the product needs {resident} tiles in Matrix SRAM, which holds {target.matrix_sram_tiles}",
            where=module_path(op) or None,
            hint="run split-k before expand-matmul",
        )
    shifted = [_shifted_copy(emitter, op, shape, (slices - 1 - slice) * target.hlen) for slice in range(slices - 1)]
    operands = [*shifted, op.x]
    tiles = _tile_buffer(emitter, resident)
    direct = slices == 1 and op.accumulate is None
    scratch = None if direct else emitter.rows(1, slices * edge)

    def accumulate(k: IndexLike, slot: IndexLike, first: IndexLike) -> None:
        for slice, operand in enumerate(operands):
            matrix = emitter.at(tiles, slot, 0, slice * target.hlen)
            emitter.add(tile.AccumulateOp(form, emitter.at(operand, k, first, 0), matrix))

    def finish(n: IndexLike, first: IndexLike) -> None:
        if scratch is None:
            emitter.add(tile.WriteOutOp(form, emitter.at(op.out, n, first, 0)))
            return
        emitter.add(tile.WriteOutOp(form, emitter.at(scratch, 0, 0, 0)))
        _deliver(emitter, op, n, first, scratch, (slices - 1) * edge, edge)

    def load(n: IndexLike, k: IndexLike, slot: IndexLike) -> None:
        emitter.add(tile.LoadMatrixOp(emitter.at(op.w, n, k, 0, 0), emitter.at(tiles, slot, 0, 0)))

    with emitter.loop(shape.outputs) as n:
        if row_blocks == 1:
            with emitter.loop(shape.inputs) as k:
                load(n, k, 0)
                accumulate(k, 0, 0)
            finish(n, 0)
        else:
            with emitter.loop(shape.inputs) as k:
                load(n, k, k)
            with emitter.loop(row_blocks) as block:
                with emitter.loop(shape.inputs) as k:
                    accumulate(k, k, block * edge)
                finish(n, block * edge)


def _shifted_copy(emitter: Emitter, op: tile.MatmulOp, shape: _Shape, lanes: int) -> SSAValue:
    copy = emitter.rows(shape.inputs, shape.rows)
    with emitter.loop(shape.inputs) as block, emitter.loop(shape.rows) as row:
        emitter.add(tile.RowShiftOp(emitter.at(copy, block, row, 0), emitter.at(op.x, block, row, 0), lanes))
    return copy


@dataclass
class ExpandMatmulPattern(RewritePattern):
    """One structured product to its loops."""

    target: Target

    @op_type_rewrite_pattern
    def match_and_rewrite(self, op: tile.MatmulOp, rewriter: PatternRewriter) -> None:
        emitter = Emitter(self.target, Builder(InsertPoint.before(op)), op.location)
        if op.strategy is None:
            raise LoweringError(
                "the product has no strategy", where=module_path(op) or None, hint="run convert-tensor-to-tile, which chooses one"
            )
        expand = expand_broadcast if op.strategy.data is tile.Strategy.BROADCAST else expand_micro
        expand(emitter, op)
        rewriter.erase(op)


@dataclass(frozen=True)
class ExpandMatmulPass(ModulePass):
    """Turn every `plena_tile.matmul` into tile loads, accumulations and write-outs."""

    name = "expand-matmul"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        PatternRewriteWalker(ExpandMatmulPattern(target_of(op)), apply_recursively=False).rewrite_module(op)
