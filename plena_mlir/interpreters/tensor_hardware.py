"""The hardware golden: plena_tensor with the machine's storage formats and roundings, as an execution of its own in torch.

What is rounded is declared in `plena_tensor.roundings`; the order of summation is torch's. It runs the IR after weight folding
and assign-precision, so its MX bits are those of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from xdsl.ir import Operation

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena_tensor.approximations import (
    GELU_CUBIC,
    GELU_SCALE,
    TANH_DENOMINATOR,
    TANH_FACTOR,
    TANH_LIMIT,
    TANH_NUMERATOR,
)
from plena_mlir.dialects.plena_tensor.roundings import ROUNDED
from plena_mlir.golden_precision import GoldenPrecision
from plena_mlir.interpreters.tensor_experts import EXPERT_FORMS
from plena_mlir.interpreters.tensor_kernels import (
    KERNELS,
    Kernel,
    attention_bias,
    attention_sinks,
    by_sequence,
    in_groups,
    rotate_half,
    rows_of_groups,
    split_heads,
)
from plena_mlir.numerics import mx_quantize
from plena_mlir.target import Target
from plena_mlir.target.formats import Stream, hbm_format

EXP_LIMIT = 88.0
"""V_EXP_V clamps its operand to -88 .. 88 (machine specification, section 4.2)."""


BFLOAT16_MAX = torch.finfo(torch.bfloat16).max


def to_bfloat16(value: Tensor) -> Tensor:
    """The value rounded to bfloat16, as float32."""
    return value.to(torch.bfloat16).to(torch.float32)


StepObserver = Callable[[Operation, str, NDArray[np.float32]], "NDArray[np.float32] | None"]
"""Sees the value of every step of the rounding table within an op, rounded, and may give another one to go on with."""


class Rounder:
    """Rounds the steps of one op that the table names; a step it does not name is an error of the golden."""

    def __init__(self, op: Operation, precision: GoldenPrecision, observe: StepObserver | None = None) -> None:
        self._op = op
        self._steps = ROUNDED[type(op)]
        self._active = precision.intermediates
        self._observe = observe

    def __call__(self, step: str, value: Tensor) -> Tensor:
        """The value rounded to bfloat16, as float32."""
        if step not in self._steps:
            raise KeyError(f"{step!r} is not in the rounding table")
        rounded = to_bfloat16(value) if self._active else value
        replacement = None if self._observe is None else self._observe(self._op, step, rounded.numpy())
        return rounded if replacement is None else torch.from_numpy(replacement.reshape(rounded.shape))

    def constant(self, value: float) -> float:
        """A constant as FP SRAM holds it."""
        return float(torch.tensor(value).to(torch.bfloat16)) if self._active else value


def _exp(x: Tensor) -> Tensor:
    return torch.exp(x.clamp(-EXP_LIMIT, EXP_LIMIT))


def _scalars(r: Rounder, *operands: Tensor) -> list[Tensor]:
    """Operands of rank 0 are constants of the machine."""
    return [r("constant", operand) if operand.dim() == 0 else operand for operand in operands]


def _add(_op: pt.AddOp, r: Rounder, *operands: Tensor) -> Tensor:
    x, y = _scalars(r, *operands)
    return r("sum", x + y)


def _sub(_op: pt.SubOp, r: Rounder, x: Tensor, y: Tensor) -> Tensor:
    return r("difference", x - y)


def _mul(_op: pt.MulOp, r: Rounder, *operands: Tensor) -> Tensor:
    x, y = _scalars(r, *operands)
    return r("product", x * y)


def _maximum(_op: pt.MaximumOp, r: Rounder, *operands: Tensor) -> Tensor:
    return torch.maximum(*_scalars(r, *operands))


def _minimum(_op: pt.MinimumOp, r: Rounder, *operands: Tensor) -> Tensor:
    return torch.minimum(*_scalars(r, *operands))


def _gated(r: Rounder, x: Tensor, argument: Tensor) -> Tensor:
    """x * 1 / (1 + exp(-argument))."""
    denominator = r("denominator", 1.0 + r("exponential", _exp(-argument)))
    return r("product", x * r("reciprocal", 1.0 / denominator))


def _silu(_op: pt.SiluOp, r: Rounder, x: Tensor) -> Tensor:
    return _gated(r, x, x)


def _gelu(_op: pt.GeluOp, r: Rounder, x: Tensor) -> Tensor:
    """Both forms of gelu are computed by the tanh formula."""
    cubic = r("factor", r("square", x * x) * r.constant(GELU_SCALE * GELU_CUBIC))
    return _gated(r, x, r("argument", x * r("factor", cubic + r.constant(GELU_SCALE))))


def _relu(_op: pt.ReluOp, _r: Rounder, x: Tensor) -> Tensor:
    return torch.relu(x)


def _polynomial(r: Rounder, step: str, y: Tensor, linear: float, constant: float) -> Tensor:
    """y^2 + linear y + constant."""
    return r(step, r(step, r(step, y + linear) * y) + r.constant(constant))


def _capped_tanh(r: Rounder, x: Tensor, cap: float) -> Tensor:
    """cap * tanh(x)."""
    x = x.clamp(-TANH_LIMIT, TANH_LIMIT)
    y = r("square", x * x)
    reciprocal = r("reciprocal", 1.0 / _polynomial(r, "denominator", y, *TANH_DENOMINATOR))
    ratio = r("ratio", _polynomial(r, "numerator", y, *TANH_NUMERATOR) * reciprocal)
    return r("capped", r("tanh", ratio * x) * r.constant(cap * TANH_FACTOR))


def _soft_cap(op: pt.SoftCapOp, r: Rounder, x: Tensor) -> Tensor:
    cap = op.cap.value.data
    return _capped_tanh(r, r("argument", x * r.constant(1.0 / cap)), cap)


def _embedding(_op: pt.EmbeddingOp, _r: Rounder, table: Tensor, ids: Tensor) -> Tensor:
    return table[ids]


def _slice(op: pt.SliceOp, _r: Rounder, x: Tensor) -> Tensor:
    return KERNELS[pt.SliceOp](op, x)


def _sum_rows(op: pt.SumRowsOp, r: Rounder, x: Tensor) -> Tensor:
    return r("sum", KERNELS[pt.SumRowsOp](op, x))


def _linear(_op: pt.LinearOp, r: Rounder, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = r("product", x @ weight.T)
    return product if bias is None else r("sum with bias", product + bias)


def _normalise(r: Rounder, x: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) by rows."""
    total = r("sum", r("square", x * x).sum(-1, keepdim=True))
    mean = r("mean plus eps", r("mean", total * r.constant(1.0 / x.shape[-1])) + r.constant(eps))
    return r("normal", x * r("reciprocal", 1.0 / r("root", mean.sqrt())))


