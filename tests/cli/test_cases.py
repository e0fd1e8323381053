"""Case files: `plena run` saves one with what came of it, and repeats it, wherever the fault was and when it is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plena_mlir.case import Case, Observation, is_case_file, load_case, save_case
from plena_mlir.cli.plena import main
from plena_mlir.passes.isa.legalize_immediates import LegalizeImmediatesPass
from plena_mlir.passes.tile.lowering import masks
from plena_mlir.target import load_target

CONFIG = {
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 24,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
}
OPTIONS = "--target 8x4x8 --seq 5 --random-weights 3 --compare hf,golden,tile,isa"


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    return str(path)


@pytest.fixture
def case_file(tmp_path: Path) -> Path:
    """A case that passes."""
    path = tmp_path / "case.json"
    save_case(path, Case(CONFIG, load_target("8x4x8"), seq_len=5, random_weights=3), Observation("passed"))
    return path


def test_a_case_file_holds_all_there_is_to_a_run(case_file, config, tmp_path, capsys):
    assert main(["run", str(case_file), "--json", "--save-case", str(tmp_path / "again.json")]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert (report["target"], report["model"]["seq"]) == ("8x4x8", 5)
    assert report["compare"]["isa_vs_emulator"]["bit_exact"]
    assert captured.err == f"plena: note: {case_file} passed when it was saved, again\n"
    assert load_case(tmp_path / "again.json") == load_case(case_file)


def test_sequences_padding_direction_and_golden_are_in_a_case(config, tmp_path, capsys):
    path = tmp_path / "case.json"
    options = "--target 8x4x8 --seq 4 --random-weights 3 --lengths 2,4 --padding-side left --attention bidirectional"
    assert (
        main(["run", config, *options.split(), *"--compare golden,hf --golden weights,kv --json --save-case".split(), str(path)])
        == 0
    )
    saved, report = load_case(path), json.loads(capsys.readouterr().out)
    assert (saved.seq_len, saved.lengths, saved.padding_side, saved.attention) == (4, (2, 4), "left", "bidirectional")
    assert main(["run", str(path), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["golden_precision"] == "weights,kv"
    assert (again["compare"], again["cycles"]) == (report["compare"], report["cycles"])


def test_a_planted_fault_is_saved_repeated_and_seen_to_be_gone(config, tmp_path, capsys, monkeypatch):
    path = tmp_path / "failure.json"
    with monkeypatch.context() as patch:
        patch.setattr(masks, "MASKED", 0.0)  # a mask that hides no key
        assert main(["run", config, *OPTIONS.split(), "--save-case", str(path)]) == 1
        assert load_case(path).observed.kind == "bounds: golden_vs_emulator"
        capsys.readouterr()
        assert main(["run", str(path)]) == 1
        error = capsys.readouterr().err
        assert "plena: error: golden_vs_emulator: rel_rms" in error
        assert "when it was saved, again" in error
    assert main(["run", str(path)]) == 0
    assert "when it was saved, and now passed" in capsys.readouterr().err


@pytest.mark.slow
def test_an_internal_error_is_saved_as_a_case_too(config, tmp_path, capsys, monkeypatch):
    path = tmp_path / "failure.json"

    def fail(*_: Any) -> None:
        raise KeyError("planted")

    with monkeypatch.context() as patch:
        patch.setenv("PLENA_CRASH_DIR", str(tmp_path))
        patch.setattr(LegalizeImmediatesPass, "apply", fail)
        assert main(["run", config, *OPTIONS.split(), "--save-case", str(path)]) == 1
        assert "internal error: KeyError" in load_case(path).observed.message
        capsys.readouterr()
        assert main(["run", str(path)]) == 1
        assert "when it was saved, again" in capsys.readouterr().err
    assert main(["run", str(path)]) == 0


def test_a_batch_with_padding_and_its_mask_are_saved_and_repeated(config, tmp_path, capsys):
    path = tmp_path / "case.json"
    given = "--lengths 3,2 --padding-side left --attention bidirectional --ids 1,2,3,0,4,5".split()
    assert main(["run", config, *"--target 8x4x8 --random-weights 3 --compare tile".split(), *given, "--save-case", str(path)]) == 0
    case = load_case(path)
    assert (case.seq_len, case.lengths, case.padding_side, case.attention) == (3, (3, 2), "left", "bidirectional")
    capsys.readouterr()
    assert main(["run", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["batch"] == 2


def test_options_replace_those_of_the_case(case_file, capsys):
    assert main(["run", str(case_file), *"--target 16x4x16 --seq 3 --compare tile --json".split()]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["target"], report["model"]["seq"], set(report["compare"])) == ("16x4x16", 3, {"tile_vs_emulator"})


@pytest.mark.slow
def test_a_case_compiles_to_a_bundle_that_bisect_can_follow(case_file, tmp_path, capsys):
    assert main(["compile", str(case_file), "-o", str(tmp_path / "bundle")]) == 0
    assert main(["bisect", str(tmp_path / "bundle")]) == 0
    assert "no divergence" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "plena.case/9"}, "a case of schema plena.case/9 (this version reads plena.case/1)"),
        ({"sequence": 3}, "unknown field sequence"),
        ({"target": {"mlen": 8}}, "malformed target description"),
        ({"model": {}}, "no model_type in this configuration"),
        ({"model": {"model_type": "nothing"}}, "this configuration does not load"),
        ({"seq_len": None}, "this case file cannot be read"),
    ],
)
def test_what_is_wrong_with_a_case_file_is_one_line(case_file, capsys, change, message):
    case_file.write_text(json.dumps({**json.loads(case_file.read_text()), **change}))
    assert main(["run", str(case_file)]) == 1
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith("plena: error: ")
    assert "internal error" not in error[-1]
    assert message in error[-1]


def test_a_case_needs_the_seed_of_its_weights(config, tmp_path, capsys):
    assert main(["run", config, "--save-case", str(tmp_path / "case.json")]) == 1
    assert "a case file holds no weights (give --random-weights SEED)" in capsys.readouterr().err
    assert not (tmp_path / "case.json").exists()


def test_a_case_is_not_run_for_a_file_that_cannot_be_written(case_file, tmp_path, capsys):
    assert main(["run", str(case_file), "--save-case", str(tmp_path / "nowhere" / "case.json")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"plena: error: {tmp_path / 'nowhere'}: no such folder for the case file\n"


def test_a_configuration_is_no_case_file(config, tmp_path):
    assert not is_case_file(config)
    assert not is_case_file(tmp_path)
    broken = tmp_path / "broken.json"
    broken.write_text('{"schema": "plena.case/1"')
    assert not is_case_file(broken)


def test_every_option_of_a_case_is_in_its_file(case_file):
    written = json.loads(case_file.read_text())
    assert set(Case.__dataclass_fields__) | {"schema", "versions"} == set(written)
