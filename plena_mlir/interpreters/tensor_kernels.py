"""What every plena_tensor op computes, in torch and float32.

`KERNELS` maps an op class to a function of the op (for its properties) and its operands' values. Floats are float32, ids
int64, masks bool. The hardware golden starts from this table and replaces the entries whose roundings differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import Any, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from xdsl.dialects.builtin import Float32Type, IntegerType
from xdsl.ir import Attribute, Operation

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError
from plena_mlir.interpreters.tensor_experts import EXPERT_KERNELS

Kernel: TypeAlias = Callable[..., Tensor]
KERNELS: dict[type[Operation], Kernel] = {}


def torch_dtype(element: Attribute) -> torch.dtype:
    """The torch type of an element type of the dialect: f32, i64 or i1."""
    if isinstance(element, Float32Type):
        return torch.float32
    if isinstance(element, IntegerType) and element.width.data in (1, 64):
        return torch.bool if element.width.data == 1 else torch.int64
    raise LoweringError(f"no tensor of {element} can be run", hint="the dialect holds f32, i64 and i1")


def kernel(op_type: type[Operation]) -> Callable[[Kernel], Kernel]:
    """Register the decorated function as what `op_type` computes."""

    def register(function: Kernel) -> Kernel:
        KERNELS[op_type] = function
        return function

    return register


ELEMENTWISE: dict[type[pt.TensorOp], Kernel] = {
    pt.AddOp: torch.add,
    pt.SubOp: torch.sub,
    pt.MulOp: torch.mul,
    pt.DivOp: torch.div,
    pt.PowOp: torch.pow,
    pt.MaximumOp: torch.maximum,
    pt.MinimumOp: torch.minimum,
    pt.NegOp: torch.neg,
    pt.ExpOp: torch.exp,
    pt.LogOp: torch.log,
    pt.SqrtOp: torch.sqrt,
    pt.RsqrtOp: torch.rsqrt,
    pt.ReciprocalOp: torch.reciprocal,
    pt.TanhOp: torch.tanh,
    pt.SigmoidOp: torch.sigmoid,
    pt.SiluOp: F.silu,
    pt.ReluOp: torch.relu,
    pt.AbsOp: torch.abs,
    pt.CosOp: torch.cos,
    pt.SinOp: torch.sin,
    pt.WhereOp: torch.where,
    pt.MatmulOp: torch.matmul,
    pt.LinearOp: F.linear,
}
"""Ops whose torch function takes the operands and nothing else."""


def _ignore_op(function: Kernel) -> Kernel:
    return lambda _op, *args: function(*args)


KERNELS.update({op_type: _ignore_op(function) for op_type, function in ELEMENTWISE.items()})


@kernel(pt.GeluOp)
def gelu(op: pt.GeluOp, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=op.approximate.data)


@kernel(pt.CastOp)
def cast_elements(op: pt.CastOp, x: Tensor) -> Tensor:
    return x.to(torch_dtype(pt.element_of(op.result)))


@kernel(pt.ConstantOp)
def constant(op: pt.ConstantOp) -> Tensor:
    values = cast("list[float]", list(op.value.get_values()))
    shape = op.value.get_shape()
    dtype = torch_dtype(op.value.get_element_type())
    if len(values) == 1:
        return torch.full(shape, values[0], dtype=dtype)
    return torch.tensor(values, dtype=dtype).reshape(shape)


@kernel(pt.IdentityOp)
def identity(op: pt.IdentityOp) -> Tensor:
    return torch.eye(pt.shape_of(op.result)[0])


@kernel(pt.BandMaskOp)
def band_mask(op: pt.BandMaskOp) -> Tensor:
    queries, keys = pt.shape_of(op.result)
    distance = torch.arange(queries)[:, None] + op.offset.value.data - torch.arange(keys)
    seen = distance >= 0
    if op.window is not None:
        seen &= distance < op.window.value.data
    return torch.where(seen, 0.0, op.fill.value.data)


@kernel(pt.ReshapeOp)
def reshape(op: pt.ReshapeOp, x: Tensor) -> Tensor:
    return x.reshape(pt.shape_of(op.result))


@kernel(pt.ExpandOp)
def expand(op: pt.ExpandOp, x: Tensor) -> Tensor:
    return x.expand(pt.shape_of(op.result))


@kernel(pt.PermuteOp)
def permute(op: pt.PermuteOp, x: Tensor) -> Tensor:
    return x.permute(op.order)


@kernel(pt.SliceOp)
def slice_elements(op: pt.SliceOp, x: Tensor) -> Tensor:
    window = [slice(None)] * x.dim()
    window[op.dim.value.data] = slice(op.start.value.data, op.end.value.data, op.step.value.data)
    return x[tuple(window)]


@kernel(pt.EmptyRowsOp)
def empty_rows(op: pt.EmptyRowsOp) -> Tensor:
    return torch.zeros(pt.shape_of(op.result))


@kernel(pt.TakeRowsOp)
def take_rows(op: pt.TakeRowsOp, x: Tensor, block: int) -> Tensor:
    start = block * op.block_rows.value.data
    return x[start : start + pt.shape_of(op.result)[0]]


@kernel(pt.PutRowsOp)
def put_rows(op: pt.PutRowsOp, x: Tensor, rows: Tensor, block: int) -> Tensor:
    start = block * op.block_rows.value.data
    result = x.clone()
    result[start : start + rows.shape[0]] = rows
    return result


@kernel(pt.ConcatOp)
def concat(op: pt.ConcatOp, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, dim=op.dim.value.data)


@kernel(pt.SumOp)
def total(op: pt.SumOp, x: Tensor) -> Tensor:
    return x.sum(op.axes, keepdim=op.keepdim is not None)


@kernel(pt.SumRowsOp)
def sum_rows(op: pt.SumRowsOp, x: Tensor) -> Tensor:
    return x.reshape(op.sequences.value.data, op.rows, x.shape[1]).sum(1)


@kernel(pt.MeanOp)
def mean(op: pt.MeanOp, x: Tensor) -> Tensor:
    return x.mean(op.axes, keepdim=op.keepdim is not None)


@kernel(pt.AmaxOp)
def amax(op: pt.AmaxOp, x: Tensor) -> Tensor:
    return x.amax(op.axes, keepdim=op.keepdim is not None)


@kernel(pt.SoftmaxOp)
def softmax(op: pt.SoftmaxOp, x: Tensor) -> Tensor:
    return torch.softmax(x, op.dim.value.data)


@kernel(pt.EmbeddingOp)
def embedding(_op: pt.EmbeddingOp, table: Tensor, ids: Tensor) -> Tensor:
    return F.embedding(ids, table)


def in_groups(x: Tensor, groups: int) -> Tensor:
    """The last dimension as [groups, elements of one group]."""
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def rows_of_groups(row: Tensor, x: Tensor) -> Tensor:
    """A gain or bias, of all features or of one group, in a shape that broadcasts to x [..., groups, size]."""
    return row.reshape(-1, x.shape[-1])


@kernel(pt.LayerNormOp)
def layer_norm(op: pt.LayerNormOp, x: Tensor, *gain_and_bias: Tensor) -> Tensor:
    split = in_groups(x, op.group_count)
    y = F.layer_norm(split, (split.shape[-1],), eps=op.eps.value.data)
    parts = iter(gain_and_bias)
    if op.gain is not None:
        y = y * rows_of_groups(next(parts), y)
    if op.bias is not None:
        y = y + rows_of_groups(next(parts), y)
    return y.reshape(x.shape)


@kernel(pt.SdpaOp)
def sdpa(op: pt.SdpaOp, q: Tensor, k: Tensor, v: Tensor, *optional: Tensor) -> Tensor:
    scale = 1.0 / sqrt(q.shape[-1]) if op.scale is None else op.scale.value.data
    is_causal, gqa = op.is_causal is not None, op.gqa is not None
    if op.soft_cap is not None or op.sinks is not None:
        return general_sdpa(op, q * scale, k, v, *optional)
    mask = optional[0] if optional else None
    return F.scaled_dot_product_attention(q, k, v, mask, is_causal=is_causal, scale=scale, enable_gqa=gqa)


def capped(x: Tensor, cap: float) -> Tensor:
    """cap * tanh(x / cap)."""
    return torch.tanh(x / cap) * cap


def general_sdpa(op: pt.SdpaOp, q: Tensor, k: Tensor, v: Tensor, *optional: Tensor) -> Tensor:
    """Attention with a cap on the scores or with sinks, which torch has no function for; q is scaled.

    `optional` holds the values of the operands `mask` and `sinks`, as far as the op has them.
    """
    group = q.shape[-3] // k.shape[-3]
    k, v = (x.repeat_interleave(group, dim=-3) for x in (k, v))
    scores = q @ k.transpose(-2, -1)
    if op.soft_cap is not None:
        scores = capped(scores, op.soft_cap.value.data)
    hidden = torch.zeros(scores.shape[-2:], dtype=torch.bool)
    if op.is_causal is not None:
        hidden = ~torch.ones_like(hidden).tril()
    if op.mask is not None:
        mask = optional[0]
        if mask.dtype == torch.bool:
            hidden = hidden | ~mask
        else:
            scores = scores + mask
    return softmax_with_sinks(scores.masked_fill(hidden, -torch.inf), None if op.sinks is None else optional[-1]) @ v


def softmax_with_sinks(scores: Tensor, sinks: Tensor | None) -> Tensor:
    """The softmax of scores [..., heads, R, T], in whose sums the sink [heads] of each head takes part."""
    if sinks is None:
        return torch.softmax(scores, dim=-1)
    column = sinks[:, None, None].expand(*scores.shape[:-1], 1)
    return torch.softmax(torch.cat([scores, column], dim=-1), dim=-1)[..., :-1]


def attention_sinks(op: pt.AttentionOp, optional: Sequence[Any]) -> Tensor | None:
    """The value of the operand `sinks` among those of the optional operands, as far as the op has them."""
    return None if op.sinks is None else optional[0 if op.mask is None else 1]


@kernel(pt.SoftCapOp)
def soft_cap(op: pt.SoftCapOp, x: Tensor) -> Tensor:
    return capped(x, op.cap.value.data)


@kernel(pt.RmsNormOp)
def rms_norm(op: pt.RmsNormOp, x: Tensor, gain: Tensor | None = None) -> Tensor:
    split = in_groups(x, op.group_count)
    y = split * torch.rsqrt(split.square().mean(-1, keepdim=True) + op.eps.value.data)
    return (y if gain is None else y * rows_of_groups(gain, y)).reshape(x.shape)


def rotate_half(x: Tensor, *, interleaved: bool) -> Tensor:
    """[a, b] -> [-b, a], a and b the halves of the last dimension, or its even and odd lanes."""
    if interleaved:
        return torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).reshape(x.shape)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([-second, first], dim=-1)


@kernel(pt.RopeOp)
def rope(op: pt.RopeOp, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    heads = in_groups(x, op.heads.value.data)
    turned, rest = heads[..., : cos.shape[1]], heads[..., cos.shape[1] :]
    rotated = rotate_half(turned, interleaved=op.interleaved is not None)
    turned = turned * cos[:, None] + rotated * sin[:, None]
    return torch.cat([turned, rest], dim=-1).reshape(x.shape)


def split_heads(op: pt.AttentionOp, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rank 2 operands of attention as [heads, rows, d], key heads repeated for the query heads they serve."""
    heads, kv_heads = op.heads.value.data, op.kv_heads.value.data
    q3 = q.reshape(q.shape[0], heads, -1).transpose(0, 1)
    k3, v3 = (x.reshape(x.shape[0], kv_heads, -1).transpose(0, 1) for x in (k, v))
    group = heads // kv_heads
    return q3, k3.repeat_interleave(group, dim=0), v3.repeat_interleave(group, dim=0)


