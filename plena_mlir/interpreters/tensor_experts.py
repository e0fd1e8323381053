"""Mixtures of experts on torch: in float32, and with the roundings of the machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from xdsl.ir import Operation

from plena_mlir.dialects import plena_tensor as pt

if TYPE_CHECKING:
    from plena_mlir.interpreters.tensor_hardware import Rounder

# --- float32 --------------------------------------------------------------------------------------------------------------------


def _topk(op: pt.TopkOp, x: Tensor) -> Tensor:
    """A stable sort: torch.topk does not say which of equal elements it takes."""
    return torch.sort(x, dim=-1, descending=True, stable=True).indices[..., : op.k.value.data]


def _gather(_op: pt.GatherOp, x: Tensor, ids: Tensor) -> Tensor:
    return torch.gather(x, -1, ids)


def _index_select(_op: pt.IndexSelectOp, x: Tensor, ids: Tensor) -> Tensor:
    return x[ids]


def _moe_weights(op: pt.MoeWeightsOp, logits: Tensor, ids: Tensor) -> Tensor:
    if op.normalised.data == pt.Normalised.CHOSEN:
        return torch.softmax(torch.gather(logits, -1, ids), dim=-1)
    return torch.gather(torch.softmax(logits, dim=-1), -1, ids)


def _expert_products(op: pt.ExpertLinearOp, x: Tensor, weight: Tensor, ids: Tensor) -> Tensor:
    """Each row times the matrix of its expert, without bias; one product per expert that any row chose."""
    rows, experts = x.repeat_interleave(op.repeats, dim=0), ids.reshape(-1)
    result = torch.empty(pt.shape_of(op.result))
    for expert in experts.unique().tolist():
        chosen = experts == expert
        result[chosen] = rows[chosen] @ weight[expert].T
    return result


def _expert_linear(op: pt.ExpertLinearOp, x: Tensor, weight: Tensor, ids: Tensor, bias: Tensor | None = None) -> Tensor:
    result = _expert_products(op, x, weight, ids)
    return result if bias is None else result + bias[ids.reshape(-1)]


def _moe_combine(_op: pt.MoeCombineOp, y: Tensor, weights: Tensor) -> Tensor:
    return (y.reshape(*weights.shape, -1) * weights[..., None]).sum(1)


EXPERT_KERNELS: dict[type[Operation], Callable[..., Tensor]] = {
    pt.TopkOp: _topk,
    pt.GatherOp: _gather,
    pt.IndexSelectOp: _index_select,
    pt.MoeWeightsOp: _moe_weights,
    pt.ExpertLinearOp: _expert_linear,
    pt.MoeCombineOp: _moe_combine,
}
"""What the ops compute."""

# --- as the machine rounds ------------------------------------------------------------------------------------------------------


def _hardware_topk(op: pt.TopkOp, _r: Rounder, x: Tensor) -> Tensor:
    return _topk(op, x)


def _hardware_weights(op: pt.MoeWeightsOp, r: Rounder, logits: Tensor, ids: Tensor) -> Tensor:
    """From V_TOPK's softmax over as many experts as it chooses, which may be more than were asked for."""
    experts, k = logits.shape[1], ids.shape[1]
    policy = pt.topk_policy(experts, k)
    width = k if policy is None else min(pt.TOPK_POLICIES[policy][1], experts)
    others = torch.sort(logits.scatter(-1, ids, -torch.inf), dim=-1, descending=True).values[:, : width - k]
    weights = r("weight", torch.softmax(torch.cat([torch.gather(logits, -1, ids), others], dim=-1), dim=-1))
    if op.normalised.data == pt.Normalised.CHOSEN:
        if width == k:
            return weights
        total = weights[:, :1]
        for number in range(1, k):
            total = r("sum", total + weights[:, number : number + 1])
        return r("normalised weight", weights[:, :k] * r("reciprocal", 1.0 / total))
    # The machine clamps the operand of exp to -88, which no sum that has a 1 in it notices.
    exponentials = r("exponential", torch.exp(r("difference", logits - logits.amax(-1, keepdim=True))))
    share = r("reciprocal", 1.0 / r("sum", exponentials.sum(-1, keepdim=True)))
    factor = r("factor", share * r("reciprocal", 1.0 / weights[:, :1]))
    return r("normalised weight", weights[:, :k] * factor)


def _hardware_linear(
    op: pt.ExpertLinearOp, r: Rounder, x: Tensor, weight: Tensor, ids: Tensor, bias: Tensor | None = None
) -> Tensor:
    product = r("product", _expert_products(op, x, weight, ids))
    return product if bias is None else r("sum with bias", product + bias[ids.reshape(-1)])


def _hardware_combine(_op: pt.MoeCombineOp, r: Rounder, y: Tensor, weights: Tensor) -> Tensor:
    parts = r("product", y.reshape(*weights.shape, -1) * weights[..., None])
    total = parts[:, 0]
    for number in range(1, weights.shape[1]):
        total = r("sum", total + parts[:, number])
    return total


EXPERT_FORMS: dict[type[Operation], Callable[..., Tensor]] = {
    pt.TopkOp: _hardware_topk,
    pt.MoeWeightsOp: _hardware_weights,
    pt.ExpertLinearOp: _hardware_linear,
    pt.MoeCombineOp: _hardware_combine,
}
"""What they compute on the machine, with the steps of `plena_tensor.roundings`."""
