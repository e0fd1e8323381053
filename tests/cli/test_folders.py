"""Checkpoint folders as other tools save them, on the command line: experts stored one by one, and models of images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
    ViTConfig,
    ViTForImageClassification,
)

from plena_mlir.case import load_case
from plena_mlir.cli.plena import main

SIZES = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
IMAGES = {**SIZES, "image_size": 8, "patch_size": 4}
RUN = "--target 8x4x8 --timing none --json --compare hf,golden,tile".split()


def save(folder: Path, model: PreTrainedModel) -> str:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.ndim == 1 else 0.0, 0.2)
    model.save_pretrained(folder, max_shard_size="8KB")
    return str(folder)


def comparisons(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, float]]:
    """The report of a command that succeeds: `plena run` fails where a bound is broken."""
    assert main(arguments) == 0
    compare = json.loads(capsys.readouterr().out)["compare"]
    assert compare["tile_vs_emulator"]["bit_exact"]
    assert compare["hf_vs_tensor_fp32"]["max_rel"] < 1e-5
    return compare


def test_a_folder_of_experts_stored_one_by_one_runs(tmp_path, capsys):
    fields = {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "vocab_size": 24}
    folder = save(tmp_path / "mixtral", MixtralForCausalLM(MixtralConfig(**fields)))
    index = json.loads((tmp_path / "mixtral" / "model.safetensors.index.json").read_text())
    assert "model.layers.0.block_sparse_moe.experts.3.w1.weight" in index["weight_map"]
    comparisons(["run", folder, "--seq", "5", *RUN], capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [lambda: ViTForImageClassification(ViTConfig(**IMAGES)), lambda: SiglipVisionModel(SiglipVisionConfig(**IMAGES))],
    ids=["vit", "siglip"],
)
def test_a_folder_of_a_model_of_images_runs_and_its_case_repeats_it(model, tmp_path, capsys):
    folder = save(tmp_path / "model", model())
    own = comparisons(["run", folder, *RUN], capsys)
    case = tmp_path / "case.json"
    drawn = comparisons(["run", folder, *RUN, "--random-weights", "3", "--save-case", str(case)], capsys)
    assert drawn != own
    observed = load_case(case).observed
    assert observed is not None
    assert observed.status == "passed"
    assert comparisons(["run", str(case), "--json", "--timing", "none"], capsys) == drawn
    assert main(["run", f"{folder}/config.json", *RUN, "--random-weights", "3", "--batch", "2"]) == 1
    assert "a batch, lengths and another attention are for models of token ids" in capsys.readouterr().err
