"""Feature parts: two products with element-wise ops between them, computed a part of the intermediate features at a time.

    g = linear x Wg; u = linear x Wu             for every part p:  g_p = linear x Wg[p];  u_p = linear x Wu[p]
    y = linear (silu g * u) Wd           ->                          y += linear (silu g_p * u_p) Wd[:, p]

The partial products are added in bf16, which is a change of rounding the golden follows, since it runs the rewritten IR.
"""

from __future__ import annotations

from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena_tensor import shape_of

_ELEMENTWISE = (
    pt.AddOp,
    pt.SubOp,
    pt.MulOp,
    pt.MaximumOp,
    pt.MinimumOp,
    pt.SiluOp,
    pt.GeluOp,
    pt.ReluOp,
    pt.SoftCapOp,
)


def split_features(block: Block, parts: int, lanes: int) -> None:
    """Split every product in `block` whose operand is an element-wise function of products into `parts` parts."""
    for op in list(block.ops):
        if isinstance(op, pt.LinearOp) and (chain := _chain_before(op)) is not None:
            _split(block, op, chain, parts, lanes)


def split_widths(block: Block) -> list[int]:
    """The features of every operand that `split_features` would compute in parts."""
    return [shape_of(op.x)[1] for op in block.ops if isinstance(op, pt.LinearOp) and _chain_before(op) is not None]


def _chain_before(op: pt.LinearOp) -> list[Operation] | None:
    """The element-wise ops and products that make the operand of `op`, in order; None if there is nothing to split."""
    return _chain(op.x, set()) if isinstance(op.x.owner, _ELEMENTWISE) else None


def _chain(value: SSAValue, seen: set[SSAValue]) -> list[Operation] | None:
    """The element-wise ops and products that only `value` needs, in order; None if it rests on anything else of its width."""
    owner = value.owner
    if value in seen:
        return []
    seen.add(value)
    if not isinstance(owner, Operation) or (isinstance(owner, pt.LinearOp) is False and not isinstance(owner, _ELEMENTWISE)):
        return None
    if isinstance(owner, pt.LinearOp):
        return [owner]
    before: list[Operation] = []
    for operand in owner.operands:
        part = _chain(operand, seen)
        if part is None:
            return None
        before += part
    return [*before, owner]


def _slice_weight(value: SSAValue, dim: int, start: int, end: int, new_ops: list[Operation]) -> SSAValue:
    """Part of a stored weight: cut below its quantize op, on block boundaries, so that the stored values are the same."""
    quantize = value.owner
    assert isinstance(quantize, pt.QuantizeOp)
    part = pt.SliceOp(quantize.x, dim, start, end)
    group = None if quantize.group is None else quantize.group.value.data
    stored = pt.QuantizeOp(part, pt.QuantizeFormat(quantize.format.data), quantize.terms.value.data, group)
    part.location = stored.location = quantize.location
    new_ops += [part, stored]
    return stored.result


def _split(block: Block, op: pt.LinearOp, chain: list[Operation], parts: int, lanes: int) -> None:
    features = shape_of(op.x)[1]
    blocks = -(-features // lanes)
    step = -(-blocks // parts) * lanes
    new_ops: list[Operation] = []
    total: SSAValue | None = None
    for start in range(0, features, step):
        end = min(start + step, features)
        copies: dict[SSAValue, SSAValue] = {}
        for link in chain:
            if isinstance(link, pt.LinearOp):
                bias = None if link.bias is None else _slice_weight(link.bias, 0, start, end, new_ops)
                copy: Operation = pt.LinearOp(link.x, _slice_weight(link.weight, 0, start, end, new_ops), bias)
            else:
                operands = [copies[operand] for operand in link.operands]
                type = pt.tensor_type((shape_of(link.results[0])[0], end - start))
                copy = link.__class__.create(operands=operands, result_types=[type], properties=link.properties)
            copy.location = link.location
            copies[link.results[0]] = copy.results[0]
            new_ops.append(copy)
        bias = op.bias if start == 0 else None
        product = pt.LinearOp(copies[op.x], _slice_weight(op.weight, 1, start, end, new_ops), bias)
        product.location = op.location
        new_ops.append(product)
        if total is None:
            total = product.result
        else:
            sum_ = pt.AddOp(total, product)
            sum_.location = op.location
            new_ops.append(sum_)
            total = sum_.result
    assert total is not None
    block.insert_ops_before(new_ops, op)
    op.result.replace_all_uses_with(total)
    for old in [op, *reversed(chain)]:
        if not any(result.uses for result in old.results):
            old.detach()
            old.erase()
