"""`plena asm`, `disasm` and `emulate` on files, right and wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from plena_mlir.cli.plena import main
from plena_mlir.target import load_target, write_settings

PROGRAM = """\
S_LUI_INT gp1, 5
C_LOOP_START gp2, 3
S_ADDI_INT gp3, gp3, 64
C_LOOP_END gp2
V_ADD_VF gp1, gp3, f2, 1
"""


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
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


# Counts 3 words of INT SRAM into the first, then fetches one vector transfer (4 rows of 8 elements) that the loop points at.
SUMMING = """\
S_LUI_INT gp4, 64
C_SET_SCALE_REG gp4
C_LOOP_START gp2, 3
S_LD_INT gp5, gp1, 1
S_ADD_INT gp3, gp3, gp5
S_ADDI_INT gp1, gp1, 1
C_LOOP_END gp2
S_ST_INT gp3, gp0, 0
H_PREFETCH_V gp0, gp0, a0, 0, 0
"""


@pytest.fixture
def program(in_own_folder: Path) -> list[str]:
    """The command line of a program and its files."""
    (in_own_folder / "a.asm").write_text(SUMMING)
    assert main(["asm", "a.asm", "-o", "a.mem"]) == 0
    (in_own_folder / "hbm.bin").write_bytes(bytes(128))
    (in_own_folder / "fp.bin").write_bytes(b"")
    (in_own_folder / "int.bin").write_bytes(b"".join(n.to_bytes(4, "little") for n in (9, 1, 2, 3)))
    write_settings(load_target("8x4x4"), in_own_folder / "tiny.toml")
    return "emulate --opcode a.mem --hbm hbm.bin --fpsram fp.bin --intsram int.bin --settings tiny.toml".split()


def test_emulate_reports_counts_cycles_and_traffic(program, capsys):
    assert main([*program, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["schema"] == "plena.report/1"
    assert report["target"] == "tiny"
    assert report["instructions"] == {"static": 9, "dynamic": 17}
    cycles = report["cycles"]["transactional"]
    assert cycles["total"] == cycles["compute"] + cycles["dma"]
    assert cycles["compute"] == 16
    assert cycles["dma"] > 0
    assert set(report["cycles"]["analytic"]) == {"total"}
    assert report["hbm_bytes"]["payload_read"] == 4 * 8 + 4
    assert report["hbm_bytes"]["written"] == 0


@pytest.mark.parametrize("profile", ["transactional", "analytic"])
def test_emulate_reports_the_cycles_asked_for(profile, program, capsys):
    assert main([*program, "--json", "--timing", profile]) == 0
    assert set(json.loads(capsys.readouterr().out)["cycles"]) == {profile}


def test_emulate_without_timing_reports_no_cycles(program, capsys):
    assert main([*program, "--json", "--timing", "none"]) == 0
    assert "cycles" not in json.loads(capsys.readouterr().out)


def test_emulate_for_people(program, capsys):
    assert main(program) == 0
    out = capsys.readouterr().out
    assert "instructions.dynamic          17\n" in out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"a.mem": b"0x2G"}, "a.mem:1:1: '0x2G' is not a hexadecimal word of 32 bits"),
        ({"a.mem": None}, "a.mem"),
        ({"hbm.bin": None}, "hbm.bin"),
        ({"fp.bin": None}, "fp.bin"),
        ({"int.bin": None}, "int.bin"),
        ({"fp.bin": bytes(2050)}, "FP SRAM"),
        ({"int.bin": bytes(4100)}, "INT SRAM"),
        ({"tiny.toml": b"[MODE"}, "tiny.toml: cannot read the settings"),
        ({"tiny.toml": b""}, "tiny.toml: there is neither a TRANSACTIONAL nor an ANALYTIC table"),
        ({"a.mem": b"0x00000000"}, "pc 0"),
    ],
)
def test_emulate_refuses_bad_files_in_one_line(damage, message, program, in_own_folder, capsys):
    for name, contents in damage.items():
        if contents is None:
            (in_own_folder / name).unlink()
        else:
            (in_own_folder / name).write_bytes(contents)
    assert main([*program, "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("plena: error: ")
    assert "internal error" not in captured.err
    assert message in captured.err
    assert captured.err.count("\n") == 1
