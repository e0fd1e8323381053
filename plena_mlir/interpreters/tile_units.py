"""The meaning of each unit operation of plena_tile, bound once to the arrays it works on and then called with element offsets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from xdsl.ir import Operation

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena_tensor import TOPK_POLICIES
from plena_mlir.errors import ExecutionError
from plena_mlir.interpreters import tile_kernels as kernels
from plena_mlir.interpreters.tile_memory import Bounds, TileMemory, precision_of, where
from plena_mlir.numerics import round_bf16
from plena_mlir.numerics.bf16 import exp_table, reciprocal_table, round_register, sqrt_table
from plena_mlir.numerics.mx import log2_thresholds
from plena_mlir.numerics.mx_format import MxFormat, element_table, encoder_rule, scale_table
from plena_mlir.target.formats import hbm_format

F32: TypeAlias = NDArray[np.float32]
Action: TypeAlias = "Callable[..., float | int | None]"


@dataclass(frozen=True)
class Unit:
    """An operation ready to run.

    Attributes:
        bounds: per operand, where it may point, or None for a scalar.
        action: called with one value per operand, an element offset in the owning buffer or a scalar; gives the result, if any.
    """

    bounds: tuple[Bounds | None, ...]
    action: Action


def _row(op: Operation, operand: int, memory: TileMemory, rows: int = 1) -> Bounds:
    """Whole rows of Vector SRAM."""
    lanes = memory.target.vlen
    return Bounds(op, operand, memory.array_at(op.operands[operand]).size, rows * lanes, unit=lanes)


def _words(op: Operation, operand: int, memory: TileMemory, words: int = 1) -> Bounds:
    return Bounds(op, operand, memory.array_at(op.operands[operand]).size, words)


def _hbm_rows(op: Operation, operand: int, memory: TileMemory, rows: int) -> tuple[Bounds, int]:
    """Rows in HBM, and the elements between their starts."""
    ref = op.operands[operand]
    stride = pt.strides_of(pt.source_type(ref))[-2]
    if stride % 8:
        raise ExecutionError(f"the row stride of {stride} elements is not a multiple of 8", where=where(op))
    extent = (rows - 1) * stride + memory.target.vlen
    return Bounds(op, operand, memory.data_at(ref).elements.size, extent, unit=8), stride


def stream_format(memory: TileMemory, type: pt.Buffer, *, matrix: bool) -> MxFormat:
    """How a DMA instruction reads a tensor: the matrix and the vector unit each know one format for K/V and one for the rest."""
    kv = precision_of(type) is pt.Precision.KV
    if matrix:
        return hbm_format(memory.target, "m_kv" if kv else "m_weight")
    return hbm_format(memory.target, "v_kv" if kv else "v_act")


# --- DMA ------------------------------------------------------------------------------------------------------------------------


def _load(
    op: pt.LoadMatrixOp | pt.LoadRowsOp, memory: TileMemory, rows: int, target: Bounds, *, matrix: bool, wanted: int | None = None
) -> Unit:
    """Fetch `rows` rows, of which the first `wanted` must lie in the buffer: what follows it in HBM is nobody's."""
    data, array, lanes = memory.data_at(op.source), memory.array_at(op.target), memory.target.vlen
    source, stride = _hbm_rows(op, 0, memory, rows if wanted is None else wanted)
    fmt = stream_format(memory, pt.source_type(op.source), matrix=matrix)
    codes, powers = element_table(fmt), scale_table(fmt.rules)
    elements, scales, load = data.elements, data.scales, kernels.load

    def action(s: int, t: int) -> None:
        stored = min(rows, (elements.size - s - lanes) // stride + 1)
        array[t + stored * lanes : t + rows * lanes] = np.nan
        if not load(elements, scales, s, stride, stored, array, t, lanes, not matrix, codes, powers):
            raise ExecutionError(
                f"the scale bytes of a row from element {s} on straddle two 64-byte blocks, of which the machine reads one",
                where=where(op),
                hint="lay the rows out so that their scales start at a multiple of their number",
            )

    return Unit((source, target), action)


def _load_matrix(op: pt.LoadMatrixOp, memory: TileMemory) -> Unit:
    tile = memory.target.tile_elements
    tiles = memory.target.prefetch_m_tiles
    target = Bounds(op, 1, memory.array_at(op.target).size, tiles * tile, unit=tile)
    return _load(op, memory, tiles * memory.target.mlen, target, matrix=True, wanted=memory.target.mlen)


def _load_rows(op: pt.LoadRowsOp, memory: TileMemory) -> Unit:
    rows = memory.target.prefetch_v_rows
    return _load(op, memory, rows, _row(op, 1, memory, rows), matrix=False)


def _store_rows(op: pt.StoreRowsOp, memory: TileMemory) -> Unit:
    rows, lanes = memory.target.writeback_v_rows, memory.target.vlen
    array, data = memory.array_at(op.source), memory.data_at(op.target)
    target, stride = _hbm_rows(op, 1, memory, rows)
    rule = encoder_rule(stream_format(memory, pt.source_type(op.target), matrix=False), "machine")
    thresholds = log2_thresholds()

    def action(s: int, t: int) -> None:
        kernels.store(array, s, rows, data.elements, data.scales, t, stride, lanes, rule, thresholds)

    return Unit((_row(op, 0, memory, rows), target), action)


# --- matrix unit ----------------------------------------------------------------------------------------------------------------


def _accumulate(op: pt.AccumulateOp, memory: TileMemory) -> Unit:
    target, form = memory.target, op.form.data
    lanes, tile = target.mlen, target.tile_elements
    rows, matrix = memory.array_at(op.rows), memory.array_at(op.matrix)
    heads = form in (pt.Accumulator.BMM, pt.Accumulator.BTMM)
    transposed = form in (pt.Accumulator.TMM, pt.Accumulator.BTMM)
    places = Bounds(op, 1, matrix.size, tile, tile, target.hlen if heads else target.blen * lanes, span=lanes if heads else tile)
    kernel, accumulator = (kernels.accumulate_heads, memory.heads) if heads else (kernels.accumulate_block, memory.block)
    # A start is counted in elements of a row for the broadcast forms, in rows of the tile for the others, as the machine does.
    step = 1 if heads else lanes

    def action(r: int, m: int) -> None:
        start = m % tile
        kernel(rows, r, matrix, m - start, start // step, transposed, accumulator, lanes)

    return Unit((_row(op, 0, memory, lanes if heads else target.blen), places), action)


def _write_out(op: pt.WriteOutOp, memory: TileMemory) -> Unit:
    target, array, lanes = memory.target, memory.array_at(op.target), memory.target.vlen
    if op.form.data in (pt.Accumulator.BMM, pt.Accumulator.BTMM):
        return Unit((_row(op, 0, memory, target.broadcast * target.mlen),), lambda t: kernels.write_heads(memory.heads, array, t))
    bounds = Bounds(op, 0, array.size, target.blen * lanes, lanes, target.blen, span=lanes)

    def action(t: int) -> None:
        kernels.write_block(memory.block, array, t - t % lanes, t % lanes, lanes)

    return Unit((bounds,), action)


# --- vector unit ----------------------------------------------------------------------------------------------------------------

_BINARY = {pt.RowBinary.ADD: kernels.ADD, pt.RowBinary.SUB: kernels.SUB, pt.RowBinary.MUL: kernels.MUL}
_SCALAR = {
    pt.RowScalar.ADD: kernels.ADD,
    pt.RowScalar.SUB: kernels.SUB,
    pt.RowScalar.RSUB: kernels.RSUB,
    pt.RowScalar.MUL: kernels.MUL,
    pt.RowScalar.MAX: kernels.MAX,
    pt.RowScalar.MIN: kernels.MIN,
}


def _row_binary(op: pt.RowBinaryOp, memory: TileMemory) -> Unit:
    target, lhs, rhs = (memory.array_at(ref) for ref in op.operands)
    kind, lanes, kernel = _BINARY[op.kind.data], memory.target.vlen, kernels.binary
    bounds = tuple(_row(op, operand, memory) for operand in range(3))
    return Unit(bounds, lambda t, a, b: kernel(kind, target, t, lhs, a, rhs, b, lanes))


def _row_scalar(op: pt.RowScalarOp, memory: TileMemory) -> Unit:
    target, row = memory.array_at(op.target), memory.array_at(op.row)
    kind, lanes, kernel = _SCALAR[op.kind.data], memory.target.vlen, kernels.scalar
    return Unit((_row(op, 0, memory), _row(op, 1, memory), None), lambda t, a, value: kernel(kind, target, t, row, a, value, lanes))


def _row_unary(op: pt.RowUnaryOp, memory: TileMemory) -> Unit:
    target, row = memory.array_at(op.target), memory.array_at(op.row)
    table = exp_table() if op.kind.data is pt.RowUnary.EXP else reciprocal_table()
    lanes, kernel = memory.target.vlen, kernels.unary
    return Unit((_row(op, 0, memory), _row(op, 1, memory)), lambda t, a: kernel(table, target, t, row, a, lanes))


def _row_shift(op: pt.RowShiftOp, memory: TileMemory) -> Unit:
    target, row = memory.array_at(op.target), memory.array_at(op.row)
    amount, lanes = op.amount.value.data, memory.target.vlen
    if amount < 0:
        raise ExecutionError(f"a row cannot be shifted by {amount} lanes", where=where(op))
    return Unit((_row(op, 0, memory), _row(op, 1, memory)), lambda t, a: kernels.shift(target, t, row, a, amount, lanes))


def _row_reduce(op: pt.RowReduceOp, memory: TileMemory) -> Unit:
    row, lanes = memory.array_at(op.row), memory.target.vlen
    kernel = kernels.reduce_row_sum if op.kind.data is pt.RowReduce.SUM else kernels.reduce_row_max
    return Unit((None, _row(op, 1, memory)), lambda init, a: cast("float", kernel(init, row, a, lanes)))


def _row_fill(op: pt.RowFillOp, memory: TileMemory) -> Unit:
    target, words, lanes = memory.array_at(op.target), memory.array_at(op.words), memory.target.vlen

    def action(t: int, w: int) -> None:
        target[t : t + lanes] = words[w : w + lanes]

    return Unit((_row(op, 0, memory), _words(op, 1, memory, lanes)), action)


def _row_topk(op: pt.RowTopkOp, memory: TileMemory) -> Unit:
    rows, vlen = memory.array_at(op.rows), memory.target.vlen
    weights, positions = memory.array_at(op.weights), memory.array_at(op.lanes)
    lanes, chosen = TOPK_POLICIES[op.policy.value.data]

    def action(w: int, r: int, p: int) -> None:
        values = np.where(np.isnan(rows[r : r + lanes]), np.float32(-np.inf), rows[r : r + lanes])
        bits = values.view(np.uint32).astype(np.int64)
        # Numbers in total order, +0 above -0.
        best = np.argsort(-np.where(bits < 1 << 31, bits, (1 << 31) - 1 - bits), kind="stable")[:chosen]
        exponentials = np.exp((values[best] - values[best[0]]).astype(np.float64)).astype(np.float32)
        total = np.float32(0.0)
        for exponential in exponentials:
            total += exponential
        usable = 0.0 < total < np.inf
        positions[p : p + chosen] = best
        weights[w : w + chosen] = round_bf16(exponentials / total) if usable else 0.0

    bounds = (_words(op, 0, memory, chosen), _row(op, 1, memory, -(-lanes // vlen)), _words(op, 2, memory, chosen))
    return Unit(bounds, action)


# --- scalar unit ----------------------------------------------------------------------------------------------------------------


def _round(value: float) -> float:
    return float(round_register(np.float32(value)))


def _constant(op: pt.ConstantOp, memory: TileMemory) -> Unit:
    value = _round(op.value.value.data)
    return Unit((), lambda: value)


def _scalar_binary(op: pt.ScalarBinaryOp, memory: TileMemory) -> Unit:
    kernel = {
        pt.ScalarBinary.ADD: kernels.add_scalars,
        pt.ScalarBinary.SUB: kernels.sub_scalars,
        pt.ScalarBinary.MUL: kernels.mul_scalars,
        pt.ScalarBinary.MAX: kernels.max_scalars,
    }[op.kind.data]
    return Unit((None, None), cast("Action", kernel))


def _scalar_unary(op: pt.ScalarUnaryOp, memory: TileMemory) -> Unit:
    table = {
        pt.ScalarUnary.EXP: exp_table,
        pt.ScalarUnary.RECIPROCAL: reciprocal_table,
        pt.ScalarUnary.SQRT: sqrt_table,
    }[op.kind.data]()
    return Unit((None,), lambda value: cast("float", kernels.look_up(table, value)))


def _load_scalar(op: pt.LoadScalarOp, memory: TileMemory) -> Unit:
    words = memory.array_at(op.source)
    return Unit((_words(op, 0, memory),), lambda w: float(words[w]))


def _store_scalar(op: pt.StoreScalarOp, memory: TileMemory) -> Unit:
    words = memory.array_at(op.target)

    def action(value: float, w: int) -> None:
        words[w] = value

    return Unit((None, _words(op, 1, memory)), action)


def _load_index(op: pt.LoadIndexOp, memory: TileMemory) -> Unit:
    words = memory.array_at(op.source)
    return Unit((_words(op, 0, memory),), lambda w: int(words[w]))


UNIT_BINDERS: Mapping[type[Operation], Callable[[Any, TileMemory], Unit]] = {
    pt.LoadMatrixOp: _load_matrix,
    pt.LoadRowsOp: _load_rows,
    pt.StoreRowsOp: _store_rows,
    pt.AccumulateOp: _accumulate,
    pt.WriteOutOp: _write_out,
    pt.RowBinaryOp: _row_binary,
    pt.RowScalarOp: _row_scalar,
    pt.RowUnaryOp: _row_unary,
    pt.RowShiftOp: _row_shift,
    pt.RowReduceOp: _row_reduce,
    pt.RowFillOp: _row_fill,
    pt.RowTopkOp: _row_topk,
    pt.ConstantOp: _constant,
    pt.ScalarBinaryOp: _scalar_binary,
    pt.ScalarUnaryOp: _scalar_unary,
    pt.LoadScalarOp: _load_scalar,
    pt.StoreScalarOp: _store_scalar,
    pt.LoadIndexOp: _load_index,
}
"""How each unit operation is bound."""
