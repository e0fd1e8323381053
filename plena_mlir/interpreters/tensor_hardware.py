"""The hardware golden: plena_tensor with the machine's storage formats and roundings, as an execution of its own in torch.

What is rounded is declared in `plena_tensor.roundings`; the order of summation is torch's. It runs the IR after weight folding
and assign-precision, so its MX bits are those of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from xdsl.ir import Operation

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena_tensor.roundings import ROUNDED
from plena_mlir.interpreters.tensor_kernels import KERNELS, Kernel, attention_bias, split_heads
from plena_mlir.numerics import mx_format, mx_quantize
from plena_mlir.target import Precisions

EXP_LIMIT = 88.0
"""V_EXP_V clamps its operand to -88 .. 88 (machine specification, section 4.2)."""


@dataclass(frozen=True)
class HardwareModes:
    """Which parts of the hardware a golden imitates.

    Attributes:
        bf16: round the steps of the table to bfloat16.
        quantize: apply quantize ops.
        quantize_weights: apply those of format "weight" too.
    """

    bf16: bool = True
    quantize: bool = True
    quantize_weights: bool = True


class Rounder:
    """Rounds the steps of one op that the table names; a step it does not name is an error of the golden."""

    def __init__(self, op: Operation, modes: HardwareModes) -> None:
        self._steps = ROUNDED[type(op)]
        self._active = modes.bf16

    def __call__(self, step: str, value: Tensor) -> Tensor:
        """The value rounded to bfloat16, as float32."""
        if step not in self._steps:
            raise KeyError(f"{step!r} is not in the rounding table")
        return value.to(torch.bfloat16).to(torch.float32) if self._active else value


def _exp(x: Tensor) -> Tensor:
    return torch.exp(x.clamp(-EXP_LIMIT, EXP_LIMIT))


def _add(_op: pt.AddOp, r: Rounder, x: Tensor, y: Tensor) -> Tensor:
    return r("sum", x + y)


def _mul(_op: pt.MulOp, r: Rounder, x: Tensor, y: Tensor) -> Tensor:
    return r("product", x * y)


def _gated(r: Rounder, x: Tensor, argument: Tensor) -> Tensor:
    """x * 1 / (1 + exp(-argument))."""
    denominator = r("denominator", 1.0 + r("exponential", _exp(-argument)))
    return r("product", x * r("reciprocal", 1.0 / denominator))


def _silu(_op: pt.SiluOp, r: Rounder, x: Tensor) -> Tensor:
    return _gated(r, x, x)


def _gelu(_op: pt.GeluOp, r: Rounder, x: Tensor) -> Tensor:
    """Both forms of gelu are computed by the tanh formula; the exact one differs from it by less than bfloat16 shows."""
    scale = 2.0 * sqrt(2.0 / pi)
    factor = r("factor", r("square", x * x) * (scale * 0.044715) + scale)
    return _gated(r, x, r("argument", x * factor))


def _embedding(_op: pt.EmbeddingOp, _r: Rounder, table: Tensor, ids: Tensor) -> Tensor:
    return table[ids]


def _slice(op: pt.SliceOp, _r: Rounder, x: Tensor) -> Tensor:
    return KERNELS[pt.SliceOp](op, x)


def _linear(_op: pt.LinearOp, r: Rounder, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = r("product", x @ weight.T)
    return product if bias is None else r("sum with bias", product + bias)


def _normalise(r: Rounder, x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) by rows."""
    total = r("sum", r("square", x * x).sum(-1, keepdim=True))
    mean = r("mean plus eps", r("mean", total * (1.0 / x.shape[-1])) + eps)
    return r("normal", x * r("reciprocal", 1.0 / r("root", mean.sqrt())))


def _rms_norm(op: pt.RmsNormOp, r: Rounder, x: Tensor, gain: Tensor | None = None) -> Tensor:
    normal = _normalise(r, x, op.eps.value.data)
    return normal if gain is None else r("product with gain", normal * gain)


