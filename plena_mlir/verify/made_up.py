"""Made-up parameters and inputs for a plena_tensor module that comes without its model, so that it can be executed all the same.

The same module gets the same values everywhere. They are of the size that a network's are: a product with a weight keeps the size
of what it is given, and vectors, which are gains as often as biases, lie around one.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import func
from xdsl.dialects.builtin import ModuleOp, TensorType, i64

from plena_mlir.dialects.plena_tensor import ParameterOp, shape_of
from plena_mlir.errors import ExecutionError

_INDEX = re.compile(r"\d+")


class MadeUpStore:
    """A value for every parameter that a module names; of rolled layers, for every layer."""

    def __init__(self, module: ModuleOp) -> None:
        self._shapes = {op.parameter_name.data: shape_of(op.result) for op in module.walk() if isinstance(op, ParameterOp)}

    def get(self, name: str) -> NDArray[np.float32]:
        """The parameter of that name.

        Raises:
            ExecutionError: the module names no such parameter.
        """
        shape = self._shapes.get(name)
        for index in _INDEX.finditer(name) if shape is None else ():
            shape = shape or self._shapes.get(f"{name[: index.start()]}{{}}{name[index.end() :]}")
        if shape is None:
            raise ExecutionError("the module that was given names no such parameter", where=name)
        return _drawn(name, shape)


def made_up_inputs(module: ModuleOp) -> tuple[NDArray[np.float32] | NDArray[np.int64], ...]:
    """A value for every argument of `main`; of token ids the first two, which every vocabulary has."""
    main = next((op for op in module.body.block.ops if isinstance(op, func.FuncOp) and op.sym_name.data == "main"), None)
    if main is None:
        raise ExecutionError("the module has no function `main`")
    found: list[NDArray[np.float32] | NDArray[np.int64]] = []
    for number, argument in enumerate(main.args):
        shape = shape_of(argument)
        integers = isinstance(argument.type, TensorType) and argument.type.get_element_type() == i64
        ids = np.arange(math.prod(shape), dtype=np.int64).reshape(shape) % 2
        found.append(ids if integers else _normal(f"input {number}", shape))
    return tuple(found)


def _drawn(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    values = _normal(name, shape)
    return (values / np.float32(math.sqrt(shape[-1]))) if len(shape) > 1 else np.float32(1) + np.float32(0.1) * values


def _normal(name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(seed)).normal(size=tuple(shape)).astype(np.float32)
