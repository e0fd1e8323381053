"""Shape rules shared by the constructors and verifiers of the plena_tensor ops.

Every rule takes and returns plain tuples of elements per dimension and raises `VerifyException` naming the sizes that disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypeAlias, cast

from xdsl.dialects.builtin import DenseArrayBase, TensorType, f32, i64
from xdsl.ir import Attribute, Operation, SSAValue
from xdsl.utils.exceptions import VerifyException

Shape: TypeAlias = tuple[int, ...]
AnyTensor: TypeAlias = TensorType[Attribute]


def tensor_type(shape: Sequence[int], element: Attribute = f32) -> AnyTensor:
    """The builtin tensor type of `shape`; float32 unless told."""
    return TensorType(element, tuple(shape))


def type_of(value: SSAValue | Operation) -> AnyTensor:
    """The tensor type of a value (or of the only result of an op)."""
    found = SSAValue.get(value).type
    if not isinstance(found, TensorType):
        raise VerifyException(f"expected a tensor, found {found}")
    return cast(AnyTensor, found)


def shape_of(value: SSAValue | Operation) -> Shape:
    """The static shape of a tensor value."""
    return type_of(value).get_shape()


def element_of(value: SSAValue | Operation) -> Attribute:
    """The element type of a tensor value: f32, i64 or i1."""
    return type_of(value).element_type


def int_array(values: Sequence[int]) -> DenseArrayBase[Any]:
    """`array<i64: ...>`, the form of every list of dimensions in this dialect."""
    return DenseArrayBase.from_list(i64, list(values))


def require(condition: bool, message: str) -> None:
    """Raise `VerifyException(message)` unless `condition` holds."""
    if not condition:
        raise VerifyException(message)


def broadcast_shape(*shapes: Shape) -> Shape:
    """Numpy broadcasting: sizes agree from the right, or are 1."""
    rank = max(len(shape) for shape in shapes)
    result: list[int] = []
    for position in range(rank):
        sizes = {shape[position - rank + len(shape)] for shape in shapes if position - rank + len(shape) >= 0}
        sizes.discard(1)
        require(len(sizes) <= 1, f"shapes {', '.join(map(str, shapes))} do not broadcast")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def normal_dim(dim: int, rank: int) -> int:
    """A dimension counted from the front; -1 is the last."""
    require(-rank <= dim < rank, f"dimension {dim} is outside rank {rank}")
    return dim % rank


def reduced_shape(shape: Shape, dims: Sequence[int], keepdim: bool) -> Shape:
    """The shape after reducing `dims` (all dimensions when empty)."""
    reduced = {normal_dim(dim, len(shape)) for dim in dims} or set(range(len(shape)))
    if keepdim:
        return tuple(1 if dim in reduced else size for dim, size in enumerate(shape))
    return tuple(size for dim, size in enumerate(shape) if dim not in reduced)


def matmul_shape(lhs: Shape, rhs: Shape) -> Shape:
    """[..., M, K] @ [..., K, N] -> [..., M, N], leading dimensions broadcast."""
    require(min(len(lhs), len(rhs)) >= 2, f"matmul needs rank 2 or more, got {lhs} and {rhs}")
    require(lhs[-1] == rhs[-2], f"matmul inner sizes differ: {lhs} and {rhs}")
    leading = broadcast_shape(lhs[:-2], rhs[:-2]) if lhs[:-2] or rhs[:-2] else ()
    return (*leading, lhs[-2], rhs[-1])


def linear_shape(x: Shape, weight: Shape, bias: Shape | None) -> Shape:
    """x [..., K], weight [N, K], bias [N] -> [..., N]."""
    require(len(weight) == 2, f"linear weight must be [out, in], got {weight}")
    require(len(x) >= 1 and x[-1] == weight[1], f"linear input {x} does not match weight {weight}")
    require(bias is None or bias == weight[:1], f"linear bias {bias} does not match weight {weight}")
    return (*x[:-1], weight[0])


def permuted_shape(shape: Shape, perm: Sequence[int]) -> Shape:
    """The shape with dimension `perm[i]` moved to place i."""
    require(sorted(perm) == list(range(len(shape))), f"{tuple(perm)} is no permutation of the {len(shape)} dimensions of {shape}")
    return tuple(shape[dim] for dim in perm)


def sliced_shape(shape: Shape, dim: int, start: int, end: int, step: int) -> Shape:
    """The shape of `x[..., start:end:step, ...]` on `dim`, with 0 <= start <= end <= size and step >= 1."""
    axis = normal_dim(dim, len(shape))
    require(0 <= start <= end <= shape[axis], f"slice {start}:{end} is outside size {shape[axis]}")
    require(step >= 1, f"slice step {step} must be at least 1")
    return (*shape[:axis], (end - start + step - 1) // step, *shape[axis + 1 :])


def concat_shape(shapes: Sequence[Shape], dim: int) -> Shape:
    """The shape of the concatenation of `shapes` on `dim`."""
    require(len(shapes) > 0, "concat needs an operand")
    axis = normal_dim(dim, len(shapes[0]))
    others = {(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}
    require(len({len(shape) for shape in shapes}) == 1 and len(others) == 1, f"concat of {', '.join(map(str, shapes))} on {dim}")
    return (*shapes[0][:axis], sum(shape[axis] for shape in shapes), *shapes[0][axis + 1 :])


def check_reshape(source: Shape, result: Shape) -> None:
    """A reshape keeps the number of elements."""
    require(prod(source) == prod(result), f"reshape of {source} to {result} changes the number of elements")


def check_expand(source: Shape, result: Shape) -> None:
    """An expand repeats dimensions of size 1 and may add leading ones."""
    require(len(source) <= len(result) and broadcast_shape(source, result) == result, f"{source} does not expand to {result}")


def sdpa_shape(q: Shape, k: Shape, v: Shape, mask: Shape | None, *, gqa: bool) -> Shape:
    """q [..., H, L, E], k [..., G, S, E], v [..., G, S, D] -> [..., H, L, D]; G = H unless `gqa`, then G divides H."""
    require({len(q), len(k), len(v)} == {max(len(q), 3)}, f"sdpa needs q, k, v of one rank, 3 or more: {q}, {k}, {v}")
    require(q[-1] == k[-1] and k[:-1] == v[:-1] and q[:-3] == k[:-3], f"sdpa shapes disagree: q {q}, k {k}, v {v}")
    heads, kv_heads = q[-3], k[-3]
    require(heads % kv_heads == 0 if gqa else heads == kv_heads, f"sdpa has {heads} query heads over {kv_heads} key heads")
    scores = (*q[:-1], k[-2])
    require(mask is None or broadcast_shape(mask, scores) == scores, f"mask {mask} does not broadcast to the scores {scores}")
    return (*q[:-1], v[-1])


def check_grouped_rows(features: int, groups: int, *rows: Shape) -> None:
    """Gains and biases of a norm over `groups` parts of `features`: one element per feature, or per feature of one part."""
    require(groups >= 1 and features % groups == 0, f"{features} features do not divide into {groups} groups")
    for row in rows:
        require(row in ((features,), (features // groups,)), f"gain and bias must have {features} elements, or those of a group")
