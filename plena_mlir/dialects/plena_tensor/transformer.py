"""Transformer ops that the raising passes recover; activations are rank 2, [rows, features]."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from xdsl.dialects.builtin import (
    I64,
    DenseArrayBase,
    Float64Type,
    FloatAttr,
    IndexType,
    IntegerAttr,
    StringAttr,
    TensorType,
    UnitAttr,
    f64,
    i64,
)
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    ParsePropInAttrDict,
    irdl_op_definition,
    operand_def,
    opt_operand_def,
    opt_prop_def,
    prop_def,
)

from plena_mlir.dialects.plena_tensor.base import TensorOp
from plena_mlir.dialects.plena_tensor.shapes import (
    Shape,
    broadcast_shape,
    check_grouped_rows,
    int_array,
    require,
    shape_of,
)

MAX_TERMS = 4
"""MX tensors that an exact value is the sum of, at most: any more would add less than bf16 holds."""


class MaskKind(StrEnum):
    """Which keys a query may see, as recognised from the values of the mask."""

    NONE = "none"
    CAUSAL = "causal"
    SLIDING = "sliding"
    EXPLICIT = "explicit"


class QuantizeFormat(StrEnum):
    """The storage format of a quantized tensor; the target's precisions say what each is."""

    WEIGHT = "weight"
    KV = "kv"
    ACT = "act"
    EXACT = "exact"


@irdl_op_definition
class RmsNormOp(TensorOp):
    """x / sqrt(mean(x^2) + eps) over the last dimension, times gain if there is one.

    With `groups` (heads), each of so many equal parts of the last dimension is normalised by itself. The gain is [F], or
    [F / groups] and the same for every group.
    """

    name = "plena_tensor.rms_norm"

    x = operand_def(TensorType)
    gain = opt_operand_def(TensorType)
    eps = prop_def(FloatAttr[Float64Type])
    groups = opt_prop_def(IntegerAttr[I64])

    assembly_format = "$x (`,` $gain^)? attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue | Operation, gain: SSAValue | Operation | None, eps: float, groups: int = 1) -> None:
        properties = {"eps": FloatAttr(eps, f64), "groups": None if groups == 1 else IntegerAttr(groups, i64)}
        self.build_like([x, [] if gain is None else [gain]], shape_of(x), properties)

    @property
    def group_count(self) -> int:
        """How many parts of the last dimension are normalised each by itself."""
        return 1 if self.groups is None else self.groups.value.data

    def expected_shape(self) -> Shape:
        check_grouped_rows(shape_of(self.x)[-1], self.group_count, *([] if self.gain is None else [shape_of(self.gain)]))
        return shape_of(self.x)


@irdl_op_definition
class RopeOp(TensorOp):
    """Rotary position embedding: per head x * cos + rotate_half(x) * sin.

    x [rows, heads * d]; cos and sin [rows, r] with r <= d even: the first r lanes of each head turn, the others pass
    (partial rotary). rotate_half([a, b]) = [-b, a] on halves of r / 2; with `interleaved`, on pairs of neighbouring lanes.
    """

    name = "plena_tensor.rope"

    x = operand_def(TensorType)
    cos = operand_def(TensorType)
    sin = operand_def(TensorType)
    heads = prop_def(IntegerAttr[I64])
    interleaved = opt_prop_def(UnitAttr)

    assembly_format = "$x `,` $cos `,` $sin attr-dict `:` functional-type(operands, results)"

    def __init__(
        self,
        x: SSAValue | Operation,
        cos: SSAValue | Operation,
        sin: SSAValue | Operation,
        heads: int,
        *,
        interleaved: bool = False,
    ) -> None:
        properties = {"heads": IntegerAttr(heads, i64), "interleaved": UnitAttr() if interleaved else None}
        self.build_like([x, cos, sin], shape_of(x), properties)

    def expected_shape(self) -> Shape:
        x, cos, sin, heads = shape_of(self.x), shape_of(self.cos), shape_of(self.sin), self.heads.value.data
        require(len(x) == 2 and x[1] % heads == 0, f"rope needs [rows, {heads} heads * d], got {x}")
        require(
            cos == sin and len(cos) == 2 and cos[0] == x[0] and cos[1] % 2 == 0 and cos[1] <= x[1] // heads,
            f"rope tables {cos} and {sin} do not fit {x} with {heads} heads",
        )
        return x