def _rms_norm(op: pt.RmsNormOp, r: Rounder, x: Tensor, gain: Tensor | None = None) -> Tensor:
    y = _normalise(r, in_groups(x, op.group_count), op.eps.value.data)
    return (y if gain is None else r("product with gain", y * rows_of_groups(gain, y))).reshape(x.shape)


def _layer_norm(op: pt.LayerNormOp, r: Rounder, x: Tensor, *gain_and_bias: Tensor) -> Tensor:
    split = in_groups(x, op.group_count)
    mean = r("mean of lanes", r("sum of lanes", split.sum(-1, keepdim=True)) * r.constant(1.0 / split.shape[-1]))
    y = _normalise(r, r("centred", split - mean), op.eps.value.data)
    parts = iter(gain_and_bias)
    if op.gain is not None:
        y = r("product with gain", y * rows_of_groups(next(parts), y))
    return (r("sum with bias", y + rows_of_groups(next(parts), y)) if op.bias is not None else y).reshape(x.shape)


def _rope(op: pt.RopeOp, r: Rounder, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    heads = in_groups(x, op.heads.value.data)
    turned, rest = heads[..., : cos.shape[1]], heads[..., cos.shape[1] :]
    straight = r("cosine product", turned * cos[:, None])
    rotated = r("sine product", rotate_half(turned, interleaved=op.interleaved is not None) * sin[:, None])
    return torch.cat([r("sum", straight + rotated), rest], dim=-1).reshape(x.shape)


def _attention(op: pt.AttentionOp, r: Rounder, q: Tensor, k: Tensor, v: Tensor, *optional: Any) -> Tensor:
    q3, k3, v3 = split_heads(op, q, k, v)
    scale = op.scale.value.data
    if op.soft_cap is None:
        scores = r("score", q3 @ k3.transpose(1, 2) * scale)
    else:
        cap = op.soft_cap.value.data
        scores = _capped_tanh(r, r("score", q3 @ k3.transpose(1, 2) * (scale / cap)), cap)
    scores = r("masked score", scores + attention_bias(op, q.shape[0], k.shape[0], optional))
    largest = scores.amax(-1, keepdim=True)
    sinks = attention_sinks(op, optional)
    if sinks is None:
        weights = r("weight", _exp(r("difference", scores - largest)))
        total = weights.sum(-1, keepdim=True)
    else:
        sink = r("sink", sinks)[:, None, None]
        largest = torch.maximum(largest, sink)
        weights = r("weight", _exp(r("difference", scores - largest)))
        total = weights.sum(-1, keepdim=True) + r("sink weight", _exp(r("sink difference", sink - largest)))
    reciprocal = r("reciprocal", 1.0 / r("row sum", total))
    product = r("scaled product", r("product", weights @ v3) * reciprocal)
    return product.transpose(0, 1).reshape(q.shape[0], -1)


def _attention_by_sequence(op: pt.AttentionOp, r: Rounder, *operands: Any) -> Tensor:
    return by_sequence(lambda op, *parts: _attention(op, r, *parts))(op, *operands)


FORMAT_SWITCHES: Mapping[str, str] = {"weight": "weights", "kv": "kv", "act": "activations", "exact": "activations"}
"""The switch of `GoldenPrecision` that each format of `quantize` belongs to."""


def switches_of(op: pt.QuantizeOp) -> frozenset[str]:
    """The switches that decide what a `quantize` gives: its format's, and whether terms and what is staged are rounded."""
    switch = FORMAT_SWITCHES[op.format.data]
    rounds = op.terms.value.data > 1 or switch == "activations"
    return frozenset((switch, "intermediates") if rounds else (switch,))


def quantize_kernel(target: Target, precision: GoldenPrecision) -> Kernel:
    """What `quantize` does: each term is the MX form of what the terms before it left over.

    A value whose switch is off is kept as it is, but what is staged for Vector SRAM is still bfloat16 there. Where that
    overflows, as for a mask that holds the lowest float32, it stays finite, as it does in the MX format.
    """
    streams: dict[str, Stream] = {"weight": "m_weight", "kv": "m_kv", "act": "v_act", "exact": "v_act"}

    def quantize(op: pt.QuantizeOp, x: Tensor) -> Tensor:
        switch, r = FORMAT_SWITCHES[op.format.data], Rounder(op, precision)
        if not getattr(precision, switch):
            if switch != "activations" or not precision.intermediates:
                return x
            return r("sum of terms", torch.where(x.isfinite(), x.clamp(-BFLOAT16_MAX, BFLOAT16_MAX), x))
        fmt = hbm_format(target, streams[op.format.data])
        split = in_groups(x, 1 if op.group is None else x.shape[-1] // op.group.value.data)
        width = split.shape[-1]
        left = (F.pad(split, (0, -width % fmt.block)) if width % fmt.block else split).numpy()
        total = torch.from_numpy(mx_quantize(left, fmt))
        term = total
        for _ in range(op.terms.value.data - 1):
            left = left - term.numpy()
            term = torch.from_numpy(mx_quantize(left, fmt))
            total = r("sum of terms", total + term)
        return total[..., :width].reshape(x.shape)

    return quantize


_FORMS: dict[type[Operation], Callable[..., Tensor]] = {
    pt.AddOp: _add,
    pt.SubOp: _sub,
    pt.MulOp: _mul,
    pt.MaximumOp: _maximum,
    pt.MinimumOp: _minimum,
    pt.SiluOp: _silu,
    pt.GeluOp: _gelu,
    pt.ReluOp: _relu,
    pt.SoftCapOp: _soft_cap,
    pt.EmbeddingOp: _embedding,
    pt.SliceOp: _slice,
    pt.SumRowsOp: _sum_rows,
    pt.LinearOp: _linear,
    pt.RmsNormOp: _rms_norm,
    pt.LayerNormOp: _layer_norm,
    pt.RopeOp: _rope,
    pt.AttentionOp: _attention_by_sequence,
    **EXPERT_FORMS,
}


def hardware_kernels(
    target: Target, precision: GoldenPrecision, observe: StepObserver | None = None
) -> dict[type[Operation], Kernel]:
    """Kernels for ops on activations. With `accumulation`, ops that the canonical form does not have are absent."""

    def bind(form: Callable[..., Tensor]) -> Kernel:
        return lambda op, *args: form(op, Rounder(op, precision, observe), *args)

    kernels: dict[type[Operation], Kernel]
    if precision.accumulation:
        kernels = {op_type: bind(form) for op_type, form in _FORMS.items()}
        kernels |= {op_type: KERNELS[op_type] for op_type in (pt.EmptyRowsOp, pt.TakeRowsOp, pt.PutRowsOp, *pt.MOVEMENT_OPS)}
    else:
        kernels = {op_type: _rounded(kernel) if precision.intermediates else kernel for op_type, kernel in KERNELS.items()}
    return {**kernels, pt.QuantizeOp: quantize_kernel(target, precision)}


def _rounded(kernel: Kernel) -> Kernel:
    """A kernel of float32 whose result is then rounded to bfloat16."""

    def rounded(op: Operation, *args: Any) -> Tensor:
        value = kernel(op, *args)
        return to_bfloat16(value) if value.is_floating_point() else value

    return rounded
