"""The tensor pipeline on imported Llamas: the function stays the same after every pass, and ends in canonical form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from transformers import LlamaConfig, MistralConfig, MptConfig, Qwen2Config
from xdsl.context import Context
from xdsl.dialects import func, scf
from xdsl.dialects.builtin import ModuleOp, UnknownLoc

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError
from plena_mlir.frontend.importer import ImportedModel, import_model
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.passes.pipelines import tensor_pipeline

SIZES: Mapping[str, Any] = dict(
    vocab_size=64,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    eos_token_id=None,
    bos_token_id=None,
    pad_token_id=None,
)


def llama(**changes: Any) -> LlamaConfig:
    return LlamaConfig(**{**SIZES, **changes})


def load(config: Any, seq_len: int = 7, scope: Any = "model") -> ImportedModel:
    return import_model(config, seq_len=seq_len, random_weights=1, scope=scope)


def lower(model: ImportedModel, **options: Any) -> ModuleOp:
    for tensor_pass in tensor_pipeline(model.store, **options):
        tensor_pass.apply(Context(), model.module)
    model.module.verify()
    return model.module


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    ("config", "seq_len", "scope"),
    [
        pytest.param(llama(head_dim=16, attention_bias=True, mlp_bias=True), 7, "model", id="head_dim and biases"),
        pytest.param(llama(num_key_value_heads=1, tie_word_embeddings=True), 7, "model", id="one key head, tied"),
        pytest.param(llama(num_key_value_heads=4), 1, "model", id="one token"),
        pytest.param(llama(), 7, "decoder", id="decoder"),
        pytest.param(llama(), 65, "decoder", id="mask and tables in the store"),
        pytest.param(Qwen2Config(**SIZES), 7, "model", id="qwen2"),
    ],
)
def test_every_pass_keeps_the_function(config: Any, seq_len: int, scope: str) -> None:
    model = load(config, seq_len, scope)
    inputs = model.sample_inputs(3)
    expected = run_tensor(model.module, [inputs], model.store)[0]
    assert relative_error(expected, model.reference(inputs)) <= 1e-5
    for tensor_pass in tensor_pipeline(model.store):
        tensor_pass.apply(Context(), model.module)
        model.module.verify()
        found = run_tensor(model.module, [inputs], model.store)[0]
        assert relative_error(found, expected) <= 1e-5, tensor_pass.name
        lost = [op.name for op in model.module.walk() if isinstance(op.location, UnknownLoc)]
        assert set(lost) <= {"builtin.module", "func.func"}, tensor_pass.name


def test_canonical_form_of_a_llama() -> None:
    module = lower(load(llama(attention_bias=True)))
    (main,) = module.body.block.ops
    assert isinstance(main, func.FuncOp)
    (loop,) = (op for op in main.body.block.ops if isinstance(op, scf.ForOp))
    activations = Counter(
        op.name.removeprefix("plena_tensor.")
        for op in loop.body.block.ops
        if isinstance(op, pt.TensorOp) and not pt.is_weight(op.result)
    )
    assert activations == {"rms_norm": 2, "linear": 7, "rope": 2, "quantize": 2, "attention": 1, "add": 2, "silu": 1, "mul": 1}
    outside = Counter(
        op.name.removeprefix("plena_tensor.")
        for op in main.body.block.ops
        if isinstance(op, pt.TensorOp) and not pt.is_weight(op.result)
    )
    assert outside == {"embedding": 1, "rms_norm": 1, "linear": 1}
    attention = next(op for op in loop.body.block.ops if isinstance(op, pt.AttentionOp))
    assert (attention.heads.value.data, attention.kv_heads.value.data) == (4, 2)
    assert (attention.scale.value.data, attention.mask_kind.data) == (1.0, "causal")


def test_the_gate_is_what_silu_acts_on() -> None:
    module = lower(load(llama()))
    silu = next(op for op in module.walk() if isinstance(op, pt.SiluOp))
    assert module_path(silu.x.owner) == "model.layers.{}.mlp.gate_proj"


def test_rolled_parameters_take_the_layer_index() -> None:
    module = lower(load(llama()))
    names = {op.parameter_name.data for op in module.walk() if isinstance(op, pt.ParameterOp) and op.layer is not None}
    assert "model.layers.{}.mlp.up_proj.weight" in names
    assert len(names) == 9


def test_the_final_norm_keeps_its_gain_only_when_it_is_returned() -> None:
    for scope, kept in (("model", False), ("decoder", True)):
        module = lower(load(llama(), scope=scope))
        norm = [op for op in module.walk() if isinstance(op, pt.RmsNormOp)][-1]
        assert (norm.gain is not None) is kept, scope


def test_a_sliding_window_is_recognised_by_value() -> None:
    module = lower(load(MistralConfig(**SIZES, sliding_window=3)))
    attention = next(op for op in module.walk() if isinstance(op, pt.AttentionOp))
    assert (attention.mask_kind.data, attention.window and attention.window.value.data) == ("sliding", 3)


def test_the_last_position_alone_is_that_row_of_all() -> None:
    inputs = load(llama()).sample_inputs(3)
    results = []
    for logits in ("all", "last"):
        model = load(llama())
        results += run_tensor(lower(model, logits=logits), [inputs], model.store)
    assert results[1].shape == (1, 64)
    np.testing.assert_allclose(results[1], results[0][-1:], rtol=1e-4, atol=1e-5)


def test_without_rolling_every_layer_stays() -> None:
    module = lower(load(llama()), roll_layers=False)
    assert not any(isinstance(op, scf.ForOp) for op in module.walk())
    assert sum(isinstance(op, pt.AttentionOp) for op in module.walk()) == 2


def test_what_is_not_recognised_is_refused_by_module_path() -> None:
    with pytest.raises(LoweringError, match=r"transformer\.blocks\.0.*: plena_tensor\.\w+ computes an activation of shape"):
        lower(load(MptConfig(d_model=32, n_heads=4, n_layers=1, vocab_size=40, max_seq_len=64)))


@pytest.mark.slow
def test_thirty_layers_are_as_many_ops_as_one() -> None:
    model = import_model("smollm2-135m", seq_len=64)
    lower(model)
    assert sum(1 for _ in model.module.walk()) <= 100
