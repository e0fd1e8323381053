"""Where compiled kernels are kept."""

from __future__ import annotations

import os
import stat
import tempfile
import time
from pathlib import Path

import pytest

from plena_mlir.numerics import compile as compiling


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of that for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_private_folder_is_made_and_found_again(temporary: Path) -> None:
    path = temporary / "kernels"
    assert compiling.private_folder(path) == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert compiling.private_folder(path) == path


@pytest.mark.parametrize("planted", ["open to others", "a link", "a file", "somebody else's"])
def test_a_folder_that_others_can_write_to_is_not_used(temporary: Path, monkeypatch: pytest.MonkeyPatch, planted: str) -> None:
    path = temporary / "kernels"
    match planted:
        case "open to others":
            path.mkdir()
            path.chmod(0o777)
        case "a link":
            (temporary / "elsewhere").mkdir(mode=0o700)
            path.symlink_to(temporary / "elsewhere")
        case "a file":
            path.touch()
        case _:
            path.mkdir(mode=0o700)
            monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    found = compiling.private_folder(path)
    assert found.parent == temporary
    assert found.name.startswith("plena_mlir-")
    assert stat.S_IMODE(found.stat().st_mode) == 0o700
    assert compiling.private_folder(path) != found


def test_kernels_that_are_in_use_stay(tmp_path: Path) -> None:
    old = time.time() - 2 * 24 * 3600
    used, unused = tmp_path / "kernels-used", tmp_path / "kernels-unused"
    for folder in (used, unused):
        folder.mkdir()
        os.utime(folder, (old, old))
    remove_old = compiling._remove_old
    remove_old(tmp_path, used)
    assert used.exists()
    assert not unused.exists()
    remove_old(tmp_path, tmp_path / "kernels-of-another-checkout")
    assert used.exists(), "it has been chosen a moment ago"
