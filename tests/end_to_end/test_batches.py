"""Several sequences in one run, padded or not: compared with Hugging Face where tokens are, and with runs of each sequence alone.

What Hugging Face computes in the rows of padding is arbitrary, so these rows are not compared with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from transformers import (
    BertConfig,
    Gemma2Config,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    PreTrainedConfig,
    Qwen3Config,
)

from plena_mlir.compiler import compile_hf_model
from plena_mlir.errors import LoweringError, ModelImportError
from plena_mlir.program import CompiledProgram
from plena_mlir.verify.bounds import broken_bounds

SIZES: dict[str, Any] = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 40,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


def compile_batch(config: PreTrainedConfig, target: str = "8x4x4", **options: Any) -> CompiledProgram:
    return compile_hf_model(config, target=target, random_weights=0, **options)


def check(program: CompiledProgram, tokens: int, features: int = 40) -> None:
    comparisons = program.run(compare=("hf", "golden", "tile")).report.comparisons
    assert broken_bounds(comparisons, layers=2) == ()
    assert comparisons["hf_vs_tensor_fp32"].elements == tokens * features


def llama(**fields: Any) -> PreTrainedConfig:
    return LlamaConfig(**SIZES, num_key_value_heads=2, **fields)


@pytest.mark.parametrize(
    ("config", "options", "tokens"),
    [
        (llama(), {"seq_len": 7, "lengths": (7, 3, 5), "padding_side": "left"}, 15),
        pytest.param(llama(), {"seq_len": 9, "batch": 2}, 18, marks=pytest.mark.slow),
        pytest.param(llama(), {"seq_len": 20, "lengths": (3, 20), "target": "16x4x16"}, 23, marks=pytest.mark.slow),
        pytest.param(
            llama(), {"seq_len": 12, "lengths": (12, 9), "padding_side": "left", "attention": "bidirectional"}, 21,
            marks=pytest.mark.slow,
        ),
        pytest.param(BertConfig(**SIZES), {"seq_len": 9, "lengths": (9, 4)}, 13, marks=pytest.mark.slow),
        pytest.param(
            MistralConfig(**SIZES, num_key_value_heads=2, sliding_window=5, head_dim=8),
            {"seq_len": 9, "lengths": (4, 9), "padding_side": "left"},
            13,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=16),
            {"seq_len": 6, "lengths": (3, 6), "padding_side": "left"},
            9,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            Gemma2Config(**SIZES, num_key_value_heads=2, head_dim=16, sliding_window=5, attn_logit_softcapping=5.0),
            {"seq_len": 8, "lengths": (3, 8)},
            11,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ModernBertConfig(**SIZES, local_attention=6, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2),
            {"seq_len": 9, "lengths": (9, 6, 6)},
            21,
            marks=pytest.mark.slow,
        ),
        pytest.param(
            GPT2Config(n_embd=48, n_layer=2, n_head=4, n_inner=80, vocab_size=40, n_positions=64),
            {"seq_len": 8, "lengths": (3, 8), "padding_side": "left"},
            11,
            marks=pytest.mark.slow,
        ),
    ],
)  # fmt: skip
def test_a_padded_batch_computes_what_hugging_face_computes(config: PreTrainedConfig, options: dict[str, Any], tokens: int) -> None:
    check(compile_batch(config, **options), tokens)


def test_a_sequence_in_a_batch_gives_the_bits_it_gives_alone() -> None:
    lengths = (5, 8)
    batch = compile_batch(llama(), seq_len=8, lengths=lengths, padding_side="left")
    ids = batch.inputs
    together = batch.run(timing="none").output
    for number, length in enumerate(lengths):
        rows = slice(8 * (number + 1) - length, 8 * (number + 1))
        alone = compile_batch(llama(), seq_len=length).run(timing="none", input_ids=[int(token) for token in ids[rows]]).output
        np.testing.assert_array_equal(together[rows], alone)


def test_padding_tokens_change_nothing() -> None:
    batch = compile_batch(llama(), seq_len=8, lengths=(5, 8), logits="last")
    ids = [int(token) for token in batch.inputs]
    expected = batch.run(timing="none").output
    assert expected.shape == (2, 40)
    ids[5:8] = [(token + 7) % 40 for token in ids[5:8]]
    np.testing.assert_array_equal(batch.run(timing="none", input_ids=ids).output, expected)


def test_a_model_that_does_not_take_a_mask_takes_no_padding() -> None:
    from transformers import FNetConfig

    with pytest.raises((ModelImportError, LoweringError), match="attention_mask"):
        compile_batch(FNetConfig(**SIZES), seq_len=8, lengths=(5, 8))
