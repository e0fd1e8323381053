"""The table from ATen operators to functions that import them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from torch._ops import OpOverload

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.builder import GraphBuilder

Importer = Callable[..., object]
"""Takes the builder and schema arguments by name (`self` is called `x`); returns an SSA value, a folded tensor or a tuple."""

F = TypeVar("F", bound=Importer)


@dataclass(frozen=True)
class Entry:
    """One importer.

    Attributes:
        accepted: schema arguments it reads.
        ignored: schema arguments without effect on inference values, of any value.
    """

    function: Importer
    accepted: frozenset[str]
    ignored: frozenset[str]


TABLE: dict[str, Entry] = {}

# Arguments that say where and how a tensor is stored, or how its gradient is taken: never what it holds.
STORAGE_ARGUMENTS = frozenset(
    {"device", "layout", "pin_memory", "non_blocking", "copy", "memory_format", "implicit", "sparse", "scale_grad_by_freq"}
)

NEAREST = {
    "index": "gather rows with an embedding, or take a contiguous slice",
    "index_put": "build the tensor with cat or where",
    "sort": "the greatest elements by topk; routing of experts by torch.topk imports",
    "cumsum": "cumulative sums of constants fold; of inputs they have no machine form",
    "conv3d": "convolutions of one and two dimensions import",
    "scatter": "build the tensor with cat or where",
}


def imports(*targets: str, ignored: Sequence[str] = ()) -> Callable[[F], F]:
    """Register a function as the importer of the ATen overloads `targets`, such as "add.Tensor"."""

    def register(function: F) -> F:
        names = frozenset(list(inspect.signature(function).parameters)[1:])
        for target in targets:
            TABLE[f"aten.{target}"] = Entry(function, names, frozenset(ignored) | STORAGE_ARGUMENTS)
        return function

    return register


def import_call(
    builder: GraphBuilder, target: OpOverload, overload: str, args: Sequence[object], kwargs: Mapping[str, object]
) -> object:
    """Import one call of `target` under the table entry of `overload` (its functional form when `target` is in place).

    Raises:
        ModelImportError: the table has no such overload, or an argument with effect has a value it does not handle.
    """
    entry = TABLE.get(overload)
    if entry is None:
        raise ModelImportError(f"{overload} is not supported", where=builder.path, hint=_nearest(overload))
    chosen: dict[str, object] = {}
    positional = list(args)
    for argument in target._schema.arguments:  # pyright: ignore[reportPrivateUsage]
        if positional:
            value = positional.pop(0)
        elif argument.name in kwargs:
            value = kwargs[argument.name]
        else:
            value = argument.default_value
        name = "x" if argument.name == "self" else argument.name
        if name in entry.accepted:
            chosen[name] = value
        elif name not in entry.ignored and value != argument.default_value:
            raise ModelImportError(
                f"{overload} with {argument.name}={value!r} is not supported",
                where=builder.path,
                hint=f"only {argument.name}={argument.default_value!r} has an exact lowering",
            )
    return entry.function(builder, **chosen)


def _nearest(overload: str) -> str:
    name = overload.split(".")[1]
    if name in NEAREST:
        return NEAREST[name]
    supported = sorted({key.split(".")[1] for key in TABLE})
    close = difflib.get_close_matches(name, supported, n=3, cutoff=0.5)
    if close:
        return f"supported operators of similar name: {', '.join(close)}"
    return "rewrite this module with arithmetic, matmul, softmax, norm, reshape, slice and cat operators, which are supported"
