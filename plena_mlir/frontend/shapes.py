"""Model shapes built in by name, so that a program can be compiled and measured without any download.

A shape is a configuration, not a checkpoint: it compiles as it is, and runs with random weights.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from plena_mlir.errors import ModelImportError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

SHAPES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "clm-60m": {
            "hidden_size": 384,
            "intermediate_size": 1408,
            "num_hidden_layers": 8,
            "num_attention_heads": 6,
            "num_key_value_heads": 2,
            "vocab_size": 49152,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        "smollm2-135m": {
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "vocab_size": 49152,
            "max_position_embeddings": 8192,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
        },
        "tinyllama-1.1b": {
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
            "vocab_size": 32000,
            "max_position_embeddings": 2048,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        },
        "llama-3.2-1b": {
            "hidden_size": 2048,
            "intermediate_size": 8192,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 5e5,
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        },
    }
)
"""Fields of `transformers.LlamaConfig` for each built-in shape."""


def shape_config(name: str) -> PreTrainedConfig:
    """The configuration of the built-in shape `name`.

    Raises:
        ModelImportError: no such shape; the message lists those there are.
    """
    fields = SHAPES.get(name)
    if fields is None:
        close = difflib.get_close_matches(name, SHAPES, n=1)
        suggestion = f"did you mean {close[0]}? " if close else ""
        raise ModelImportError(
            f"unknown model {name!r}",
            hint=f"{suggestion}built-in shapes are {', '.join(SHAPES)}; a checkpoint is given by its folder",
        )
    from transformers import LlamaConfig

    return LlamaConfig.from_dict(dict(fields))
