"""The values that a pass reads from a parameter store, in a file beside a crash reproducer: `plena-opt --constants FILE.npz`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from plena_mlir.errors import LoweringError
from plena_mlir.files import write_file
from plena_mlir.passes.tensor.masks import ConstantsPass, ConstantStore


@dataclass(frozen=True)
class ConstantFile:
    """A store of constants in an .npz file, by name."""

    path: Path

    @cached_property
    def _values(self) -> Mapping[str, NDArray[np.float32]]:
        try:
            with np.load(self.path, allow_pickle=False) as held:
                return {name: held[name].astype(np.float32) for name in held.files}
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise LoweringError(f"these constants cannot be read: {error}", where=str(self.path)) from error

    def get(self, name: str) -> NDArray[np.float32]:
        """The values of the constant or parameter `name`.

        Raises:
            LoweringError: the file cannot be read, or holds no such name.
        """
        if name not in self._values:
            raise LoweringError(f"there is no constant {name}", where=str(self.path), hint=f"it holds {', '.join(self._values)}")
        return self._values[name]


@dataclass(frozen=True)
class _Recorder:
    """A store that remembers what was read of another."""

    store: ConstantStore
    values: dict[str, NDArray[np.float32]] = field(default_factory=dict[str, NDArray[np.float32]])

    def get(self, name: str) -> NDArray[np.float32]:
        self.values[name] = self.store.get(name)
        return self.values[name]


def with_constants(step: ModulePass, path: Path) -> ModulePass:
    """The pass with the constants of a file, if it is one that reads any."""
    return replace(step, store=ConstantFile(path)) if isinstance(step, ConstantsPass) else step


def constants_read(step: ModulePass, module: ModuleOp) -> dict[str, NDArray[np.float32]]:
    """What a pass that fails on `module`, which is not changed, reads from its store until then."""
    if not isinstance(step, ConstantsPass) or step.store is None:
        return {}
    recorder = _Recorder(step.store)
    with suppress(Exception):  # the error is known: it is what the reproducer is for
        replace(step, store=recorder).apply(Context(), module.clone())
    return recorder.values


def write_constants(path: Path, values: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a file for `ConstantFile`."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **values)
    write_file(path, content.getvalue())
