"""Families beyond the ones that are tested on every machine, and those that must be refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from transformers import (
    BloomConfig,
    DeepseekV3Config,
    FalconMambaConfig,
    MambaConfig,
    PreTrainedConfig,
    RwkvConfig,
)

from plena_mlir.compiler import compile_hf_model
from plena_mlir.errors import LoweringError, ModelImportError
from tests.families.families import Family, config_of
from tests.families.more_families import MORE_FAMILIES
from tests.families.test_families import QUICK, check

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("family", MORE_FAMILIES, ids=lambda family: family.name)
def test_a_family_runs_end_to_end(family: Family) -> None:
    check(family, *QUICK)


@dataclass(frozen=True)
class Refused:
    """A family that cannot be compiled.

    Attributes:
        where: the module path that the message starts with.
        what: what it says is missing.
    """

    name: str
    config: Callable[[], PreTrainedConfig]
    where: str
    what: str


REFUSED = (
    Refused(
        "Bloom (ALiBi)",
        lambda: BloomConfig(hidden_size=48, n_layer=2, n_head=4, vocab_size=40),
        "transformer.h.{}.self_attention",
        "differs between heads",
    ),
    Refused(
        "Mamba",
        lambda: MambaConfig(hidden_size=48, num_hidden_layers=2, vocab_size=40),
        "backbone.layers.0.mixer",
        "convolution in",
    ),
    Refused(
        "Falcon Mamba",
        lambda: FalconMambaConfig(hidden_size=48, num_hidden_layers=2, vocab_size=40),
        "backbone.layers.0.mixer",
        "convolution in",
    ),
    Refused("Jamba", config_of("JambaConfig", num_experts=4), "model.layers.0.mamba", "convolution in"),
    Refused("RecurrentGemma", config_of("RecurrentGemmaConfig"), "model.layers.0.temporal_block.conv_1d", "convolution in"),
    Refused(
        "RWKV",
        lambda: RwkvConfig(hidden_size=48, num_hidden_layers=2, vocab_size=40, context_length=64, attention_hidden_size=48),
        "rwkv",
        "writes to a tensor",
    ),
    Refused(
        "Qwen3-Next (linear attention)", config_of("Qwen3NextConfig", head_dim=12), "model.layers.0.linear_attn", "convolution in"
    ),
    Refused("DiffLlama", config_of("DiffLlamaConfig"), "model.layers.0.self_attn", "not \\[rows, features\\]"),
    Refused("Apertus (xIELU)", config_of("ApertusConfig"), "model.layers.0.mlp.act_fn", "softplus"),
    Refused(
        "DeepSeek-V3 (latent attention)",
        lambda: DeepseekV3Config(
            hidden_size=48,
            intermediate_size=80,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            vocab_size=40,
            n_routed_experts=4,
            first_k_dense_replace=2,
            kv_lora_rank=16,
            q_lora_rank=24,
            qk_rope_head_dim=8,
            v_head_dim=12,
            qk_nope_head_dim=12,
            n_group=1,
            topk_group=1,
            num_experts_per_tok=2,
            moe_intermediate_size=24,
        ),
        "model.layers.0.self_attn",
        "new_empty",
    ),
)


@pytest.mark.parametrize("family", REFUSED, ids=lambda family: family.name)
def test_what_is_not_supported_is_refused_where_it_is(family: Refused) -> None:
    with pytest.raises((ModelImportError, LoweringError), match=family.what) as error:
        compile_hf_model(family.config(), target=QUICK[0], seq_len=QUICK[1])
    assert error.value.where is not None
    assert error.value.where.startswith(family.where)
    assert error.value.hint
