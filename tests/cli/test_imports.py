"""Tools on machine code start fast: none of them imports torch or transformers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from plena_mlir.target import load_target, write_settings

_RUN_AND_LIST = """
import sys
from plena_mlir.cli.plena import main
try:
    status = main(sys.argv[1:])
except SystemExit as exit:
    status = exit.code
heavy = sorted({"torch", "transformers"} & set(sys.modules))
sys.exit(f"status {status}, imported {heavy}" if status or heavy else 0)
"""


def run_apart(*argv: str, cwd: Path) -> None:
    """Run `plena argv` in a new interpreter, which fails if the command does or if it imports torch or transformers."""
    done = subprocess.run([sys.executable, "-c", _RUN_AND_LIST, *argv], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("argv", [("--help",), ("run", "--help"), ("targets", "--json")])
def test_help_and_targets_start_without_torch(argv, tmp_path):
    run_apart(*argv, cwd=tmp_path)


def test_importing_the_package_does_not_import_torch(tmp_path):
    code = "import sys, plena_mlir; plena_mlir.load_target('8x4x4'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


def test_assembler_disassembler_and_emulator_run_without_torch(tmp_path):
    (tmp_path / "a.asm").write_text("S_ADDI_INT gp1, gp0, 5\n")
    run_apart("asm", "a.asm", "-o", "a.mem", cwd=tmp_path)
    run_apart("disasm", "a.mem", cwd=tmp_path)
    write_settings(load_target("8x4x4"), tmp_path / "tiny.toml")
    (tmp_path / "empty").write_bytes(b"")
    run_apart(*"emulate --opcode a.mem --hbm empty --fpsram empty --settings tiny.toml".split(), cwd=tmp_path)


def test_a_command_can_be_interrupted_from_its_first_moment():
    """What takes time to import is imported where a KeyboardInterrupt is caught."""
    code = "import sys, plena_mlir.cli.plena; sys.exit(str({'numpy', 'numba', 'xdsl', 'rich'} & set(sys.modules) or ''))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stderr.strip() == ""
