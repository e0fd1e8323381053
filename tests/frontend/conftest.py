"""Tiny Llama configurations, and checkpoints of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

TinyConfig = Callable[..., LlamaConfig]
SaveCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_config() -> TinyConfig:
    """Makes a two-layer Llama configuration with grouped queries; keyword arguments replace fields."""

    def make(**fields: object) -> LlamaConfig:
        defaults: dict[str, object] = {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": 61,
            "max_position_embeddings": 64,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        }
        return LlamaConfig.from_dict({**defaults, **fields})

    return make


@pytest.fixture
def save_checkpoint(tmp_path: Path, tiny_config: TinyConfig) -> SaveCheckpoint:
    """Saves a tiny model with default random weights as a checkpoint folder."""

    def save(*, dtype: torch.dtype = torch.float32, shard_size: str = "1GB", **fields: object) -> Path:
        torch.manual_seed(0)
        model = LlamaForCausalLM(tiny_config(**fields)).to(dtype)
        folder = tmp_path / "checkpoint"
        model.save_pretrained(folder, max_shard_size=shard_size)
        return folder

    return save
