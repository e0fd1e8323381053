"""`plena asm`, `disasm` and `emulate` on files, right and wrong."""

from __future__ import annotations

import os

import pytest

from plena_mlir.cli.plena import main

PROGRAM = """\
S_LUI_INT gp1, 5
C_LOOP_START gp2, 3
S_ADDI_INT gp3, gp3, 64
C_LOOP_END gp2
V_ADD_VF gp1, gp3, f2, 1
"""


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_text_to_words_to_text_is_the_identity(in_own_folder, capsys):
    (in_own_folder / "a.asm").write_text(PROGRAM)
    assert main(["asm", "a.asm", "-o", "a.mem"]) == 0
    assert (in_own_folder / "a.mem").read_text().splitlines()[0] == f"0x{0x25 | 1 << 6 | 5 << 10:08X}"
    assert main(["disasm", "a.mem"]) == 0
    assert capsys.readouterr().out == PROGRAM
    assert main(["disasm", "a.mem", "-o", "b.asm"]) == 0
    assert (in_own_folder / "b.asm").read_text() == PROGRAM


def test_a_misplaced_operand_is_corrected_with_a_warning_or_reproduced(in_own_folder, capsys):
    (in_own_folder / "a.asm").write_text("V_EXP_V gp1, gp2, 1\n")
    assert main(["asm", "a.asm", "-o", "a.mem"]) == 0
    assert capsys.readouterr().err.startswith("plena: warning: a.asm:1:19: V_EXP_V")
    assert main(["asm", "a.asm", "-o", "reference.mem", "--reference-encoding"]) == 0
    assert capsys.readouterr().err == ""
    ours, reference = (int((in_own_folder / name).read_text(), 16) for name in ("a.mem", "reference.mem"))
    assert ours ^ reference == 1 << 18 | 1 << 14


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"S_LUI_INT gp1, 5\nS_ADDI_INT gp1, gp16, 3\n", "a.asm:2:17: "),
        (b"S_ADDI_INT gp1, gp2, 262144\n", "a.asm:1:22: "),
        (b"FLY gp1\n", "a.asm:1:1: unknown instruction `FLY`"),
        (b"S_LUI_INT gp1, \xff\n", "a.asm: byte 15 is not UTF-8 text"),
        (None, "a.asm: No such file or directory"),
    ],
)
def test_bad_assembly_is_one_line_and_writes_nothing(contents, message, in_own_folder, capsys):
    if contents is not None:
        (in_own_folder / "a.asm").write_bytes(contents)
    before = os.listdir(in_own_folder)
    assert main(["asm", "a.asm", "-o", "a.mem"]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"plena: error: {message}")
    assert err.count("\n") == 1
    assert os.listdir(in_own_folder) == before


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"0x22\n0x1G\n", "a.mem:2:1: '0x1G' is not a hexadecimal word of 32 bits"),
        (b"123456789\n", "a.mem:1:1: '123456789' is not a hexadecimal word of 32 bits"),
        (b"\x80", "a.mem: byte 0 is not UTF-8 text"),
        (None, "a.mem: No such file or directory"),
    ],
)
def test_bad_machine_code_is_one_line_and_writes_nothing(contents, message, in_own_folder, capsys):
    if contents is not None:
        (in_own_folder / "a.mem").write_bytes(contents)
    before = os.listdir(in_own_folder)
    assert main(["disasm", "a.mem", "-o", "a.asm"]) == 1
    assert capsys.readouterr().err == f"plena: error: {message}\n"
    assert os.listdir(in_own_folder) == before


@pytest.mark.parametrize(("output", "reason"), [("missing/a.mem", "No such file or directory"), ("folder", "Is a directory")])
def test_an_output_that_cannot_be_written_is_one_line(output, reason, in_own_folder, capsys):
    (in_own_folder / "a.asm").write_text(PROGRAM)
    (in_own_folder / "folder").mkdir()
    assert main(["asm", "a.asm", "-o", output]) == 1
    assert capsys.readouterr().err == f"plena: error: {output}: {reason}\n"
    assert sorted(os.listdir(in_own_folder)) == ["a.asm", "folder"]
