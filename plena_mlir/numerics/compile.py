"""How kernels are compiled: numba, without fast-math, cached on disk under a stamp of their sources.

Numba's own cache looks only at the file of the function it compiles, so a caller would keep an old version of a kernel from another
file. Here every kernel of the package lives in a folder named after the sources of all of them: one edit, one new folder.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_THREADS = 2
"""Threads that long array kernels may use."""

_PACKAGE = Path(__file__).resolve().parent.parent
_KERNEL_SOURCES = (
    "numerics/*.py",
    "timing/dram*.py",
    "emulator/kernels/*.py",
    "interpreters/tile_kernels.py",
    # The opcodes, fields and sizes that the kernels compile in.
    "dialects/plena_isa/*_ops.py",
    "dialects/plena_isa/formats.py",
    "target/hardware.py",
)
_KEPT_SECONDS = 24 * 3600
"""How long the compiled kernels of other sources stay on disk."""


@cache
def _cache_folder() -> str:
    """The folder compiled kernels are kept in, which need not exist yet."""
    digest = hashlib.sha256(numba.__version__.encode())
    for pattern in _KERNEL_SOURCES:
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.read_bytes())
    name = f"kernels-{digest.hexdigest()[:12]}"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    candidates = [Path(chosen)] if chosen else [_PACKAGE / "__pycache__", Path.home() / ".cache" / "plena_mlir"]
    for folder in candidates:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            current = folder / name
            _remove_old(folder, current)
            return str(current)
    return str(private_folder(Path(tempfile.gettempdir()) / f"plena_mlir-{os.getuid()}") / name)


def private_folder(path: Path) -> Path:
    """`path` as a folder that only this user can write to or read; where somebody else has made it, a new one for this process.

    What numba keeps on disk are pickles, which run code when they are loaded: they may not come from a name that others can guess.
    """
    with suppress(OSError):
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o077:
            return path
    fresh = Path(tempfile.mkdtemp(prefix="plena_mlir-"))
    atexit.register(shutil.rmtree, fresh, ignore_errors=True)
    return fresh


def _remove_old(folder: Path, current: Path) -> None:
    """Delete compiled kernels of other sources that nobody has chosen for a while, and note that `current` is in use.

    Another process may be doing the same.
    """
    with suppress(OSError):
        os.utime(current)
    for other in folder.glob("kernels-*"):
        with suppress(OSError):
            if other != current and time.time() - other.stat().st_mtime > _KEPT_SECONDS:
                shutil.rmtree(other, ignore_errors=True)


def kernel(function: Function) -> Function:
    """Compile `function` with numba at its first call, without the interpreter lock; the machine code is cached on disk.

    The function may not allocate arrays: numba counts no references in it, which would cost more than a scalar instruction does.
    """
    return _compile(function, no_cpython_wrapper=False)


def inner_kernel(function: Function) -> Function:
    """As `kernel`, for functions that only kernels call; these compile faster."""
    return _compile(function)


def fused_kernel(function: Function) -> Function:
    """As `inner_kernel`, for functions all of whose products are exact, as those of two float32 values in float64 are.

    A product and the sum it goes into may then be one fused instruction: it rounds once, after the addition, and so do the two.
    """
    return _compile(function, fastmath={"contract"})


def inline_kernel(function: Function) -> Function:
    """As `inner_kernel`, and inlined into every kernel that calls it."""
    return _compile(function, forceinline=True)


def merged_kernel(function: Function) -> Function:
    """As `inner_kernel`, and compiled only as part of its callers: for a long function that one kernel calls."""
    return _compile(function, inline="always")


def allocating_kernel(function: Function) -> Function:
    """As `kernel`, for functions that allocate arrays."""
    return _compile(function, no_cpython_wrapper=False, _nrt=True)


def _compile(function: Function, **options: bool | str | set[str]) -> Function:
    config = cast("Any", numba).config
    before = config.CACHE_DIR
    # Numba reads the folder while it decorates; other users of numba in this process keep theirs.
    config.CACHE_DIR = _cache_folder()
    try:
        defaults: dict[str, bool | str | set[str]] = {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        compile_ = cast("Any", numba).njit(cache=True, nogil=True, error_model="numpy", **(defaults | options))
        return compile_(function)
    finally:
        config.CACHE_DIR = before


def in_chunks(work: Callable[[int, int], object], count: int, *, smallest: int) -> None:
    """Call `work(start, stop)` on consecutive parts of range(count), on up to `MAX_THREADS` threads.

    The parts are independent, so the result does not depend on how many there are.
    """
    threads = min(MAX_THREADS, os.cpu_count() or 1, max(1, count // smallest))
    if threads == 1:
        work(0, count)
        return
    bounds = [count * index // threads for index in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))