@irdl_op_definition
class AttentionOp(TensorOp):
    """softmax(q k^T * scale, masked) v for every head, on rank 2 operands; with `soft_cap` c, scores s become c tanh(s / c) first.

    q [R, heads * d], k [T, kv_heads * d], v [T, kv_heads * e] -> [R, heads * e]. Query head h reads key head
    h // (heads // kv_heads). `mask_kind`: none; causal (query r sees key t when t <= r + T - R); sliding (causal, and
    t > r + T - R - window); explicit (the f32 mask [R, T] or [heads, R, T] is added to the scores). With a `block`, the queries are
    the rows from `block * block_rows` on of a sequence as long as the keys, and T - R above is that position. `sinks` [heads] are
    one more score for every query of a head, which takes its share of the softmax and has no value.

    With `sequences` (first row, rows, first row, rows, ...) each of these ranges of rows is a sequence of its own, which sees no
    other; rows outside are padding, and zeros in the result. An explicit mask then has, in each row, the keys of its own sequence
    from the first on.
    """

    name = "plena_tensor.attention"

    q = operand_def(TensorType)
    k = operand_def(TensorType)
    v = operand_def(TensorType)
    mask = opt_operand_def(TensorType)
    sinks = opt_operand_def(TensorType)
    block = opt_operand_def(IndexType)
    heads = prop_def(IntegerAttr[I64])
    kv_heads = prop_def(IntegerAttr[I64])
    scale = prop_def(FloatAttr[Float64Type])
    mask_kind = prop_def(StringAttr)
    window = opt_prop_def(IntegerAttr[I64])
    block_rows = opt_prop_def(IntegerAttr[I64])
    soft_cap = opt_prop_def(FloatAttr[Float64Type])
    sequences = opt_prop_def(DenseArrayBase.constr(i64))

    irdl_options = (ParsePropInAttrDict(), AttrSizedOperandSegments(as_property=True))
    assembly_format = (
        "$q `,` $k `,` $v (`mask` $mask^)? (`sinks` $sinks^)? (`block` $block^)? attr-dict "
        "`:` `(` type($q) `,` type($k) `,` type($v) (`,` type($mask)^)? (`sinks` type($sinks)^)? `)` `->` type($result)"
    )

    def __init__(
        self,
        q: SSAValue | Operation,
        k: SSAValue | Operation,
        v: SSAValue | Operation,
        mask: SSAValue | Operation | None = None,
        *,
        heads: int,
        kv_heads: int,
        scale: float,
        mask_kind: MaskKind,
        window: int | None = None,
        block: SSAValue | Operation | None = None,
        block_rows: int | None = None,
        soft_cap: float | None = None,
        sinks: SSAValue | Operation | None = None,
        sequences: Sequence[tuple[int, int]] = (),
    ) -> None:
        properties: dict[str, Attribute | None] = {
            "heads": IntegerAttr(heads, i64),
            "kv_heads": IntegerAttr(kv_heads, i64),
            "scale": FloatAttr(scale, f64),
            "mask_kind": StringAttr(mask_kind.value),
            "window": None if window is None else IntegerAttr(window, i64),
            "block_rows": None if block_rows is None else IntegerAttr(block_rows, i64),
            "soft_cap": None if soft_cap is None else FloatAttr(soft_cap, f64),
            "sequences": int_array([number for part in sequences for number in part]) if sequences else None,
        }
        shape = (shape_of(q)[0], shape_of(v)[1] // kv_heads * heads)
        optional = [[] if operand is None else [operand] for operand in (mask, sinks, block)]
        self.build_like([q, k, v, *optional], shape, properties)

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """(first row, rows) of each sequence; empty if all rows are one."""
        numbers = [] if self.sequences is None else [int(number) for number in self.sequences.get_values()]
        return tuple(zip(numbers[::2], numbers[1::2], strict=True))

    def _verify_sequences(self, rows: int, keys: int) -> None:
        require(self.sequences is None or len(self.sequences) % 2 == 0, "sequences are pairs of a first row and a number of rows")
        end = 0
        for first, count in self.parts:
            require(end <= first and count >= 1, f"sequences {self.parts} overlap, are empty or out of order")
            end = first + count
        require(not self.parts or (rows == keys and end <= rows), f"sequences {self.parts} do not lie in {rows} rows")
        require(not self.parts or self.block is None, "blocks of queries are those of one sequence")

    def expected_shape(self) -> Shape:
        require((self.block is None) == (self.block_rows is None), "a block and its number of rows go together")
        q, k, v = shape_of(self.q), shape_of(self.k), shape_of(self.v)
        heads, kv_heads = self.heads.value.data, self.kv_heads.value.data
        require(len(q) == len(k) == len(v) == 2, f"attention needs rank 2 operands, got {q}, {k}, {v}")
        require(heads % kv_heads == 0, f"{heads} query heads are no multiple of {kv_heads} key heads")
        require(q[1] % heads == 0 and k[1] % kv_heads == 0 and v[1] % kv_heads == 0, f"{q}, {k}, {v} do not split into heads")
        require(q[1] // heads == k[1] // kv_heads, f"query heads of {q[1] // heads} against key heads of {k[1] // kv_heads}")
        require(k[0] == v[0], f"{k[0]} keys but {v[0]} values")
        require(self.sinks is None or shape_of(self.sinks) == (heads,), "sinks are one number per query head")
        self._verify_sequences(q[0], k[0])
        longest = max((count for _, count in self.parts), default=k[0])
        self._verify_mask((heads, q[0], longest))
        return (q[0], v[1] // kv_heads * heads)

    def _verify_mask(self, scores: Shape) -> None:
        require(self.mask_kind.data in list(MaskKind), f"unknown mask kind {self.mask_kind}")
        kind = MaskKind(self.mask_kind.data)
        require((self.mask is not None) == (kind is MaskKind.EXPLICIT), f"a {kind} mask and its operand disagree")
        require((self.window is not None) == (kind is MaskKind.SLIDING), f"a {kind} mask and its window disagree")
        require(self.window is None or self.window.value.data >= 1, "a sliding window holds at least one key")
        if self.mask is not None:
            shape = shape_of(self.mask)
            require(len(shape) >= 2 and broadcast_shape(shape, scores) == scores, f"mask {shape} does not fit {scores}")


@irdl_op_definition
class QuantizeOp(TensorOp):
    """x as the machine stores it in HBM: MX blocks of 8 on the last dimension.

    `format` names the target's precision: "weight", "kv", "act", or "exact" for values that must survive, stored as the
    sum of `terms` MX tensors (each the quantized remainder of those before). The last dimension lies in groups of `group`
    (heads), each padded to whole blocks; without, it is one group. Identity when run in fp32.
    """

    name = "plena_tensor.quantize"

    x = operand_def(TensorType)
    format = prop_def(StringAttr)
    terms = prop_def(IntegerAttr[I64])
    group = opt_prop_def(IntegerAttr[I64])

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, format: QuantizeFormat, terms: int = 1, group: int | None = None) -> None:
        properties: dict[str, Attribute | None] = {
            "format": StringAttr(format.value),
            "terms": IntegerAttr(terms, i64),
            "group": None if group is None else IntegerAttr(group, i64),
        }
        self.build_like([x], shape_of(x), properties)

    def expected_shape(self) -> Shape:
        require(self.format.data in list(QuantizeFormat), f"unknown quantize format {self.format}")
        require(1 <= self.terms.value.data <= MAX_TERMS, f"between 1 and {MAX_TERMS} terms, not {self.terms.value.data}")
        group = 1 if self.group is None else self.group.value.data
        require(group >= 1 and shape_of(self.x)[-1] % group == 0, f"{shape_of(self.x)} does not divide into groups of {group}")
        return shape_of(self.x)
