"""Tiny Llama-family configurations, each with something that the others lack."""

from __future__ import annotations

from typing import Any

from transformers import LlamaConfig, PreTrainedConfig, Qwen2Config

SMALL: dict[str, Any] = dict(
    vocab_size=97,
    intermediate_size=40,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=64,
    bos_token_id=None,
    eos_token_id=None,
    pad_token_id=None,
)


def gqa() -> PreTrainedConfig:
    """Two query heads to a key head; heads of 16, two tiles of 8."""
    return LlamaConfig(**SMALL, hidden_size=64, num_key_value_heads=2)


def tied() -> PreTrainedConfig:
    """As many key heads as query heads; logits from the embedding table; features that fill no tile: 60 and heads of 15."""
    return LlamaConfig(
        **{**SMALL, "num_attention_heads": 3}, hidden_size=60, num_key_value_heads=3, head_dim=14, tie_word_embeddings=True
    )


def biased() -> PreTrainedConfig:
    """Biases everywhere, one key head, heads wider than hidden / heads, scaled rope."""
    return LlamaConfig(
        **SMALL,
        hidden_size=48,
        num_key_value_heads=1,
        head_dim=20,
        attention_bias=True,
        mlp_bias=True,
        rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0},
    )


def qwen2() -> PreTrainedConfig:
    """Biases on queries, keys and values only; another family."""
    return Qwen2Config(**SMALL, hidden_size=56, num_key_value_heads=2)


CONFIGS = {"gqa": gqa, "tied": tied, "biased": biased, "qwen2": qwen2}
