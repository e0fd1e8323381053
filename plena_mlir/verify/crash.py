"""Crash reproducers: an internal error of a pass leaves its input behind, with the one command that shows the error again.

// plena-opt -p 'convert-tile-to-isa' plena-crash-1f0c9a3d.mlir
// KeyError: 3
// plena-mlir 0.1.0, xdsl 0.74.0, Python 3.11.7; target 8x4x4
builtin.module ...

Where the pass read constants or parameters from a store, their values are in a second file, which the command names with
`--constants`; if they are many, the reproducer says instead that they are needed and how to give them.
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
from plena_mlir.verify.constants import constants_read, write_constants

FOLDER_VARIABLE = "PLENA_CRASH_DIR"
"""Environment variable: where reproducers go, by default the folder for temporary files."""

MOST_CONSTANTS = 64 << 20
"""Bytes of constants, as float32, up to which they are written beside a reproducer."""


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
    constants = constants_read(failed, start)
    size = sum(values.nbytes for values in constants.values())
    held = path.with_suffix(".npz")
    option = f" --constants {held.name}" if constants else ""
    header = [
        f"// plena-opt -p '{spec}'{option} {path.name}",
        f"// {message}",
        f"// plena-mlir {__version__}, xdsl {version('xdsl')}, Python {platform.python_version()}; target {_target(start)}",
    ]
    needed = ""
    if size > MOST_CONSTANTS:
        names = ", ".join(f"{name} {list(values.shape)}" for name, values in constants.items())
        needed = f"the pass read {size} bytes of parameters, which are too many to keep"
        header.append(f"// {needed}: write them to {held.name} by numpy.savez, under their names: {names}")
        needed = f"{needed}: the file says how to give them to --constants; "
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(path, "\n".join([*header, body, ""]))
        if constants and not needed:
            write_constants(held, constants)
    except OSError as problem:
        return CompilerCrash(f"internal error: {message}", where=failed.name, hint=f"no reproducer was written: {problem}")
    files = f"{path} and {held}" if constants and not needed else f"{path}"
    command = f"plena-opt -p '{spec}'{f' --constants {held}' if constants else ''} {path}"
    return CompilerCrash(
        f"internal error: {message}", where=failed.name, hint=f"please report it with {files}; {needed}replay: {command}"
    )


def _spec(step: ModulePass) -> str:
    """The pass with its options; some, such as a store of constants, have no spelling there and are left out."""
    try:
        return str(step.pipeline_pass_spec())
    except (TypeError, ValueError):
        return step.name


def _target(module: ModuleOp) -> str:
    try:
        return target_of(module).name
    except LoweringError:
        return "none"
