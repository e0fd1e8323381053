"""A vision-language model end to end: an image and token ids go in, logits come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers.modeling_outputs import BaseModelOutputWithPooling

from plena_mlir.compiler import CompiledProgram, compile_hf_model
from plena_mlir.errors import ModelImportError
from plena_mlir.target import load_target
from plena_mlir.verify.bounds import broken_bounds
from plena_mlir.verify.stage_checks import check_program

IMAGE_TOKEN = 39
IDS = torch.tensor([[5, IMAGE_TOKEN, IMAGE_TOKEN, IMAGE_TOKEN, IMAGE_TOKEN, 7, 8]])
CONFIG = transformers.SmolVLMConfig(
    vision_config={
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 4,
    },
    text_config={
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 40,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    },
    image_token_id=IMAGE_TOKEN,
    scale_factor=2,
    pad_token_id=0,
)


class ImageAndText(nn.Module):
    """SmolVLM for images without padding: its own towers, connector and language model."""

    def __init__(self) -> None:
        super().__init__()
        self.vlm = transformers.SmolVLMForConditionalGeneration(CONFIG)

    def forward(self, input_ids: torch.Tensor, pixel_values: torch.Tensor) -> torch.Tensor:
        model = self.vlm.model
        side = CONFIG.vision_config.image_size // CONFIG.vision_config.patch_size
        whole = torch.ones(pixel_values.shape[0], side, side, dtype=torch.bool)
        patches = model.vision_model(pixel_values, patch_attention_mask=whole).last_hidden_state
        features = BaseModelOutputWithPooling(pooler_output=list(model.connector(patches)))
        return self.vlm(input_ids=input_ids, mm_encoder_outputs={"image": features}, use_cache=False).logits


@pytest.fixture(scope="module")
def program() -> CompiledProgram:
    return compile_hf_model(ImageAndText(), target="8x4x4", inputs=(IDS, torch.zeros(1, 3, 16, 16)), random_weights=0)


def test_an_image_and_text_become_logits(program: CompiledProgram) -> None:
    comparisons = program.run(compare=("hf", "golden", "tile"), timing="none").report.comparisons
    assert not broken_bounds(comparisons, layers=4)
    assert all(stage.passed for stage in check_program(program))
    assert program.run(timing="none").output.shape == (IDS.shape[1], 40)


def test_the_text_and_the_image_change_from_run_to_run(program: CompiledProgram) -> None:
    ids, image = program.inputs
    first = program.run(timing="none").output
    other_text = ids.copy()
    other_text[0, -1] = 9
    changed = program.run(inputs=(other_text, image), timing="none").output
    assert np.array_equal(changed[:-1], first[:-1])
    assert not np.array_equal(changed[-1], first[-1])
    changed = program.run(inputs=(ids, image[..., ::-1]), timing="none").output
    assert np.array_equal(changed[0], first[0])
    assert (changed[1:] != first[1:]).any(axis=1).all()


@pytest.mark.slow
def test_both_towers_are_cut_into_blocks_of_rows_where_memory_is_short(program: CompiledProgram) -> None:
    small = replace(load_target("8x4x4"), vector_sram_rows=340)
    cut = compile_hf_model(ImageAndText(), target=small, inputs=(IDS, torch.zeros(1, 3, 16, 16)), random_weights=0)
    assert "Vector SRAM of 340 rows: blocks of 8 rows" in cut.report.notes
    assert np.array_equal(cut.run(timing="none").output, program.run(timing="none").output)


def test_image_tokens_elsewhere_are_refused(program: CompiledProgram) -> None:
    ids, image = program.inputs
    moved = np.roll(ids, 1, axis=1)
    with pytest.raises(ModelImportError, match="input 0 holds 39 at 4 places, the program was compiled for 4: 1, 2, 3, 4"):
        program.run(inputs=(moved, image), timing="none")
