"""The model families that are tested end to end: two layers, hidden size at most 64, sizes that are no multiples of each other.

Heads, window, rotary share, soft caps, multipliers: whatever a family has of its own is switched on, and set so that leaving it
out would show.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import transformers
from transformers import PreTrainedConfig

VOCABULARY = 40
OMITTED = object()
"""In place of a field that a configuration does not have."""


@dataclass(frozen=True)
class Family:
    """One model family.

    Attributes:
        name: what people call it.
        config: makes the configuration to test.
        traits: what the family has that Llama has not.
        options: what of the import differs from a causal model's logits.
        everywhere: tested on every machine and length; the others repeat what one of these has.
    """

    name: str
    config: Callable[[], PreTrainedConfig]
    traits: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    everywhere: bool = True


def _encoder(class_name: str, **fields: Any) -> Callable[[], PreTrainedConfig]:
    """Encoders have no groups of key heads."""
    return config_of(class_name, **{"num_key_value_heads": OMITTED, **fields})


def config_of(class_name: str, **fields: Any) -> Callable[[], PreTrainedConfig]:
    def make() -> PreTrainedConfig:
        shape = {
            "hidden_size": 48,
            "intermediate_size": 80,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "vocab_size": VOCABULARY,
            "max_position_embeddings": 64,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
        }
        made = {name: value for name, value in {**shape, **fields}.items() if value is not OMITTED}
        return getattr(transformers, class_name)(**made)

    return make


def _images(class_name: str, **fields: Any) -> Callable[[], PreTrainedConfig]:
    shape = {
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 12,
        "patch_size": 4,
        "num_channels": 3,
    }
    return lambda: getattr(transformers, class_name)(**{**shape, **fields})


_LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}

_YARN_ROPE = {
    "rope_type": "yarn",
    "rope_theta": 1e4,
    "factor": 4.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 16,
}

FAMILIES: tuple[Family, ...] = (
    Family("Llama 2", config_of("LlamaConfig", num_key_value_heads=4), "RMSNorm, rope, SwiGLU"),
    Family("Llama 3", config_of("LlamaConfig", head_dim=8), "grouped key heads, explicit head size"),
    Family(
        "Llama 3.1", config_of("LlamaConfig", rope_parameters=_LLAMA3_ROPE, tie_word_embeddings=True), "rope scaling, tied head"
    ),
    Family("Mistral", config_of("MistralConfig", sliding_window=5, head_dim=8), "sliding window"),
    Family("Qwen2", config_of("Qwen2Config"), "biases on q, k and v"),
    Family("Qwen3", config_of("Qwen3Config", head_dim=16), "norms of query and key heads"),
    Family("Gemma", config_of("GemmaConfig", head_dim=16, num_key_value_heads=1), "norm gain 1 + w, scaled embedding, GELU"),
    Family(
        "Gemma 2",
        config_of(
            "Gemma2Config",
            head_dim=16,
            sliding_window=5,
            query_pre_attn_scalar=24,
            attn_logit_softcapping=5.0,
            final_logit_softcapping=8.0,
        ),
        "soft caps, alternating windows, norms after blocks",
    ),
    Family(
        "Gemma 3",
        config_of(
            "Gemma3TextConfig",
            head_dim=16,
            sliding_window=5,
            query_pre_attn_scalar=24,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "two rope bases, norms of query and key heads",
    ),
    Family("Phi-3", config_of("Phi3Config", sliding_window=None), "fused qkv and gate-up projections"),
    Family("OLMo", config_of("OlmoConfig", clip_qkv=None), "layer norm without weights"),
    Family("OLMo 2", config_of("Olmo2Config"), "norms after blocks, norms of whole queries and keys"),
    Family("StableLM", config_of("StableLmConfig", partial_rotary_factor=0.5, use_qkv_bias=True), "partial rope, layer norm"),
    Family(
        "StableLM 2",
        config_of("StableLmConfig", partial_rotary_factor=0.5, use_parallel_residual=True, qk_layernorm=True),
        "parallel blocks, layer norms of heads",
    ),
    Family(
        "GPT-2",
        lambda: transformers.GPT2Config(n_embd=48, n_layer=2, n_head=4, n_inner=80, vocab_size=VOCABULARY, n_positions=64),
        "learned positions, layer norm with bias, Conv1D weights, GELU",
    ),
    Family("GPT-NeoX", config_of("GPTNeoXConfig", rotary_pct=0.5), "parallel blocks, interleaved qkv, partial rope"),
    Family(
        "OPT",
        config_of("OPTConfig", ffn_dim=80, word_embed_proj_dim=48, do_layer_norm_before=True),
        "learned positions with offset, ReLU",
    ),
    Family("Phi", config_of("PhiConfig", partial_rotary_factor=0.5), "parallel blocks, head with bias"),
    Family(
        "Granite",
        config_of(
            "GraniteConfig",
            embedding_multiplier=3.0,
            attention_multiplier=0.2,
            residual_multiplier=0.3,
            logits_scaling=2.5,
        ),
        "multipliers",
    ),
    Family("Cohere", config_of("CohereConfig", logit_scale=0.3), "parallel blocks, interleaved rope"),
    Family(
        "Cohere 2",
        config_of("Cohere2Config", logit_scale=0.3, sliding_window=5, layer_types=["sliding_attention", "full_attention"]),
        "windows with rope, whole layers without",
    ),
    Family("Mixtral", config_of("MixtralConfig", num_local_experts=6, num_experts_per_tok=2, head_dim=8), "two of six experts"),
    Family(
        "Qwen3-MoE",
        config_of(
            "Qwen3MoeConfig", num_experts=6, num_experts_per_tok=2, head_dim=8, moe_intermediate_size=24, norm_topk_prob=True
        ),
        "experts, norms of query and key heads",
        everywhere=False,
    ),
    Family(
        "OLMoE",
        config_of("OlmoeConfig", num_experts=9, num_experts_per_tok=5, intermediate_size=24),
        "five of nine experts, weights over all",
        everywhere=False,
    ),
    Family(
        "GPT-OSS",
        config_of(
            "GptOssConfig",
            num_local_experts=6,
            num_experts_per_tok=4,
            intermediate_size=40,
            head_dim=8,
            sliding_window=5,
            rope_parameters=_YARN_ROPE,
        ),
        "attention sinks, experts with biases and clamped gates, alternating windows, yarn",
    ),
    Family("BERT", _encoder("BertConfig"), "bidirectional, learned positions, token types, layer norm after blocks, GELU by erf"),
    Family(
        "BERT pooled",
        _encoder("BertConfig", architectures=["BertModel"]),
        "the first token through a dense layer and tanh",
        {"output": "pooler_output"},
    ),
    Family(
        "BERT classifier",
        _encoder("BertConfig", architectures=["BertForSequenceClassification"], num_labels=12),
        "a label for a sequence",
        everywhere=False,
    ),
    Family("MiniLM", _encoder("BertConfig"), "mean of the hidden states, of length one", {"output": "sentence_embedding"}),
    Family(
        "DistilBERT",
        lambda: transformers.DistilBertConfig(
            vocab_size=VOCABULARY, dim=48, hidden_dim=80, n_layers=2, n_heads=4, max_position_embeddings=64
        ),
        "no token types",
        everywhere=False,
    ),
    Family("RoBERTa", _encoder("RobertaConfig"), "positions counted after the padding id", everywhere=False),
    Family(
        "LLaDA",
        config_of("LlamaConfig", num_key_value_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5e5}),
        "a Llama that sees both ways",
        {"attention": "bidirectional"},
    ),
    Family("ELECTRA", _encoder("ElectraConfig", embedding_size=24), "embeddings narrower than the layers", everywhere=False),
    Family("ALBERT", _encoder("AlbertConfig", embedding_size=24), "all layers share their weights", everywhere=False),
    Family(
        "ModernBERT",
        _encoder("ModernBertConfig", local_attention=6, cls_token_id=1, sep_token_id=2),
        "bidirectional windows, rope, gated GELU",
    ),
    Family(
        "ViT",
        _images("ViTConfig", num_labels=11, architectures=["ViTForImageClassification"]),
        "patches, a class token, a label for an image",
    ),
    Family("SigLIP", _images("SiglipVisionConfig"), "patches, learned positions, GELU by tanh"),
)
