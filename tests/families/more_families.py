"""Further model families that the general patterns cover: each runs end to end on one machine, in the slow tests."""

from __future__ import annotations

from transformers import BioGptConfig, CodeGenConfig, CTRLConfig, GPTBigCodeConfig, GPTJConfig, GPTNeoConfig, XGLMConfig

from tests.families.families import OMITTED, VOCABULARY, Family, config_of

_GPT = {"n_embd": 48, "n_layer": 2, "n_head": 4, "n_inner": 80, "vocab_size": VOCABULARY, "n_positions": 64}
_ROWS = {
    "d_model": 48,
    "num_layers": 2,
    "attention_heads": 4,
    "ffn_dim": 80,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
}

MORE_FAMILIES: tuple[Family, ...] = (
    Family("GPT-BigCode", lambda: GPTBigCodeConfig(**_GPT), "one key head in a fused projection"),
    Family("GPT-J", lambda: GPTJConfig(**_GPT, rotary_dim=8), "interleaved partial rope in front of the heads"),
    Family("CodeGen", lambda: CodeGenConfig(**_GPT, n_ctx=64, rotary_dim=8), "fused projections, mask before the scale"),
    Family(
        "GPT-Neo",
        lambda: GPTNeoConfig(
            hidden_size=48,
            num_layers=2,
            num_heads=4,
            intermediate_size=80,
            attention_types=[[["global", "local"], 1]],
            window_size=5,
            vocab_size=VOCABULARY,
            max_position_embeddings=64,
        ),
        "scores without scale, alternating windows",
    ),
    Family("XGLM", lambda: XGLMConfig(**_ROWS), "sinusoidal positions, attention in batches of heads"),
    Family(
        "CTRL",
        lambda: CTRLConfig(n_embd=48, n_layer=2, n_head=4, dff=80, vocab_size=VOCABULARY, n_positions=64),
        "sinusoidal positions, ReLU",
    ),
    Family(
        "BioGPT",
        lambda: BioGptConfig(
            hidden_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=80,
            vocab_size=VOCABULARY,
            max_position_embeddings=64,
        ),
        "scaled embedding, learned positions with offset",
    ),
    Family("StarCoder2", config_of("Starcoder2Config", sliding_window=5), "biases everywhere, sliding window"),
    Family("Nemotron", config_of("NemotronConfig", head_dim=12), "layer norm gain 1 + w, squared ReLU, partial rope"),
    Family(
        "Persimmon",
        config_of("PersimmonConfig", num_key_value_heads=OMITTED),
        "fused qkv by head, layer norms of heads with bias, squared ReLU",
    ),
    Family("GLM", config_of("GlmConfig", head_dim=12), "interleaved partial rope, fused gate-up"),
    Family("GLM-4", config_of("Glm4Config", head_dim=12), "norms before and after blocks"),
    Family("ERNIE 4.5", config_of("Ernie4_5Config", head_dim=12), "interleaved rope"),
    Family("SmolLM3", config_of("SmolLM3Config"), "layers without rope"),
    Family("Helium", config_of("HeliumConfig", head_dim=12), "interleaved rope"),
    Family("Arcee", config_of("ArceeConfig"), "squared ReLU without gate"),
    Family("Seed-OSS", config_of("SeedOssConfig", head_dim=12), "biases on q, k and v, explicit head size"),
    Family("OLMo 3", config_of("Olmo3Config", sliding_window=5), "norms after blocks, alternating windows"),
    Family("EXAONE 4", config_of("Exaone4Config", sliding_window=5), "norms of heads, norms after blocks"),
    Family("HunYuan", config_of("HunYuanDenseV1Config", head_dim=12), "norms of heads after rope"),
    Family("Ministral", config_of("MinistralConfig", head_dim=12, sliding_window=5), "sliding window"),
    Family("BitNet", config_of("BitNetConfig"), "norms inside attention and MLP, squared ReLU"),
)
