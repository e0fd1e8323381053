"""`plena emulate`: the public simulator's flags, settings lookup, dumps and log lines."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from plena_mlir.cli.options import byte_size
from plena_mlir.cli.plena import main
from plena_mlir.target import load_target, write_settings

# Row 2 = 1.5 in all lanes, FP SRAM entry 9 = 3, INT SRAM entry 5 = 7; one store to HBM, whose elements are at byte 0.
PROGRAM = """\
; first stage
S_LD_FP f1, gp0, 0
S_ADDI_INT gp1, gp0, 16
V_ADD_VF gp1, gp1, f1
// second stage
S_ADD_FP f2, f1, f1
S_ST_FP f2, gp0, 9
S_ADDI_INT gp2, gp0, 7
S_ST_INT gp2, gp0, 5
S_ADDI_INT gp3, gp0, 32 ; third stage
C_SET_SCALE_REG gp3
H_STORE_V gp1, gp0, a0, 0, 0
"""


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command line of a program in `tmp_path/run`, without settings."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PLENA_SETTINGS_TOML", raising=False)
    Path("a.asm").write_text(PROGRAM)
    assert main(["asm", "a.asm", "-o", "a.mem"]) == 0
    Path("hbm.bin").write_bytes(bytes(64))
    Path("fp.bin").write_bytes(np.array([1.5], np.float16).tobytes())
    write_settings(load_target("8x4x4"), "tiny.toml")
    return "emulate --opcode a.mem --hbm hbm.bin --fpsram fp.bin".split()


SETTINGS = ["--settings", "tiny.toml"]


def dumps() -> list[str]:
    return sorted(path.name for path in Path().glob("*_dump.bin"))


def test_dumps_hold_every_memory(command: list[str]):
    assert main([*command, *SETTINGS]) == 0
    assert dumps() == ["fpsram_dump.bin", "intsram_dump.bin", "mram_dump.bin", "vram_dump.bin"]
    target = load_target("8x4x4")
    vram = np.zeros((4, 8), "<u2")
    vram[2] = 0x3FC0
    with Path("vram_dump.bin").open("rb") as file:
        assert file.read(64) == vram.tobytes()
    assert Path("vram_dump.bin").stat().st_size == target.vector_sram_rows * 16
    assert Path("mram_dump.bin").read_bytes() == bytes(target.matrix_sram_tiles * 128)
    fp, integer = np.zeros(1024, "<u2"), np.zeros(1024, "<u4")
    fp[0], fp[9], integer[5] = 0x3FC0, 0x4040, 7
    assert Path("fpsram_dump.bin").read_bytes() == fp.tobytes()
    assert Path("intsram_dump.bin").read_bytes() == integer.tobytes()


def test_dumps_are_sparse(command: list[str]):
    assert main([*command, *SETTINGS, "--log-level", "debug", "--dump-dir", "dumps"]) == 0
    assert dumps() == []
    for name in ("hbm_dump.bin", "vram_dump.bin"):
        status = Path("dumps", name).stat()
        assert status.st_blocks * 512 < status.st_size // 16


def test_the_hbm_dump_holds_what_was_stored(command: list[str]):
    assert main([*command, *SETTINGS, "--log-level", "debug", "--hbm-size", "128KiB"]) == 0
    content = Path("hbm_dump.bin").read_bytes()
    assert len(content) == 128 << 10
    # 1.5 in the first of the four rows, with the scale 2^0; rows of zeros have scale byte 0.
    assert content[:64] == b"\x3c" * 8 + bytes(24) + b"\x7f" + bytes(31)


def test_a_trap_leaves_no_dumps(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, *SETTINGS, "--max-instructions", "3"]) == 1
    assert "executes more instructions than allowed" in capsys.readouterr().err
    assert dumps() == []


def test_no_dumps(command: list[str]):
    assert main([*command, *SETTINGS, "--no-dumps", "--log-level", "debug"]) == 0
    assert dumps() == []


def test_log_lines_are_those_that_scripts_look_for(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, *SETTINGS, "--no-dumps", "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert captured.err.splitlines() == [
        f"Simulation completed. Latency {report['cycles']['transactional']['total']}.000ns",
        "HBM Statistics - Bytes read: 512 | Bytes written: 512",
    ]
    assert main([*command, *SETTINGS, "--no-dumps", "--log-level", "off"]) == 0
    assert capsys.readouterr().err == ""
    assert main([*command, *SETTINGS, "--no-dumps", "--log-file", "run.log"]) == 0
    assert capsys.readouterr().err == ""
    assert Path("run.log").read_text() == captured.err


def settings_of(mlen: int) -> str:
    """The path of settings for a machine of this MLEN."""
    path = f"m{mlen}.toml"
    write_settings(load_target(f"{mlen}x8x8"), path)
    return path


def test_settings_come_from_the_option_then_the_environment_then_the_folder_above(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    command += ["--no-dumps", "--json", "--log-level", "off"]

    def target(*options: str) -> str:
        assert main([*command, *options]) == 0
        return json.loads(capsys.readouterr().out)["target"]

    os.replace(settings_of(16), "../plena_settings.toml")
    assert target() == "plena_settings"
    monkeypatch.setenv("PLENA_SETTINGS_TOML", settings_of(8))
    assert target() == "m8"
    assert target(*SETTINGS) == "tiny"


def test_the_built_in_machine_is_announced(command: list[str], capsys: pytest.CaptureFixture[str]):
    Path("a.mem").write_text("0x00000034")  # C_BREAK
    assert main(command) == 1
    assert "running on the built-in machine MLEN 32, BLEN 32, HLEN 16, HBM 1 GiB" in capsys.readouterr().err
    Path("a.mem").write_text("")
    assert main(command) == 0
    assert Path("vram_dump.bin").stat().st_size == 1024 * 32 * 2


def test_strict_stops_what_the_simulator_lets_pass(command: list[str], capsys: pytest.CaptureFixture[str]):
    Path("a.mem").write_text("0x00014022")  # S_ADDI_INT gp0, gp0, 5
    assert main([*command, *SETTINGS]) == 0
    assert main([*command, *SETTINGS, "--strict"]) == 1
    assert "strict: gp0" in capsys.readouterr().err


def test_assembly_runs_corrected_with_a_warning_or_as_the_reference_assembler_encodes_it(
    command: list[str], capsys: pytest.CaptureFixture[str]
):
    # Zeros from v_acc over lanes 4 to 7 of row 0; the reference assembler makes 0 to 3 of them.
    Path("b.asm").write_text("S_LD_FP f1, gp0, 0\nV_ADD_VF gp0, gp0, f1\nM_MV_WO gp0, 4 ; model.norm\n")
    command[command.index("a.mem")] = "b.asm"
    assert main([*command, *SETTINGS, "--log-level", "off"]) == 0
    assert capsys.readouterr().err.startswith("plena: warning: b.asm:3:14: M_MV_WO: imm 4 is encoded where")
    assert np.fromfile("vram_dump.bin", "<u2", 8).tolist() == [0x3FC0] * 4 + [0] * 4
    assert main([*command, *SETTINGS, "--log-level", "off", "--reference-encoding"]) == 0
    assert capsys.readouterr().err == ""
    assert np.fromfile("vram_dump.bin", "<u2", 8).tolist() == [0] * 4 + [0x3FC0] * 4
    Path("b.asm").write_text("C_BREAK ; model.norm\n")
    assert main([*command, *SETTINGS]) == 1
    assert "error: model.norm: pc 0: C_BREAK: " in capsys.readouterr().err


def test_machine_code_is_encoded_already(command: list[str], capsys: pytest.CaptureFixture[str]):
    assert main([*command, *SETTINGS, "--reference-encoding"]) == 1
    assert "machine code is encoded already" in capsys.readouterr().err


def test_stages_share_the_cycles(command: list[str]):
    stages = ["--stage-profile-asm", "a.asm", "--stage-profile-out", "stages.json"]
    assert main([*command, *SETTINGS, "--no-dumps", *stages]) == 0
    shares = {share["name"]: share for share in json.loads(Path("stages.json").read_text())["stages"]}
    assert {name: share["instructions"] for name, share in shares.items()} == {
        "first stage": 3,
        "second stage": 6,
        "third stage": 1,
    }
    assert shares["third stage"]["cycles"] == {"transactional": 1, "analytic": 1}


def test_stages_of_another_program_are_refused(command: list[str], capsys: pytest.CaptureFixture[str]):
    Path("b.asm").write_text("C_BREAK")
    assert main([*command, *SETTINGS, "--stage-profile-asm", "b.asm"]) == 1
    assert "10 words, but 1 instructions in the text" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "size"), [("64", 64), ("1K", 1024), ("2MiB", 2 << 20), ("3GB", 3 << 30), ("1t", 1 << 40), ("128B", 128)]
)
def test_sizes(text: str, size: int):
    assert byte_size(text) == size


def test_a_size_must_be_one(command: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit_:
        main([*command, "--hbm-size", "1.5G"])
    assert exit_.value.code == 2
    assert "'1.5G' is not a size" in capsys.readouterr().err
