"""The models of the space: families, the options that each has, and the config.json of a drawn shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Fields = dict[str, Any]
Rope = Literal["default", "linear", "llama3", "yarn"]


@dataclass(frozen=True)
class Shape:
    """A model and the sequences it is compiled for. A family leaves out the options that it has not.

    Attributes:
        seq: rows of each sequence.
        tied: the embedding is the head's weight too.
        window: tokens of the sliding window; 0 for none.
        rotary: share of a head's features that rope turns.
        eps: of the norms, as the power of ten it is.
        experts: that a router chooses from, and `chosen` of them for a row.
        lengths: tokens of each sequence, of which the rest is padding; empty for one sequence without.
        seed: draws the weights.
    """

    family: str
    seq: int
    layers: int
    hidden: int
    inter: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    attention_bias: bool = False
    mlp_bias: bool = False
    head_norms: bool = False
    tied: bool = False
    window: int = 0
    rope: Rope = "default"
    rotary: float = 1.0
    activation: str = "silu"
    eps: int = -6
    experts: int = 4
    chosen: int = 1
    lengths: tuple[int, ...] = ()
    padding: Literal["left", "right"] = "right"
    scope: Literal["model", "decoder"] = "model"
    seed: int = 0

    @property
    def legal(self) -> bool:
        """Whether transformers accepts it: the hidden features must divide by the heads, whatever head_dim says."""
        return (
            self.hidden % self.heads == 0
            and self.heads % self.kv_heads == 0
            and self.head_dim * self.rotary % 2 == 0
            and self.chosen <= self.experts
            and all(1 <= length <= self.seq for length in self.lengths)
            and ("head_dim" in FAMILIES[self.family].options or self.head_dim == self.hidden // self.heads)
        )

    def config(self) -> Fields:
        """The fields of a config.json."""
        rope: Fields = {"rope_type": self.rope, "rope_theta": 1e4, **_ROPE[self.rope]}
        if "rotary" in FAMILIES[self.family].options:
            rope["partial_rotary_factor"] = self.rotary
        common: Fields = {
            "hidden_size": self.hidden,
            "intermediate_size": self.inter,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "vocab_size": self.vocab,
            "max_position_embeddings": 128,
            "rope_parameters": rope,
            "hidden_act": self.activation,
            "rms_norm_eps": 10.0**self.eps,
            "tie_word_embeddings": self.tied,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        return {**common, "model_type": self.family, **FAMILIES[self.family].fields(self)}


_ROPE: dict[str, Fields] = {
    "default": {},
    "linear": {"factor": 4.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 32},
}


@dataclass(frozen=True)
class Family:
    """One model type of transformers.

    Attributes:
        options: the attributes of a shape that may be other than their defaults.
        fields: fields of its config.json that a Llama has not.
        weight: how often it is drawn, relative to the others.
    """

    options: frozenset[str]
    fields: Callable[[Shape], Fields]
    weight: int = 1


def _options(*names: str) -> frozenset[str]:
    return frozenset(names)


def _windows(shape: Shape) -> Fields:
    """Layers with and without a window in turn, the first with."""
    kinds = ["full_attention" if shape.window == 0 or layer % 2 else "sliding_attention" for layer in range(shape.layers)]
    return {"sliding_window": shape.window or None, "layer_types": kinds}


def _gemma(shape: Shape) -> Fields:
    return {
        **_windows(shape),
        "sliding_window": shape.window or 4096,  # Gemma 3 does not build without one, whether a layer has it or not
        "head_dim": shape.head_dim,
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 3 * shape.head_dim,
        "attention_bias": shape.attention_bias,
    }


FAMILIES: dict[str, Family] = {
    "llama": Family(
        _options("head_dim", "attention_bias", "mlp_bias", "tied", "rope", "activation", "eps"),
        lambda shape: {"head_dim": shape.head_dim, "attention_bias": shape.attention_bias, "mlp_bias": shape.mlp_bias},
        weight=10,
    ),
    "qwen2": Family(
        _options("tied", "window", "rope", "activation", "eps"),
        lambda shape: {**_windows(shape), "use_sliding_window": bool(shape.window)},
        weight=2,
    ),
    "qwen3": Family(
        _options("head_dim", "attention_bias", "tied", "window", "rope", "activation", "eps"),
        lambda shape: {
            **_windows(shape),
            "use_sliding_window": bool(shape.window),
            "head_dim": shape.head_dim,
            "attention_bias": shape.attention_bias,
        },
        weight=4,
    ),
    "mistral": Family(
        _options("head_dim", "tied", "window", "rope", "activation", "eps"),
        lambda shape: {"head_dim": shape.head_dim, "sliding_window": shape.window or None},
        weight=3,
    ),
    "stablelm": Family(
        _options("attention_bias", "head_norms", "tied", "rotary", "activation", "eps"),
        lambda shape: {
            "use_qkv_bias": shape.attention_bias,
            "qk_layernorm": shape.head_norms,
            "use_parallel_residual": shape.seed % 2 == 1,
            "layer_norm_eps": 10.0**shape.eps,
        },
        weight=3,
    ),
    "phi3": Family(
        _options("tied", "window", "rotary", "activation", "eps"), lambda shape: {"sliding_window": shape.window or None}, weight=2
    ),
    "smollm3": Family(
        _options("attention_bias", "mlp_bias", "tied", "rope", "activation", "eps"),
        lambda shape: {
            "attention_bias": shape.attention_bias,
            "mlp_bias": shape.mlp_bias,
            "no_rope_layers": [1 - layer % 2 for layer in range(shape.layers)],
            "use_sliding_window": False,
        },
    ),
    "glm4": Family(
        _options("head_dim", "attention_bias", "tied", "rotary", "activation", "eps"),
        lambda shape: {"head_dim": shape.head_dim, "attention_bias": shape.attention_bias},
    ),
    "starcoder2": Family(
        _options("mlp_bias", "tied", "window", "rope", "eps"),
        lambda shape: {
            "use_bias": shape.mlp_bias,
            "sliding_window": shape.window or None,
            "hidden_act": "gelu_pytorch_tanh",
            "norm_epsilon": 10.0**shape.eps,
        },
    ),
    "gemma2": Family(
        _options("head_dim", "attention_bias", "tied", "window", "eps"),
        lambda shape: {**_gemma(shape), "attn_logit_softcapping": 5.0, "final_logit_softcapping": 8.0},
        weight=2,
    ),
    "gemma3_text": Family(
        _options("head_dim", "attention_bias", "tied", "window", "eps"),
        lambda shape: {
            **_gemma(shape),
            "rope_parameters": {
                kind: {"rope_type": "default", "rope_theta": theta}
                for kind, theta in (("sliding_attention", 1e3), ("full_attention", 1e5))
            },
        },
        weight=2,
    ),
    "olmo2": Family(
        _options("attention_bias", "tied", "rope", "activation", "eps"), lambda shape: {"attention_bias": shape.attention_bias}
    ),
    "granite": Family(
        _options("attention_bias", "mlp_bias", "tied", "rope", "activation", "eps"),
        lambda shape: {
            "attention_bias": shape.attention_bias,
            "mlp_bias": shape.mlp_bias,
            "embedding_multiplier": 3.0,
            "attention_multiplier": 0.2,
            "residual_multiplier": 0.3,
            "logits_scaling": 2.5,
        },
    ),
    "mixtral": Family(
        _options("head_dim", "tied", "window", "rope", "activation", "eps", "experts", "chosen"),
        lambda shape: {
            "head_dim": shape.head_dim,
            "sliding_window": shape.window or None,
            "num_local_experts": shape.experts,
            "num_experts_per_tok": shape.chosen,
        },
        weight=2,
    ),
    "qwen3_moe": Family(
        _options("head_dim", "attention_bias", "tied", "rope", "activation", "eps", "experts", "chosen"),
        lambda shape: {
            "head_dim": shape.head_dim,
            "attention_bias": shape.attention_bias,
            "num_experts": shape.experts,
            "num_experts_per_tok": shape.chosen,
            "moe_intermediate_size": shape.inter,
            "norm_topk_prob": shape.seed % 2 == 1,
        },
    ),
    "gpt_oss": Family(
        _options("head_dim", "attention_bias", "tied", "window", "rope", "eps", "experts", "chosen"),
        lambda shape: {
            **_windows(shape),
            "sliding_window": shape.window or 4096,  # nor does GPT-OSS
            "head_dim": shape.head_dim,
            "attention_bias": shape.attention_bias,
            "num_local_experts": shape.experts,
            "num_experts_per_tok": shape.chosen,
        },
    ),
    "bert": Family(
        _options("activation", "eps"),
        lambda shape: {"layer_norm_eps": 10.0**shape.eps, "architectures": ["BertModel"]},
        weight=2,
    ),
    "modernbert": Family(
        _options("attention_bias", "mlp_bias", "window", "eps"),
        lambda shape: {
            "attention_bias": shape.attention_bias,
            "mlp_bias": shape.mlp_bias,
            "local_attention": 2 * shape.window + 2,
            "norm_eps": 10.0**shape.eps,
            "rope_parameters": {
                kind: {"rope_type": "default", "rope_theta": theta}
                for kind, theta in (("sliding_attention", 1e3), ("full_attention", 1e5))
            },
            "cls_token_id": 1,
            "sep_token_id": 2,
        },
    ),
    "cohere": Family(
        _options("attention_bias", "tied", "activation", "eps"),
        lambda shape: {"attention_bias": shape.attention_bias, "logit_scale": 0.3, "layer_norm_eps": 10.0**shape.eps},
    ),
}
"""Model types by name."""

ACTIVATIONS = ("silu", "silu", "silu", "gelu_pytorch_tanh", "gelu", "relu", "quick_gelu", "relu2")
