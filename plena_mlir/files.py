"""Write files and folders whole or not at all.

Everything is written under a temporary name in the same folder and renamed at the end: a failure leaves what was
there before.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from plena_mlir.errors import BundleError


def write_file(path: str | Path, data: str | bytes) -> None:
    """Write `data` (text as UTF-8) to `path`, replacing what was there.

    A link stays a link to what is replaced, and a device or a pipe is written to, not replaced.

    Raises:
        OSError: the file cannot be written; `path` is then as it was.
    """
    path = Path(path)
    content = data.encode() if isinstance(data, str) else data
    temporary = ""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            path.write_bytes(content)
            return
        target = path.resolve()
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        _take_default_mode(temporary, 0o666)
        os.replace(temporary, target)
    except BaseException as error:
        if temporary:
            os.unlink(temporary)
        if isinstance(error, OSError):
            # The user knows the file by its own name, not by the temporary's.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def staged_folder(path: str | Path, *, marker: str) -> Generator[Path]:
    """A new folder to fill, which becomes `path` when the block ends without an error.

    A folder that is already at `path` is replaced if it is empty or holds a file `marker`, and refused otherwise,
    since it is then no earlier output.

    Raises:
        BundleError: `path` is a file, or a folder with other contents.
        OSError: the folder cannot be written.
    """
    path = Path(path)
    check_folder(path, marker=marker)
    make_folder(path.parent)
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    try:
        _take_default_mode(staging, 0o777)
        new = staging / "new"
        new.mkdir()
        yield new
        if path.exists():
            os.replace(path, staging / "old")
        os.replace(new, path)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_folder(path: str | Path, *, marker: str | None = None) -> None:
    """Check that a folder can be made at `path`, or written to, before the work is done that fills it.

    Args:
        marker: a file that an earlier output holds. With it, the folder will be replaced.

    Raises:
        BundleError: `path` is a file, or, with a `marker`, a folder with other contents.
        OSError: the folder cannot be made, or not be written to.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise BundleError("is a file, not a folder", where=str(path))
    if marker is not None and path.is_dir() and any(path.iterdir()) and not (path / marker).is_file():
        raise BundleError(
            f"the folder holds files but no {marker}, so it is not replaced", where=str(path), hint="name a new folder"
        )
    present = path if path.exists() and marker is None else next(parent for parent in path.absolute().parents if parent.exists())
    if not present.is_dir():
        raise BundleError("is a file, not a folder", where=str(present))
    if not os.access(present, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(present))


def make_folder(path: str | Path) -> None:
    """Make a folder and those that it lies in, if they are not there.

    Raises:
        BundleError: one of them is a file.
        OSError: one of them cannot be made.
    """
    check_folder(path)
    Path(path).mkdir(parents=True, exist_ok=True)


def _take_default_mode(path: str | Path, mode: int) -> None:
    """Give a temporary, which is made private, the permissions a plain new file would have."""
    mask = os.umask(0)
    os.umask(mask)
    os.chmod(path, mode & ~mask)
