"""Files and folders are written whole or not at all."""

from __future__ import annotations

import os

import pytest

from plena_mlir.errors import BundleError
from plena_mlir.files import make_folder, staged_folder, write_file


def test_a_file_is_replaced(tmp_path):
    write_file(tmp_path / "a.mem", "old")
    write_file(tmp_path / "a.mem", b"new")
    assert (tmp_path / "a.mem").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.mem"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    write_file(tmp_path / "a.mem", "old")
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "a.mem", "\ud800")
    assert (tmp_path / "a.mem").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.mem"]


def test_a_written_file_has_the_permissions_of_a_plain_one(tmp_path):
    (tmp_path / "plain").write_text("x")
    write_file(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "link").symlink_to("file")
    for content in ("old", "new"):
        write_file(tmp_path / "link", content)
        assert (tmp_path / "file").read_text() == content
    (tmp_path / "null").symlink_to(os.devnull)
    write_file(tmp_path / "null", "x")
    assert sorted(os.listdir(tmp_path)) == ["file", "link", "null"]
    assert all((tmp_path / name).is_symlink() for name in ("link", "null"))
    assert not os.path.isfile(os.devnull)


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_file(tmp_path / "pipe", "words")
    assert os.read(reader, 9) == b"words"
    os.close(reader)


def test_a_folder_appears_when_it_is_complete(tmp_path):
    out = tmp_path / "deep" / "bundle"
    with staged_folder(out, marker="manifest.json") as folder:
        (folder / "manifest.json").write_text("{}")
        assert not out.exists()
    assert os.listdir(out) == ["manifest.json"]
    assert os.listdir(out.parent) == ["bundle"]


def test_an_earlier_output_is_replaced_whole(tmp_path):
    for name in ("old.bin", "new.bin"):
        with staged_folder(tmp_path / "b", marker="manifest.json") as folder:
            (folder / "manifest.json").write_text("{}")
            (folder / name).write_text(name)
    assert sorted(os.listdir(tmp_path / "b")) == ["manifest.json", "new.bin"]


def test_a_failure_leaves_the_earlier_output(tmp_path):
    out = tmp_path / "b"
    with staged_folder(out, marker="manifest.json") as folder:
        (folder / "manifest.json").write_text("old")

    def fail() -> None:
        with staged_folder(out, marker="manifest.json") as folder:
            (folder / "manifest.json").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (out / "manifest.json").read_text() == "old"
    assert os.listdir(tmp_path) == ["b"]


def test_a_folder_that_is_no_earlier_output_is_refused(tmp_path):
    out = tmp_path / "home"
    out.mkdir()
    (out / "thesis.tex").write_text("")
    with pytest.raises(BundleError, match=r"no manifest\.json"), staged_folder(out, marker="manifest.json"):
        pass
    assert os.listdir(out) == ["thesis.tex"]


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "b").write_text("x")
    for folder in (tmp_path / "b", tmp_path / "b" / "deep" / "deeper"):
        with pytest.raises(BundleError, match="/b: is a file, not a folder"), staged_folder(folder, marker="manifest.json"):
            pass
        with pytest.raises(BundleError, match="/b: is a file, not a folder"):
            make_folder(folder)


def test_a_folder_is_named_by_its_own_name_where_it_cannot_be_made():
    with pytest.raises(OSError, match=r"'/proc/here'$"), staged_folder("/proc/here", marker="manifest.json"):
        pass
