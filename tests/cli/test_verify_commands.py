"""`plena check` and `plena bisect`: what they print, their exit status, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from plena_mlir.bundle import load_bundle
from plena_mlir.cli.plena import main
from plena_mlir.target.layout import GlobalData

MODEL_OPTIONS = "--target 8x4x4 --seq 5 --layers 1 --random-weights 0".split()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration; the weights are random."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        vocab_size=16,
        max_position_embeddings=16,
        architectures=["LlamaForCausalLM"],
    )
    folder = tmp_path_factory.mktemp("checkpoint")
    config.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "sound"
    assert main(["compile", str(checkpoint), *MODEL_OPTIONS, "-o", str(folder)]) == 0
    return folder


def test_a_bundle_finds_its_model_from_any_folder(checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(checkpoint.parent)
    assert main(["compile", checkpoint.name, *MODEL_OPTIONS, "-o", str(tmp_path / "bundle")]) == 0
    monkeypatch.chdir(tmp_path)
    assert main(["check", "bundle", "--stages"]) == 0
    assert "lm_head/linear" in capsys.readouterr().out


@pytest.fixture(scope="module")
def faulty(bundle: Path) -> Path:
    """The same program on an image with a wrong scale, the first of up_proj's."""
    folder = bundle.parent / "faulty"
    program = load_bundle(bundle)
    (name,) = [tensor.name for tensor in program.tensors if "up_proj" in tensor.name]
    data = program.weights[name]
    scales = data.scales.copy()
    scales[0] += 3
    program.image = {**program.weights, name: GlobalData(data.elements, scales)}
    del program.__dict__["weights"]
    program.save(folder)
    # The bundle was loaded, and so has not the IR of every pass: its images are what is wrong.
    shutil.rmtree(folder / "ir")
    shutil.copytree(bundle / "ir", folder / "ir")
    manifest, original = (json.loads((each / "manifest.json").read_text()) for each in (folder, bundle))
    (folder / "manifest.json").write_text(json.dumps({**manifest, "ir": original["ir"]}))
    return folder


def test_check_holds_a_bundle_against_every_level(bundle, capsys):
    assert main(["check", str(bundle), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)["compare"]
    assert compared["tile_vs_emulator"]["bit_exact"]
    assert compared["golden_vs_emulator"]["elements"] == 5 * 16


def test_check_lists_every_stage(bundle, capsys):
    assert main(["check", str(bundle), "--stages", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["passed"] is True
    names = [stage["stage"] for stage in report["stages"]]
    for part in ("scores", "probabilities"):
        assert f"model.layers.0.self_attn/attention/{part}" in names
    assert all(0 <= stage["isolated"]["rel_rms"] <= report["bound"] for stage in report["stages"])
    assert main(["check", str(bundle), "--stages"]) == 0
    assert "model.layers.0.mlp.down_proj/linear" in capsys.readouterr().out


@pytest.mark.slow
def test_check_of_a_model_takes_the_options_of_a_compilation(checkpoint, capsys):
    assert main(["check", str(checkpoint), *MODEL_OPTIONS, "--stages", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_check_names_what_is_wrong(faulty, capsys):
    assert main(["check", str(faulty), "--stages"]) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("plena: error: model.layers.0.mlp.up_proj/linear: isolated rel_rms")
    assert len(shown.err.splitlines()) == 1
    assert main(["check", str(faulty)]) == 1
    assert "golden_vs_emulator" in capsys.readouterr().err


@pytest.mark.slow
def test_bisect_of_a_sound_bundle_finds_nothing(bundle, capsys):
    assert main(["bisect", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"divergence": None}


def test_levels_that_agree_have_no_divergence(bundle, capsys):
    assert main(["bisect", str(bundle), "--levels", "tile", "emulator"]) == 0
    assert capsys.readouterr().out == "no divergence\n"


@pytest.mark.slow
def test_bisect_of_one_bundle_names_the_tensor_at_fault(faulty, capsys):
    assert main(["bisect", str(faulty), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["divergence"]
    assert found["pass_name"] is None
    assert found["module_path"] == "model.layers.0.mlp.up_proj"
    assert found["op"] == "plena_tensor.linear"
    assert "up_proj.weight, scale 0: 0x" in found["reason"]
    assert found["expected"] != found["actual"]


@pytest.mark.slow
def test_bisect_of_two_bundles_prints_where_they_part(bundle, faulty, capsys):
    assert main(["bisect", str(bundle), str(faulty)]) == 1
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["stage"] == "model.layers.0.mlp.up_proj/linear"
    assert shown["module"] == "model.layers.0.mlp.up_proj"
    assert shown["expected"] != shown["actual"]
    assert "in tile (0, 0)" in shown["place"]
    assert "pc " in shown["instruction"]


def test_bisect_of_two_levels(bundle, capsys):
    assert main(["bisect", str(bundle), *"--levels hardware weights,kv --json".split()]) == 1
    found = json.loads(capsys.readouterr().out)["divergence"]
    assert found["stage"] == "model.embed_tokens/embedding"


def test_bisect_of_a_switch(checkpoint, capsys):
    assert main(["bisect", str(checkpoint), *MODEL_OPTIONS, *"--switch golden=hardware,fp32 --json".split()]) == 1
    assert json.loads(capsys.readouterr().out)["divergence"]["op"] == "plena_tensor.embedding"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("bisect {0} --levels tile thing", "'thing' is neither a mode"),
        ("bisect {0} --switch strategy=micro,fast", "there is no strategy 'fast'"),
        ("bisect {0} --switch speed=1,2", "the switch speed=1,2 cannot be set in two ways"),
        ("bisect {0} --switch pass=nothing", "there is no pass 'nothing' to leave out"),
        ("bisect {0} --seq 9", "--seq cannot change a compiled bundle"),
        ("bisect {0} {0}/nowhere", "there is no readable manifest.json"),
        ("bisect nowhere", "nowhere"),
        ("check {0} --layers 3", "--layers cannot change a compiled bundle"),
        ("check nowhere --stages", "nowhere"),
    ],
)
def test_what_cannot_be_done_is_one_line(bundle, arguments, message, capsys):
    assert main(arguments.format(bundle).split()) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("plena: error: ")
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        "bisect",
        "check",
        "bisect a --switch strategy",
        "bisect a --levels tile",
        "bisect a b --levels tile emulator",
        "bisect a b c",
    ],
)
def test_wrong_usage_exits_with_two(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


def test_a_bundle_without_the_ir_of_its_passes_is_refused(bundle, tmp_path, capsys):
    load_bundle(bundle).save(tmp_path / "bundle")
    assert main(["bisect", str(tmp_path / "bundle")]) == 1
    assert "does not hold the IR after every pass" in capsys.readouterr().err
    assert np.array_equal(load_bundle(tmp_path / "bundle").run().output, load_bundle(bundle).run().output)
