"""`plena ablate`, and `plena run` with --golden and --plots, on a tiny checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plena_mlir.cli.plena import main
from plena_mlir.golden_precision import SWITCHES
from tests.cli.checkpoints import LAYERS, SEQ


@pytest.fixture
def model(checkpoint: Path) -> list[str]:
    """The command line arguments that say what to run."""
    return [str(checkpoint), *f"--seq {SEQ} --target 8x4x4".split()]


def test_steps_add_up_to_the_gap(model, tmp_path, capsys):
    assert main(["ablate", *model, "--emulator", "--json", "--plots", str(tmp_path / "new" / "plots")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["target"] == "8x4x4"
    assert [step["name"] for step in found["steps"]] == [*SWITCHES, "rounding_order"]
    for column in ("delta", "forward", "backward"):
        assert sum(step[column] for step in found["steps"]) == pytest.approx(found["total_gap"], rel=1e-6)
    assert [layer["layer"] for layer in found["layers"]] == [f"model.layers.{layer}" for layer in range(LAYERS)]
    assert found["cause"] == max(found["steps"], key=lambda step: step["share"])["name"]
    assert {path.name for path in (tmp_path / "new" / "plots").iterdir()} == {"waterfall.png", "layers.png"}


def test_the_table_names_the_cause(model, capsys):
    assert main(["ablate", *model]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["step"] == ["delta", "forward", "backward", "alone", "share"]
    assert list(rows)[1:6] == list(SWITCHES)
    assert rows["total"][0] == rows["total"][1] == rows["total"][2]
    shares = {switch: float(rows[switch][-1].rstrip("%")) for switch in SWITCHES}
    cause = max(SWITCHES, key=lambda switch: shares[switch])
    assert lines[-1].startswith(f"cause: {cause}, {rows[cause][-1]} of the squared gap; total gap ")
    assert rows["model.layers.0"][-1] in SWITCHES


def test_run_compares_with_the_golden_that_was_asked_for(model, tmp_path, capsys):
    argv = ["run", *model, "--compare", "golden", "--golden", "fp32", "--json", "--plots", str(tmp_path)]
    assert main(argv) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["golden_precision"] == "fp32"
    assert report["notes"][-1] == "the golden imitates nothing of the machine: golden_vs_emulator has no bound"
    comparison = report["compare"]["golden_vs_emulator"]
    assert comparison["rel_rms"] > 0.03
    assert comparison["sqnr_db"] < 31
    assert len(comparison["worst"]) == 5
    assert comparison["worst"][0]["error"] == comparison["max_abs"]
    assert {path.name for path in tmp_path.iterdir()} == {"errors.png", "worst.png", "layers.png"}


def test_a_shape_without_weights_has_no_gap(capsys):
    assert main(["ablate", *"clm-60m --layers 1 --seq 2 --scope decoder".split()]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("plena: error: clm-60m: this model has no weights")


def test_plots_need_a_folder(model, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["ablate", *model, "--json", "--plots", str(tmp_path / "file")]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "file" in captured.err
    assert "internal error" not in captured.err


def test_a_bundle_is_ablated_like_its_model(model, bundle, capsys):
    assert main(["ablate", *model, "--json"]) == 0
    direct = json.loads(capsys.readouterr().out)
    assert main(["ablate", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == direct