def attention_bias(op: pt.AttentionOp, queries: int, keys: int, optional: Sequence[Any]) -> Tensor:
    """What is added to the scores: the explicit mask, or 0 and -inf for the kinds that have a rule; [.., queries, keys].

    `optional` holds the values of the operands `mask`, `sinks` and `block`, as far as the op has them.
    """
    if op.mask is not None:
        return optional[0]
    first = keys - queries if op.block_rows is None else optional[-1] * op.block_rows.value.data
    kind = pt.MaskKind(op.mask_kind.data)
    distance = torch.arange(queries)[:, None] + first - torch.arange(keys)[None, :]
    hidden = torch.zeros(queries, keys, dtype=torch.bool)
    if kind in (pt.MaskKind.CAUSAL, pt.MaskKind.SLIDING):
        hidden |= distance < 0
    if op.window is not None:
        hidden |= distance >= op.window.value.data
    return torch.zeros(queries, keys).masked_fill(hidden, -torch.inf)


def by_sequence(attend: Kernel) -> Kernel:
    """`attend`, of one sequence, for each of the sequences of an attention by itself; rows of none are zeros."""

    def attend_each(op: pt.AttentionOp, q: Tensor, k: Tensor, v: Tensor, *optional: Any) -> Tensor:
        if not op.parts:
            return attend(op, q, k, v, *optional)
        result = torch.zeros(pt.shape_of(op.result))
        for first, count in op.parts:
            rows = slice(first, first + count)
            own = [optional[0][..., rows, :count], *optional[1:]] if op.mask is not None else optional
            result[rows] = attend(op, q[rows], k[rows], v[rows], *own)
        return result

    return attend_each


@kernel(pt.AttentionOp)
@by_sequence
def attention(op: pt.AttentionOp, q: Tensor, k: Tensor, v: Tensor, *optional: Any) -> Tensor:
    q3, k3, v3 = split_heads(op, q, k, v)
    scores = q3 @ k3.transpose(1, 2) * op.scale.value.data
    if op.soft_cap is not None:
        scores = capped(scores, op.soft_cap.value.data)
    scores = scores + attention_bias(op, q.shape[0], k.shape[0], optional)
    return (softmax_with_sinks(scores, attention_sinks(op, optional)) @ v3).transpose(0, 1).reshape(q.shape[0], -1)


KERNELS.update(EXPERT_KERNELS)


@kernel(pt.QuantizeOp)
def quantize(_op: pt.QuantizeOp, x: Tensor) -> Tensor:
    """Identity: float32 runs see the values before quantization."""
    return x


def call_kernel(kernels: Mapping[type[Operation], Kernel], op: Operation, args: tuple[Any, ...]) -> Tensor:
    """The value of `op`'s result for these operand values."""
    if type(op) not in kernels:
        raise LoweringError(f"{op.name} has no execution in this precision", where=module_path(op) or None)
    return kernels[type(op)](op, *args)
