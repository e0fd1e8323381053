"""Parameters, and values that depend on nothing else, in every precision of a run and in no more memory than one op needs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from xdsl.interpreter import PythonValues
from xdsl.ir import Operation

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from plena_mlir.golden_precision import GoldenPrecision
from plena_mlir.interpreters.tensor_hardware import StepObserver, hardware_kernels, switches_of
from plena_mlir.interpreters.tensor_kernels import KERNELS, Kernel, call_kernel, torch_dtype
from plena_mlir.target import PRESETS, Target, load_target

Array = NDArray[Any]
Kernels = Mapping[type[Operation], Kernel]


class Store(Protocol):
    """Where parameters come from, by name."""

    def get(self, name: str) -> NDArray[np.float32]:
        """The values of a parameter or constant."""
        ...


def as_tensor(values: Array, dtype: torch.dtype) -> torch.Tensor:
    """A tensor over the same memory where the types agree; nobody here writes to an operand."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.to(dtype)


def load_parameter(op: pt.ParameterOp, layer: int | None, store: Store) -> torch.Tensor:
    """The tensor a `parameter` op names, checked against its type."""
    name = op.parameter_name.data if layer is None else op.parameter_name.data.format(layer)
    values = store.get(name)
    if values.shape != pt.shape_of(op.result):
        raise LoweringError(f"the store holds shape {values.shape}, the IR says {pt.shape_of(op.result)}", where=name)
    return as_tensor(values, torch_dtype(pt.element_of(op.result)))


@dataclass(frozen=True)
class Arithmetic:
    """How ops are computed in one precision: on weights, and on activations."""

    precision: GoldenPrecision
    weights: Kernels
    activations: Kernels

    @staticmethod
    def of(precision: GoldenPrecision, target: Target | None, observe: StepObserver | None = None) -> Arithmetic:
        kernels = hardware_kernels(target or load_target(PRESETS[0]), precision, observe)
        return Arithmetic(precision, {**KERNELS, pt.QuantizeOp: kernels[pt.QuantizeOp]}, kernels)


class LazyWeight:
    """A value that depends on parameters only, computed when an activation needs it and not kept.

    So a whole model runs with one weight in memory at a time, however deep it is. A run in several precisions computes it once for
    those that agree on `switches`.
    """

    def __init__(self, switches: frozenset[str], compute: Callable[[Arithmetic, Memo | None], torch.Tensor]) -> None:
        self._switches = switches
        self._compute = compute

    @staticmethod
    def of_op(op: Operation, args: PythonValues) -> LazyWeight:
        """The result of an op on weights."""
        switches = {switch for arg in args if isinstance(arg, LazyWeight) for switch in arg._switches}
        if isinstance(op, pt.QuantizeOp):
            switches |= switches_of(op)
        return LazyWeight(
            frozenset(switches),
            lambda arithmetic, memo: call_kernel(arithmetic.weights, op, tuple(arg.value(arithmetic, memo) for arg in args)),
        )

    def value(self, arithmetic: Arithmetic, memo: Memo | None = None) -> torch.Tensor:
        """The value in one precision; `memo` keeps what several precisions share while one op is computed in each."""
        if memo is None:
            return self._compute(arithmetic, None)
        key = (self, tuple(getattr(arithmetic.precision, switch) for switch in sorted(self._switches)))
        if key not in memo:
            memo[key] = self._compute(arithmetic, memo)
        return memo[key]


Memo = dict[tuple[LazyWeight, tuple[bool, ...]], torch.Tensor]
