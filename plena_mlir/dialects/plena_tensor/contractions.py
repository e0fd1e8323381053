"""Reductions, matrix products and the composite primitives of ATen: softmax, layer norm, embedding, attention."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence

from xdsl.dialects.builtin import (
    I64,
    DenseArrayBase,
    Float64Type,
    FloatAttr,
    IntegerAttr,
    TensorType,
    UnitAttr,
    f64,
    i1,
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
    check_grouped_rows,
    element_of,
    int_array,
    linear_shape,
    matmul_shape,
    normal_dim,
    reduced_shape,
    require,
    sdpa_shape,
    shape_of,
)


class ReductionOp(TensorOp, ABC):
    """A reduction over `dims` (all of them when empty); reduced dimensions stay as size 1 with `keepdim`."""

    x = operand_def(TensorType)
    dims = prop_def(DenseArrayBase.constr(i64))
    keepdim = opt_prop_def(UnitAttr)

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, dims: Sequence[int], *, keepdim: bool = False) -> None:
        properties = {"dims": int_array(dims), "keepdim": UnitAttr() if keepdim else None}
        self.build_like([x], reduced_shape(shape_of(x), dims, keepdim), properties)

    @property
    def axes(self) -> tuple[int, ...]:
        """The reduced dimensions, counted from the front."""
        rank = len(shape_of(self.x))
        found = tuple(normal_dim(int(value), rank) for value in self.dims.get_values())
        return found or tuple(range(rank))

    def expected_shape(self) -> Shape:
        return reduced_shape(shape_of(self.x), self.axes, self.keepdim is not None)


@irdl_op_definition
class SumOp(ReductionOp):
    """The sum over `dims`."""

    name = "plena_tensor.sum"


@irdl_op_definition
class MeanOp(ReductionOp):
    """The arithmetic mean over `dims`."""

    name = "plena_tensor.mean"


@irdl_op_definition
class AmaxOp(ReductionOp):
    """The maximum over `dims`."""

    name = "plena_tensor.amax"


@irdl_op_definition
class SoftmaxOp(TensorOp):
    """exp(x - max) / sum(exp(x - max)) along `dim`."""

    name = "plena_tensor.softmax"

    x = operand_def(TensorType)
    dim = prop_def(IntegerAttr[I64])

    assembly_format = "$x attr-dict `:` type($x) `->` type($result)"

    def __init__(self, x: SSAValue | Operation, dim: int) -> None:
        self.build_like([x], shape_of(x), {"dim": IntegerAttr(dim, i64)})

    def expected_shape(self) -> Shape:
        normal_dim(self.dim.value.data, len(shape_of(self.x)))
        return shape_of(self.x)


@irdl_op_definition
class MatmulOp(TensorOp):
    """lhs [..., M, K] times rhs [..., K, N]; leading dimensions broadcast."""

    name = "plena_tensor.matmul"

    lhs = operand_def(TensorType)
    rhs = operand_def(TensorType)

    assembly_format = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)"

    def __init__(self, lhs: SSAValue | Operation, rhs: SSAValue | Operation) -> None:
        self.build_like([lhs, rhs], matmul_shape(shape_of(lhs), shape_of(rhs)))

    def expected_shape(self) -> Shape:
        return matmul_shape(shape_of(self.lhs), shape_of(self.rhs))


@irdl_op_definition
class LinearOp(TensorOp):
    """x [..., K] times the transpose of weight [N, K], plus bias [N] if there is one."""

    name = "plena_tensor.linear"

    x = operand_def(TensorType)
    weight = operand_def(TensorType)
    bias = opt_operand_def(TensorType)

    assembly_format = "$x `,` $weight (`,` $bias^)? attr-dict `:` functional-type(operands, results)"

    def __init__(self, x: SSAValue | Operation, weight: SSAValue | Operation, bias: SSAValue | Operation | None = None) -> None:
        shape = linear_shape(shape_of(x), shape_of(weight), None if bias is None else shape_of(bias))
        self.build_like([x, weight, [] if bias is None else [bias]], shape)

    def expected_shape(self) -> Shape:
        bias = None if self.bias is None else shape_of(self.bias)
        return linear_shape(shape_of(self.x), shape_of(self.weight), bias)


@irdl_op_definition
class EmbeddingOp(TensorOp):
    """Row ids[i] of table [V, H] for every i64 id: ids [...] -> [..., H]."""

    name = "plena_tensor.embedding"

    table = operand_def(TensorType)
    ids = operand_def(TensorType)

    assembly_format = "$table `,` $ids attr-dict `:` type($table) `,` type($ids) `->` type($result)"

    def __init__(self, table: SSAValue | Operation, ids: SSAValue | Operation) -> None:
        self.build_like([table, ids], (*shape_of(ids), shape_of(table)[-1]))

    def expected_shape(self) -> Shape:
        require(len(shape_of(self.table)) == 2, f"the table must be [rows, features], got {shape_of(self.table)}")
        require(element_of(self.ids) == i64, f"ids must be i64, not {element_of(self.ids)}")
        return (*shape_of(self.ids), shape_of(self.table)[1])


@irdl_op_definition
class LayerNormOp(TensorOp):
    """(x - mean) / sqrt(variance + eps) over the last dimension, times gain, plus bias, if there are any.

    With `groups` (heads), each of so many equal parts of the last dimension is normalised by itself. Gain and bias are [F], or
    [F / groups] and the same for every group.
    """

    name = "plena_tensor.layer_norm"

    x = operand_def(TensorType)
    gain = opt_operand_def(TensorType)
    bias = opt_operand_def(TensorType)
    eps = prop_def(FloatAttr[Float64Type])
    groups = opt_prop_def(IntegerAttr[I64])

    irdl_options = (ParsePropInAttrDict(), AttrSizedOperandSegments(as_property=True))
    assembly_format = (
        "$x (`gain` `(` $gain^ `:` type($gain) `)`)? (`bias` `(` $bias^ `:` type($bias) `)`)?"
        " attr-dict `:` type($x) `->` type($result)"
    )

    def __init__(
        self,
        x: SSAValue | Operation,
        gain: SSAValue | Operation | None,
        bias: SSAValue | Operation | None,
        eps: float,
        groups: int = 1,
    ) -> None:
        operands = [x, [] if gain is None else [gain], [] if bias is None else [bias]]
        self.build_like(
            operands, shape_of(x), {"eps": FloatAttr(eps, f64), "groups": None if groups == 1 else IntegerAttr(groups, i64)}
        )

    @property
    def group_count(self) -> int:
        """How many parts of the last dimension are normalised each by itself."""
        return 1 if self.groups is None else self.groups.value.data

    def expected_shape(self) -> Shape:
        rows = [shape_of(part) for part in (self.gain, self.bias) if part is not None]
        check_grouped_rows(shape_of(self.x)[-1], self.group_count, *rows)
        return shape_of(self.x)


@irdl_op_definition
class SdpaOp(TensorOp):
    """ATen's scaled dot product attention: softmax(q k^T * scale + mask) v.

    q [..., H, L, E], k [..., G, S, E], v [..., G, S, D] -> [..., H, L, D]. G = H, or with `gqa` H is a multiple of G and query
    head h reads key head h / (H / G). The mask broadcasts to [..., H, L, S]: f32 is added to the scores, i1 keeps where
    true. `is_causal` keeps key s for query l when s <= l. Without `scale` it is 1 / sqrt(E). With `soft_cap` c, scaled scores s
    become c tanh(s / c) before the mask. `sinks` [H] are one more score for every query of a head, which takes its share of the
    softmax and has no value.
    """

    name = "plena_tensor.sdpa"

    q = operand_def(TensorType)
    k = operand_def(TensorType)
    v = operand_def(TensorType)
    mask = opt_operand_def(TensorType)
    sinks = opt_operand_def(TensorType)
    is_causal = opt_prop_def(UnitAttr)
    gqa = opt_prop_def(UnitAttr)
    scale = opt_prop_def(FloatAttr[Float64Type])
    soft_cap = opt_prop_def(FloatAttr[Float64Type])

    irdl_options = (ParsePropInAttrDict(), AttrSizedOperandSegments(as_property=True))
    assembly_format = (
        "$q `,` $k `,` $v (`mask` $mask^)? (`sinks` $sinks^)? attr-dict "
        "`:` `(` type($q) `,` type($k) `,` type($v) (`,` type($mask)^)? (`sinks` type($sinks)^)? `)` `->` type($result)"
    )

    def __init__(
        self,
        q: SSAValue | Operation,
        k: SSAValue | Operation,
        v: SSAValue | Operation,
        mask: SSAValue | Operation | None = None,
        *,
        is_causal: bool = False,
        scale: float | None = None,
        gqa: bool = False,
        soft_cap: float | None = None,
        sinks: SSAValue | Operation | None = None,
    ) -> None:
        properties: dict[str, Attribute | None] = {
            "is_causal": UnitAttr() if is_causal else None,
            "gqa": UnitAttr() if gqa else None,
            "scale": None if scale is None else FloatAttr(scale, f64),
            "soft_cap": None if soft_cap is None else FloatAttr(soft_cap, f64),
        }
        mask_shape = None if mask is None else shape_of(mask)
        shape = sdpa_shape(shape_of(q), shape_of(k), shape_of(v), mask_shape, gqa=gqa)
        optional = [[] if operand is None else [operand] for operand in (mask, sinks)]
        self.build_like([q, k, v, *optional], shape, properties)

    def expected_shape(self) -> Shape:
        mask = None if self.mask is None else shape_of(self.mask)
        if self.mask is not None:
            require(element_of(self.mask) in (i1, element_of(self.q)), f"the mask must be f32 or i1, not {element_of(self.mask)}")
        require(self.sinks is None or shape_of(self.sinks) == shape_of(self.q)[-3:-2], "sinks are one number per query head")
        return sdpa_shape(shape_of(self.q), shape_of(self.k), shape_of(self.v), mask, gqa=self.gqa is not None)
