"""`plena compile` and `plena run` on a tiny checkpoint, and on everything that can be wrong with one."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from plena_mlir.cli.plena import main
from plena_mlir.target import load_target, write_settings
from tests.cli.checkpoints import LAYERS, SEQ, VOCAB


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_bundle_holds_what_the_simulator_needs(bundle):
    names = set(contents(bundle))
    assert {
        "program.asm",
        "program.mem",
        "hbm.bin",
        "fpsram.bin",
        "intsram.bin",
        "plena_settings.toml",
        "manifest.json",
    } <= names
    assert sum(name.startswith("ir/") for name in names) >= 3


def test_the_same_input_gives_the_same_bytes(checkpoint, bundle, tmp_path):
    assert main(["compile", str(checkpoint), *f"--target 8x4x4 --seq {SEQ} -o".split(), str(tmp_path / "again")]) == 0
    assert contents(tmp_path / "again") == contents(bundle)


def test_run_compares_every_level(checkpoint, capsys):
    argv = ["run", str(checkpoint), *f"--target 8x4x4 --seq {SEQ} --compare hf,golden,tile --json".split()]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["target"] == "8x4x4"
    assert report["model"]["layers"] == LAYERS
    assert set(report["compare"]) == {
        "hf_vs_tensor_fp32",
        "golden_vs_hf",
        "golden_vs_emulator",
        "hf_vs_emulator",
        "tile_vs_emulator",
    }
    assert all(comparison["elements"] == SEQ * VOCAB for comparison in report["compare"].values())
    assert report["compare"]["tile_vs_emulator"]["bit_exact"]
    assert {"static", "dynamic"} == set(report["instructions"])
    assert {"import", "lower", "image", "emulate"} <= set(report["seconds"])
    assert {"vram_rows_peak", "mram_tiles_peak", "hbm_bytes", "cycles"} <= set(report)


@pytest.mark.slow
def test_a_bundle_runs_like_its_model(checkpoint, bundle, capsys):
    assert main(["run", str(checkpoint), *f"--target 8x4x4 --seq {SEQ} --json".split()]) == 0
    direct = json.loads(capsys.readouterr().out)
    assert main(["run", str(bundle), "--json", "--compare", "hf,golden,tile"]) == 0
    loaded = json.loads(capsys.readouterr().out)
    assert len(loaded["compare"]) == 5
    for section in ("instructions", "cycles", "hbm_bytes", "model", "target"):
        assert loaded[section] == direct[section]


def test_both_engines_agree(checkpoint, capsys):
    reports = {}
    for engine in ("fast", "interpreter"):
        argv = f"--target 8x4x4 --seq 2 --layers 1 --logits last --compare tile --engine {engine} --json".split()
        assert main(["run", str(checkpoint), *argv]) == 0
        reports[engine] = json.loads(capsys.readouterr().out)
        assert reports[engine]["compare"]["tile_vs_emulator"]["elements"] == VOCAB
    assert reports["fast"]["instructions"] == reports["interpreter"]["instructions"]


def test_the_emulator_runs_a_bundle_from_its_files(bundle, capsys, monkeypatch):
    monkeypatch.chdir(bundle)
    files = "--opcode program.mem --hbm hbm.bin --fpsram fpsram.bin --intsram intsram.bin --settings plena_settings.toml"
    assert main(["emulate", *files.split(), "--json"]) == 0
    emulated = json.loads(capsys.readouterr().out)
    assert main(["run", str(bundle), "--json"]) == 0
    ran = json.loads(capsys.readouterr().out)
    assert emulated["instructions"] == ran["instructions"]
    assert emulated["cycles"] == ran["cycles"]


def test_assembly_of_a_bundle_is_its_machine_code(bundle, tmp_path):
    assert main(["asm", str(bundle / "program.asm"), "-o", str(tmp_path / "again.mem")]) == 0
    assert (tmp_path / "again.mem").read_bytes() == (bundle / "program.mem").read_bytes()


def test_a_prompt_of_token_ids(checkpoint, capsys):
    argv = ["run", str(checkpoint), *"--target 8x4x4 --layers 1 --ids 3,1,4 --compare tile --json".split()]
    assert main(argv) == 0
    assert json.loads(capsys.readouterr().out)["compare"]["tile_vs_emulator"]["elements"] == 3 * VOCAB


def test_decoder_scope_goes_from_hidden_states_to_hidden_states(checkpoint, capsys):
    argv = f"--target 8x4x4 --seq {SEQ} --layers 1 --scope decoder --compare hf,golden,tile --json".split()
    assert main(["run", str(checkpoint), *argv]) == 0
    assert json.loads(capsys.readouterr().out)["compare"]["tile_vs_emulator"]["elements"] == SEQ * 16


# --- bad input ----------------------------------------------------------------------------------------------------------------


def refused(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """The one line that the command prints on stderr before it exits with status 1, having printed nothing else."""
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("plena: error: ")
    assert "internal error" not in captured.err, captured.err
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--target 8x4x4 --seq 33", "32"),
        ("--target 8x3x4", "MLEN % BLEN"),
        ("--target 9x3x3", "MLEN must be a multiple of 8"),
        ("--target big", "unknown target 'big'"),
        ("--target missing.toml", "missing.toml"),
        ("--target 8x4x4 --layers 3", "3"),
        ("--target 8x4x4 --ids 1,40", "40"),
    ],
)
def test_options_a_model_or_machine_cannot_take(options, message, checkpoint, capsys):
    assert message in refused(capsys, ["run", str(checkpoint), *options.split()])


@pytest.mark.parametrize(
    ("model", "message"),
    [("gpt-5", "unknown model 'gpt-5'"), ("./nowhere", "./nowhere"), ("clm-60", "did you mean clm-60m?")],
)
def test_an_unknown_model(model, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, ["compile", model, "-o", "out"])
    assert not list(tmp_path.iterdir())


def test_a_shape_without_weights_compiles_but_does_not_run(capsys):
    assert "weights" in refused(capsys, ["run", *"clm-60m --layers 1 --seq 4 --scope decoder".split()])


def damage_truncate(folder: Path) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def damage_remove_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def damage_shape(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 32}))


def damage_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize("damage", [damage_truncate, damage_remove_weights, damage_shape, damage_config])
def test_a_damaged_checkpoint(damage, checkpoint, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    damage(broken)
    out = tmp_path / "out"
    assert "broken" in refused(capsys, ["compile", str(broken), *f"--target 8x4x4 --seq {SEQ} -o".split(), str(out)])
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


@pytest.mark.parametrize(("memory", "size", "message"), [("hbm_size", 1024, "HBM"), ("vector_sram_rows", 16, "Vector SRAM")])
def test_a_machine_too_small_says_by_how_much(memory, size, message, checkpoint, tmp_path, capsys):
    write_settings(replace(load_target("8x4x4"), **{memory: size}), tmp_path / "small.toml")
    argv = ["compile", str(checkpoint), *f"--seq {SEQ} --settings".split(), str(tmp_path / "small.toml"), "-o"]
    error = refused(capsys, [*argv, str(tmp_path / "out")])
    assert re.search(message, error)
    assert not (tmp_path / "out").exists()


def test_settings_that_contradict_the_bundle(bundle, tmp_path, capsys):
    write_settings(load_target("16x4x4"), tmp_path / "other.toml")
    error = refused(capsys, ["run", str(bundle), "--settings", str(tmp_path / "other.toml")])
    assert "was compiled for target 8x4x4" in error


def test_the_settings_of_the_bundle_are_accepted(bundle):
    assert main(["run", str(bundle), "--settings", str(bundle / "plena_settings.toml")]) == 0


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json",
        "program.mem",
        "program.asm",
        "hbm.bin",
        "fpsram.bin",
        "intsram.bin",
        "inputs.npz",
        "plena_settings.toml",
        "ir/tile.mlir",
    ],
)
def test_a_damaged_bundle(name, bundle, tmp_path, capsys):
    broken = tmp_path / "broken"
    shutil.copytree(bundle, broken)
    (broken / name).write_bytes(b"\x00 not what it was")
    assert "broken" in refused(capsys, ["run", str(broken)])


def test_a_folder_with_other_files_is_not_replaced(checkpoint, tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    argv = ["compile", str(checkpoint), *f"--target 8x4x4 --seq {SEQ} -o".split(), str(tmp_path)]
    assert "no manifest.json" in refused(capsys, argv)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
