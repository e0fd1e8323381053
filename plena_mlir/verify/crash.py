"""Crash reproducers: an internal error of a pass leaves its input behind, with the one command that shows the error again.

// plena-opt -p 'convert-tile-to-isa' plena-crash-1f0c9a3d.mlir
// KeyError: 3
// plena-mlir 0.1.0, xdsl 0.74.0, Python 3.11.7; target 8x4x4
builtin.module ...
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from plena_mlir import __version__
from plena_mlir.dialects.plena import located_text, target_of
from plena_mlir.errors import CompilerCrash, LoweringError
from plena_mlir.files import write_file

FOLDER_VARIABLE = "PLENA_CRASH_DIR"
"""Environment variable: where reproducers go, by default the folder for temporary files."""


def crash(start: ModuleOp, done: Sequence[ModulePass], failed: ModulePass, error: Exception) -> CompilerCrash:
    """Write the reproducer of an internal error, and make the error that tells of it.

    Args:
        start: the module before `done`; it is changed.
        done: the passes that ran, which are run again to get the input of the one that failed.
        failed: the pass that raised `error`.
    """
    for step in done:
        step.apply(Context(), start)
    body = located_text(start)
    spec = _spec(failed)
    folder = Path(os.environ.get(FOLDER_VARIABLE) or tempfile.gettempdir())
    path = folder / f"plena-crash-{hashlib.sha256((spec + body).encode()).hexdigest()[:8]}.mlir"
    message = f"{type(error).__name__}: {' '.join(str(error).split())}"
    command = f"plena-opt -p '{spec}' {path}"
    header = [
        f"// plena-opt -p '{spec}' {path.name}",
        f"// {message}",
        f"// plena-mlir {__version__}, xdsl {version('xdsl')}, Python {platform.python_version()}; target {_target(start)}",
    ]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, "\n".join([*header, body, ""]))
    except OSError as problem:
        return CompilerCrash(f"internal error: {message}", where=failed.name, hint=f"no reproducer was written: {problem}")
    return CompilerCrash(f"internal error: {message}", where=failed.name, hint=f"please report it with {path}; replay: {command}")


def _spec(step: ModulePass) -> str:
    """The pass with its options; some, such as a store of constants, have no spelling on a command line and are left out."""
    try:
        return str(step.pipeline_pass_spec())
    except (TypeError, ValueError):
        return step.name


def _target(module: ModuleOp) -> str:
    try:
        return target_of(module).name
    except LoweringError:
        return "none"
