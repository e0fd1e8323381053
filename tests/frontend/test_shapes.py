"""Built-in shapes: the published sizes, and a helpful refusal of other names."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from transformers import LlamaForCausalLM

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.configurations import model_class_of
from plena_mlir.frontend.shapes import SHAPES, shape_config
from plena_mlir.frontend.skeleton import skeleton_of_config

PARAMETERS = {
    "clm-60m": 53_877_120,
    "smollm2-135m": 134_515_008,
    "tinyllama-1.1b": 1_100_048_384,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.1-8b": 8_030_261_248,
    "llama-3.1-70b": 70_553_706_496,
    "qwen3-32b": 32_762_123_264,
    "mixtral-8x7b": 46_702_792_704,
    "llada-8b": 8_015_581_184,
}


@pytest.mark.parametrize("name", SHAPES)
def test_shape_has_the_published_number_of_parameters(name: str) -> None:
    config = shape_config(name)
    skeleton = skeleton_of_config(config, model_class_of(config, name, None))
    assert sum(math.prod(shape) for shape in skeleton.shapes.values()) == PARAMETERS[name]
    assert all(parameter.is_meta for parameter in skeleton.module.parameters())


def test_llama_3_2_has_its_rope_scaling() -> None:
    frequencies = skeleton_of_config(shape_config("llama-3.2-1b"), LlamaForCausalLM).module.model.rotary_emb.inv_freq
    unscaled = 5e5 ** -(31 / 32)
    assert float(frequencies[-1]) == pytest.approx(unscaled / 32, rel=1e-5)


def test_rope_theta_reaches_the_module() -> None:
    frequencies = skeleton_of_config(shape_config("smollm2-135m"), LlamaForCausalLM).module.model.rotary_emb.inv_freq
    assert float(frequencies[1]) == pytest.approx(1e5 ** -(1 / 32), rel=1e-6)


def test_unknown_name_suggests_a_shape() -> None:
    with pytest.raises(ModelImportError, match=r"unknown model 'smollm2'.*did you mean smollm2-135m\?"):
        shape_config("smollm2")


def test_names_of_shapes_load_without_torch() -> None:
    code = "import sys, plena_mlir.frontend.shapes; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