def _layer_norm(op: pt.LayerNormOp, r: Rounder, x: Tensor, *gain_and_bias: Tensor) -> Tensor:
    mean = r("mean of lanes", r("sum of lanes", x.sum(-1, keepdim=True)) * (1.0 / x.shape[-1]))
    y = _normalise(r, r("centred", x - mean), op.eps.value.data)
    parts = iter(gain_and_bias)
    if op.gain is not None:
        y = r("product with gain", y * next(parts))
    return r("sum with bias", y + next(parts)) if op.bias is not None else y


def _rope(op: pt.RopeOp, r: Rounder, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    heads = x.reshape(x.shape[0], op.heads.value.data, -1)
    turned, rest = heads[..., : cos.shape[1]], heads[..., cos.shape[1] :]
    first, second = turned.chunk(2, dim=-1)
    straight = r("cosine product", turned * cos[:, None])
    rotated = r("sine product", torch.cat([-second, first], dim=-1) * sin[:, None])
    return torch.cat([r("sum", straight + rotated), rest], dim=-1).reshape(x.shape)


def _attention(op: pt.AttentionOp, r: Rounder, q: Tensor, k: Tensor, v: Tensor, *optional: Any) -> Tensor:
    q3, k3, v3 = split_heads(op, q, k, v)
    scores = r("score", q3 @ k3.transpose(1, 2) * op.scale.value.data)
    scores = r("masked score", scores + attention_bias(op, q.shape[0], k.shape[0], optional))
    weights = r("weight", _exp(r("difference", scores - scores.amax(-1, keepdim=True))))
    reciprocal = r("reciprocal", 1.0 / r("row sum", weights.sum(-1, keepdim=True)))
    product = r("scaled product", r("product", weights @ v3) * reciprocal)
    return product.transpose(0, 1).reshape(q.shape[0], -1)


def quantize_kernel(precisions: Precisions, modes: HardwareModes) -> Kernel:
    """What `quantize` does: each term is the MX form of what the terms before it left over."""
    names = {"weight": precisions.m_weight, "kv": precisions.m_kv, "act": precisions.v_act, "exact": precisions.v_act}

    def quantize(op: pt.QuantizeOp, x: Tensor) -> Tensor:
        if not modes.quantize or (op.format.data == "weight" and not modes.quantize_weights):
            return x
        fmt, r = mx_format(names[op.format.data]), Rounder(op, modes)
        width = x.shape[-1]
        left = (F.pad(x, (0, -width % fmt.block)) if width % fmt.block else x).numpy()
        total = torch.from_numpy(mx_quantize(left, fmt))
        term = total
        for _ in range(op.terms.value.data - 1):
            left = left - term.numpy()
            term = torch.from_numpy(mx_quantize(left, fmt))
            total = r("sum of terms", total + term)
        return total[..., :width]

    return quantize


_FORMS: dict[type[Operation], Callable[..., Tensor]] = {
    pt.AddOp: _add,
    pt.MulOp: _mul,
    pt.SiluOp: _silu,
    pt.GeluOp: _gelu,
    pt.EmbeddingOp: _embedding,
    pt.SliceOp: _slice,
    pt.LinearOp: _linear,
    pt.RmsNormOp: _rms_norm,
    pt.LayerNormOp: _layer_norm,
    pt.RopeOp: _rope,
    pt.AttentionOp: _attention,
}


def hardware_kernels(precisions: Precisions, modes: HardwareModes) -> dict[type[Operation], Kernel]:
    """Kernels for ops on activations. Ops that the canonical form does not have are absent."""

    def bind(form: Callable[..., Tensor]) -> Kernel:
        return lambda op, *args: form(op, Rounder(op, modes), *args)

    kernels = {op_type: bind(form) for op_type, form in _FORMS.items()}
    kernels |= {op_type: KERNELS[op_type] for op_type in (pt.EmptyRowsOp, pt.TakeRowsOp, pt.PutRowsOp)}
    return {**kernels, pt.QuantizeOp: quantize_kernel(precisions, modes)}
