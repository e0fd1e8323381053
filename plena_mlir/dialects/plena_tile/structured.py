"""Operations on whole buffers, which the expansion passes turn into loops over unit operations.

Activations are buffers [column blocks, rows, VLEN] in Vector SRAM: row r of column block c holds features c*VLEN .. of token r.
Matrices are buffers [n blocks, k blocks, MLEN, MLEN] of tiles in HBM.
"""

from __future__ import annotations

from xdsl.dialects.builtin import FloatAttr, IndexType, IntegerAttr, MemRefType, StringAttr, UnitAttr, f64, i64
from xdsl.ir import SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
    traits_def,
)
from xdsl.traits import MemoryReadEffect, MemoryWriteEffect
from xdsl.utils.exceptions import VerifyException
from xdsl.utils.hints import isa

from plena_mlir.dialects.plena_tile.attributes import Space, Strategy, StrategyAttr
from plena_mlir.dialects.plena_tile.memory import Buffer, space_of


@irdl_op_definition
class MatmulOp(IRDLOperation):
    """out[n][r] = sum over k of x[k][r] times tile (n, k) of w: transposed tiles hold [outputs, inputs], others [inputs, outputs].

    x: [k blocks, rows, VLEN] in vram; w: [n blocks, k blocks, MLEN, MLEN] in hbm; out: [n blocks, rows, VLEN] in vram.
    `strategy` is chosen by the lowering that makes the product; with `broadcast` the matrix unit's constant factor of 1/4 stays in
    the result unless the tiles carry its inverse, which the producer of w arranges. `accumulate` adds to out instead of replacing
    it.
    """

    name = "plena_tile.matmul"
    x = operand_def(MemRefType)
    w = operand_def(MemRefType)
    out = operand_def(MemRefType)
    strategy = opt_prop_def(StrategyAttr)
    transposed = opt_prop_def(UnitAttr)
    accumulate = opt_prop_def(UnitAttr)
    traits = traits_def(MemoryReadEffect(), MemoryWriteEffect())
    irdl_options = (ParsePropInAttrDict(),)
    assembly_format = "$x `,` $w `->` $out attr-dict `:` type($x) `,` type($w) `->` type($out)"

    def __init__(
        self,
        x: SSAValue,
        w: SSAValue,
        out: SSAValue,
        *,
        transposed: bool,
        strategy: Strategy | None = None,
        accumulate: bool = False,
    ) -> None:
        super().__init__(
            operands=[x, w, out],
            properties={
                "strategy": None if strategy is None else StrategyAttr(strategy),
                "transposed": UnitAttr() if transposed else None,
                "accumulate": UnitAttr() if accumulate else None,
            },
        )

    def verify_(self) -> None:
        x, w, out = self.x.type, self.w.type, self.out.type
        if not (isa(x, Buffer) and isa(w, Buffer) and isa(out, Buffer)):
            raise VerifyException("operands must be buffers")
        if (space_of(x), space_of(w), space_of(out)) != (Space.VRAM, Space.HBM, Space.VRAM):
            raise VerifyException("matmul takes rows from vram and tiles from hbm")
        (kb, rows, _), (wn, wk, _, _), (nb, out_rows, _) = x.get_shape(), w.get_shape(), out.get_shape()
        if (kb, nb, rows) != (wk, wn, out_rows):
            raise VerifyException(f"x has {kb}x{rows} blocks x rows, w {wn}x{wk} tiles, out {nb}x{out_rows}")


@irdl_op_definition
class AttentionOp(IRDLOperation):
    """out = softmax(q k^T + mask) v per head, by online softmax over blocks of MLEN keys.

    q, out: [heads * d blocks, rows, VLEN] in vram, the heads' features padded to whole column blocks.
    k, v: [kv heads, d blocks, keys, VLEN] in hbm. The scale is already in q. With a `soft_cap` c the scores are c tanh(q k^T).
    mask: [blocks, rows, VLEN], added to the scores. By `mask_kind`:
    `causal`: blocks of keys after the diagonal are not visited; the mask is indexed by how many blocks lie between a block of keys
    and the diagonal, and by the row within a block of queries (a sliding window is a causal mask with hidden keys farther away).
    `none`: indexed by the block of keys, one row for all queries. `explicit`: by the block of keys and the query.
    sinks: [1, heads, VLEN] in vram; row h holds in every lane one more score of head h, which counts in the sums of the softmax and
    has no value.
    With a `number`, the rows are one block of a longer sequence, the `number`-th counted from 1.
    """

    name = "plena_tile.attention"
    q = operand_def(MemRefType)
    k = operand_def(MemRefType)
    v = operand_def(MemRefType)
    mask = opt_operand_def(MemRefType)
    sinks = opt_operand_def(MemRefType)
    out = operand_def(MemRefType)
    number = opt_operand_def(IndexType)
    heads = prop_def(IntegerAttr)
    mask_kind = prop_def(StringAttr)
    soft_cap = opt_prop_def(FloatAttr)
    scores_strategy = opt_prop_def(StrategyAttr)
    values_strategy = opt_prop_def(StrategyAttr)
    traits = traits_def(MemoryReadEffect(), MemoryWriteEffect())
    irdl_options = (ParsePropInAttrDict(), AttrSizedOperandSegments(as_property=True))
    assembly_format = (
        "$q `,` $k `,` $v (`mask` $mask^)? (`sinks` $sinks^)? `->` $out (`number` $number^)? attr-dict "
        "`:` type($q) `,` type($k) `,` type($v) (`,` type($mask)^)? (`sinks` type($sinks)^)? `->` type($out)"
    )

    def __init__(
        self,
        q: SSAValue,
        k: SSAValue,
        v: SSAValue,
        mask: SSAValue | None,
        out: SSAValue,
        number: SSAValue | None = None,
        *,
        heads: int,
        mask_kind: str,
        soft_cap: float | None = None,
        sinks: SSAValue | None = None,
    ) -> None:
        mask_and_sinks = [[] if operand is None else [operand] for operand in (mask, sinks)]
        super().__init__(
            operands=[q, k, v, *mask_and_sinks, out, [] if number is None else [number]],
            properties={
                "heads": IntegerAttr(heads, i64),
                "mask_kind": StringAttr(mask_kind),
                "soft_cap": None if soft_cap is None else FloatAttr(soft_cap, f64),
            },
        )
