"""Names to tensors: where the weights of a program live, outside its IR.

The IR holds names only. A store knows every shape at once, and reads, draws or upcasts a tensor when somebody asks for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from plena_mlir.errors import ModelImportError

Float32Array = NDArray[np.float32]
ConstantArray = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.bool_]

CACHE_BYTES = 1 << 30
CONSTANT_PREFIX = "const."


class TensorSource(Protocol):
    """Where parameters come from: a module in memory, a checkpoint, a random stream."""

    def read(self, name: str) -> Float32Array:
        """The whole tensor `name` as float32."""
        ...


class ParameterStore:
    """Parameters by name, as float32 arrays made on demand, and the constants that were too large for the IR.

    Arrays are read-only and shared: up to `cache_bytes` bytes of them are kept, so that the image writer, the golden and the
    reference do not each draw or upcast the same tensor.

    Args:
        shapes: every parameter's shape, under its canonical name.
        source: where values come from; None when there is only a configuration.
        aliases: further names of shared tensors (tied embeddings), each with its canonical name.
        notes: what a user should know about these weights, such as an upcast.
    """

    def __init__(
        self,
        shapes: Mapping[str, tuple[int, ...]],
        source: TensorSource | None,
        *,
        aliases: Mapping[str, str] | None = None,
        notes: Iterable[str] = (),
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        self.notes = list(notes)
        self._shapes = dict(shapes)
        self._source = source
        self._aliases = dict(aliases or {})
        self._constants: dict[str, ConstantArray] = {}
        self._constant_names: dict[str, str] = {}
        self._cache: dict[str, Float32Array] = {}
        self._cache_left = cache_bytes

    @property
    def has_data(self) -> bool:
        """Whether parameters have values; without, a program compiles and cannot run."""
        return self._source is not None

    def names(self) -> list[str]:
        """Canonical parameter names in model order, then the constants."""
        return [*self._shapes, *self._constants]

    def canonical(self, name: str) -> str:
        """The name under which a shared tensor is stored."""
        return self._aliases.get(name, name)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a parameter or constant, known without reading it."""
        name = self.canonical(name)
        if name in self._constants:
            return self._constants[name].shape
        if name not in self._shapes:
            raise ModelImportError("no such parameter", where=name)
        return self._shapes[name]

    def get(self, name: str) -> Float32Array:
        """The float32 values of a parameter or of a floating-point constant.

        Raises:
            ModelImportError: no such name, no weights, or a checkpoint that cannot be read.
        """
        name = self.canonical(name)
        if name in self._constants:
            return self._constants[name].astype(np.float32, copy=False)
        if name in self._cache:
            return self._cache[name]
        expected = self.shape(name)
        if self._source is None:
            raise ModelImportError(
                "this parameter has no values: the model was given as a shape only",
                where=name,
                hint="give random weights by a seed (--random-weights SEED), or a checkpoint folder",
            )
        values = self._source.read(name)
        if values.shape != expected:
            raise ModelImportError(f"expected shape {expected}, found {values.shape}", where=name)
        values.flags.writeable = False
        if values.nbytes <= self._cache_left:
            self._cache_left -= values.nbytes
            self._cache[name] = values
        return values

    def constant(self, name: str) -> ConstantArray:
        """The values of the constant `name` in their own type (float32, int64 or bool)."""
        if name not in self._constants:
            raise ModelImportError("no such constant", where=name)
        return self._constants[name]

    def add_constant(self, values: ConstantArray) -> str:
        """Keep `values` and return their name, `const.N`; equal values share one name."""
        if not values.flags.c_contiguous:
            values = values.copy()
        key = hashlib.sha256(f"{values.dtype}{values.shape}".encode() + values.tobytes()).hexdigest()
        if key not in self._constant_names:
            name = f"{CONSTANT_PREFIX}{len(self._constants)}"
            values.flags.writeable = False
            self._constants[name] = values
            self._constant_names[key] = name
        return self._constant_names[key]
