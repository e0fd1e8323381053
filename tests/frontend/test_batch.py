"""Where the tokens of a batch lie, and what a model is told about its padding."""

from __future__ import annotations

import pytest
from transformers import BertConfig, BertModel, LlamaConfig, LlamaForCausalLM, RobertaConfig, RobertaModel

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.batch import Batch

SIZES = {
    "vocab_size": 16,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "max_position_embeddings": 16,
}


def test_right_padding_follows_the_tokens() -> None:
    batch = Batch.of(None, 4, (4, 2), "right")
    assert batch.parts == ((0, 4), (4, 2))
    assert batch.token_rows == [0, 1, 2, 3, 4, 5]
    assert batch.last_rows == [3, 5]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]


def test_left_padding_comes_before_the_tokens() -> None:
    batch = Batch.of(2, 4, (4, 1), "left")
    assert batch.parts == ((0, 4), (7, 1))
    assert batch.last_rows == [3, 7]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 1], [0, 0, 0, 1]]


def test_sequences_of_one_length_need_no_mask() -> None:
    batch = Batch.of(3, 4, None, "left")
    assert (batch.size, batch.rows, batch.padded) == (3, 12, False)
    assert batch.fixed_arguments(LlamaForCausalLM(LlamaConfig(**SIZES))) == {}


def test_positions_of_a_model_that_generates_start_behind_left_padding() -> None:
    model = LlamaForCausalLM(LlamaConfig(**SIZES))
    assert Batch.of(2, 4, (4, 2), "left").fixed_arguments(model)["position_ids"].tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]
    assert "position_ids" not in Batch.of(2, 4, (4, 2), "right").fixed_arguments(model)
    assert "position_ids" not in Batch.of(2, 4, (4, 2), "left").fixed_arguments(BertModel(BertConfig(**SIZES)))


def test_positions_that_a_model_counts_from_its_ids_are_given() -> None:
    model = RobertaModel(RobertaConfig(**SIZES, pad_token_id=1))
    assert Batch.of(2, 3, (3, 1), "right").fixed_arguments(model)["position_ids"].tolist() == [[2, 3, 4], [2, 1, 1]]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((2, 4, (4, 3, 2), "right"), "3 lengths for a batch of 2"),
        ((None, 4, (5,), "right"), "a sequence of 5 tokens in 4 rows"),
        ((None, 4, (0,), "right"), "a sequence of 0 tokens"),
        ((None, 4, (), "right"), "0 lengths"),
        ((None, 4, None, "middle"), "padding side 'middle'"),
    ],
)
def test_contradictions_are_refused(options, problem) -> None:
    with pytest.raises(ModelImportError, match=problem):
        Batch.of(*options)
