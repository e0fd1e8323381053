"""A tiny checkpoint and its bundle, made once for all tests of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from plena_mlir.cli.plena import main
from tests.cli.checkpoints import LAYERS, SEQ, VOCAB


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with weights that matter, saved as Hugging Face does."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCAB,
        max_position_embeddings=32,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.uniform_(0.75, 1.25) if "norm" in name else parameter.normal_(0.0, 0.25)
    folder = tmp_path_factory.mktemp("checkpoint")
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bundle(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "out"
    assert main(["compile", str(checkpoint), *f"--target 8x4x4 --seq {SEQ} -o".split(), str(folder)]) == 0
    return folder
