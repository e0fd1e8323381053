"""What reaches a terminal and what does not."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings

from plena_mlir.cli.console import progress, show_own_warnings
from plena_mlir.cli.plena import main
from plena_mlir.target.settings import SettingsWarning


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_the_phase_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with progress() as listen:
        assert listen is not None
        listen("lower")
    assert "lowering" in terminal.getvalue()


def test_progress_is_off_when_stderr_is_no_terminal(capsys):
    with progress() as listen:
        assert listen is None
    assert capsys.readouterr().err == ""


def test_what_libraries_print_meanwhile_goes_to_stderr(capsys):
    with progress():
        print("from a library")
    print("the result")
    captured = capsys.readouterr()
    assert captured.out == "the result\n"
    assert captured.err == "from a library\n"


def test_own_warnings_are_one_line_and_others_are_silent(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    show_own_warnings("plena")
    warnings.warn("x.toml: unknown\nkeys: A", SettingsWarning, stacklevel=1)
    warnings.warn("torch changes its mind", FutureWarning, stacklevel=1)
    assert capsys.readouterr().err == "plena: warning: x.toml: unknown keys: A\n"


def test_a_reader_that_stops_early_is_no_error(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "plena_mlir.cli.plena", "targets"]
    done = subprocess.run(command, cwd=tmp_path, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_interrupt_while_a_command_starts_is_one_line(monkeypatch, capsys):
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("plena_mlir.cli.plena.build_parser", interrupt)
    assert main(["targets"]) == 130
    assert capsys.readouterr().err == "plena: interrupted\n"
