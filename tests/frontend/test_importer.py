"""`import_model`: the IR computes what the Hugging Face module computes, and bad input is named."""

from __future__ import annotations

import resource
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, LlamaForCausalLM, LlamaModel, MistralConfig, PreTrainedConfig, Qwen2Config, T5Config
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, NameLoc
from xdsl.dialects.func import Func
from xdsl.ir import Operation
from xdsl.parser import Parser

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend import ImportedModel, ParameterStore, import_model
from plena_mlir.frontend.sources import RandomSource
from plena_mlir.interpreters.tensor import run_tensor
from tests.frontend.conftest import SaveCheckpoint, TinyConfig

MAX_REL = 1e-4
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 1e4,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
VARIANTS: dict[str, dict[str, object]] = {
    "grouped queries": {},
    "every head its own keys": {"num_key_value_heads": 4},
    "one key head": {"num_key_value_heads": 1},
    "explicit head_dim": {"head_dim": 16},
    "attention bias": {"attention_bias": True},
    "mlp bias": {"mlp_bias": True},
    "tied embeddings": {"tie_word_embeddings": True},
    "large theta": {"rope_parameters": {"rope_type": "default", "rope_theta": 5e5}},
    "linear rope": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
    "llama3 rope": {"rope_parameters": LLAMA3},
    "yarn rope": {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0}},
    "large eps": {"rms_norm_eps": 0.1},
    "gelu": {"hidden_act": "gelu_pytorch_tanh"},
}


def check(imported: ImportedModel, seed: int = 0) -> None:
    """The interpreted IR agrees with the Hugging Face module on every element."""
    inputs = imported.sample_inputs(seed)
    expected = imported.reference(inputs)
    (found,) = run_tensor(imported.module, [inputs], imported.store)
    assert found.shape == expected.shape
    assert expected.std() > 0.1
    assert np.abs(found - expected).max() <= MAX_REL * np.abs(expected).max()


@pytest.fixture(scope="module")
def plain(tiny_config: TinyConfig) -> ImportedModel:
    return import_model(tiny_config(), seq_len=9, random_weights=0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_ir_computes_what_the_model_computes(tiny_config: TinyConfig, plain: ImportedModel, variant: str) -> None:
    imported = import_model(tiny_config(**VARIANTS[variant]), seq_len=9, random_weights=0)
    imported.module.verify()
    check(imported)
    inputs = plain.sample_inputs(0)
    difference = np.abs(plain.reference(inputs) - imported.reference(inputs)).max()
    assert (difference > 1e-3) == (variant != "grouped queries"), "every variant must be visible in the output"


@pytest.mark.parametrize("seq_len", [1, 7, 64])
@pytest.mark.parametrize("scope", ["model", "decoder"])
def test_lengths_and_scopes(tiny_config: TinyConfig, seq_len: int, scope: Literal["model", "decoder"]) -> None:
    imported = import_model(tiny_config(), seq_len=seq_len, scope=scope, random_weights=0)
    check(imported)
    result = 61 if scope == "model" else 32
    assert imported.reference(imported.sample_inputs(0)).shape == (seq_len, result)


@pytest.mark.parametrize(
    "config",
    [
        Qwen2Config(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=61,
        ),
        GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=61, n_positions=32, bos_token_id=1, eos_token_id=2),
    ],
    ids=lambda config: config.model_type,
)
def test_other_families_come_in_by_the_same_path(config: PreTrainedConfig) -> None:
    check(import_model(config, seq_len=9, random_weights=0))


def test_sliding_window_is_in_the_mask() -> None:
    config = MistralConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=61,
        sliding_window=3,
    )
    imported = import_model(config, seq_len=8, random_weights=0)
    check(imported)
    masks = [op.result for op in imported.module.walk() if isinstance(op, pt.ConstantOp) and op.value.get_shape()[-2:] == (8, 8)]
    values = [mask.owner.value.get_values() for mask in masks if isinstance(mask.owner, pt.ConstantOp)]
    kept = np.array(values[-1], dtype=bool).reshape(8, 8)
    rows, columns = np.indices((8, 8))
    assert np.array_equal(kept, (columns <= rows) & (columns > rows - 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [False, True])
def test_live_module_keeps_its_weights(tiny_config: TinyConfig, dtype: torch.dtype, tied: bool) -> None:
    torch.manual_seed(1)
    model = LlamaForCausalLM(tiny_config(tie_word_embeddings=tied)).to(dtype)
    model.lm_head.weight.data.mul_(40)
    imported = import_model(model, seq_len=9)
    check(imported)
    assert bool(imported.notes) == (dtype == torch.bfloat16)
    assert next(model.parameters()).dtype == dtype
    inputs = imported.sample_inputs(0)
    with torch.no_grad():
        own = model.float().eval()(input_ids=torch.from_numpy(inputs)[None]).logits[0].numpy()
    assert np.allclose(own, imported.reference(inputs), atol=1e-4 * np.abs(own).max())


def test_edited_module_is_imported_as_edited(tiny_config: TinyConfig) -> None:
    model = LlamaForCausalLM(tiny_config())
    model.model.layers[1].mlp.act_fn = torch.nn.Tanh()
    names = [op.name for op in import_model(model, seq_len=4).module.walk()]
    assert names.count("plena_tensor.silu") == 1
    assert names.count("plena_tensor.tanh") == 1


def test_module_on_the_meta_device_is_a_shape(tiny_config: TinyConfig) -> None:
    with torch.device("meta"):
        model = LlamaForCausalLM(tiny_config())
    assert not import_model(model, seq_len=4).store.has_data
    check(import_model(model, seq_len=4, num_layers=1, random_weights=0))


def test_model_without_head_has_hidden_states(tiny_config: TinyConfig) -> None:
    model = LlamaModel(tiny_config())
    whole = import_model(model, seq_len=4)
    check(whole)
    assert whole.output == "last_hidden_state"
    with pytest.raises(ModelImportError, match=r"no output 'logits'.*its outputs are last_hidden_state"):
        import_model(model, seq_len=4, output="logits")
    imported = import_model(model, seq_len=4, scope="decoder")
    check(imported)
    assert "layers.1.mlp.up_proj.weight" in imported.store.names()


@pytest.mark.parametrize("tied", [False, True])
def test_checkpoint_is_what_transformers_loads(save_checkpoint: SaveCheckpoint, tied: bool) -> None:
    folder = save_checkpoint(shard_size="10KB", dtype=torch.bfloat16, tie_word_embeddings=tied, initializer_range=0.5)
    check(import_model(folder, seq_len=9))
    check(import_model(folder, seq_len=9, num_layers=1))


def test_fewer_layers_keep_the_weights_of_those_that_stay(tiny_config: TinyConfig) -> None:
    whole = import_model(tiny_config(), seq_len=4, random_weights=0)
    first = import_model(tiny_config(), seq_len=4, num_layers=1, random_weights=0)
    check(first)
    assert "model.layers.1.mlp.up_proj.weight" not in first.store.names()
    for name in first.store.names():
        assert np.array_equal(first.store.get(name), whole.store.get(name))
    live = LlamaForCausalLM(tiny_config())
    shorter = import_model(live, seq_len=4, num_layers=1)
    assert str(shorter.module) == str(first.module)
    assert len(live.model.layers) == 2


def test_every_op_is_located_at_its_module(tiny_config: TinyConfig) -> None:
    module = import_model(tiny_config(), seq_len=4, scope="decoder").module
    places: dict[str, str] = {}
    for op in module.body.block.walk():
        if isinstance(op, pt.TensorOp):
            assert isinstance(op.location, NameLoc)
            places[_describe(op)] = op.location.desc.data
    assert places["parameter model.layers.1.mlp.down_proj.weight"] == "model.layers.1.mlp.down_proj"
    assert places["linear model.layers.1.mlp.down_proj.weight"] == "model.layers.1.mlp.down_proj"
    assert places["sdpa"] == "model.layers.1.self_attn"
    assert places["silu"] == "model.layers.1.mlp.act_fn"
    assert all(place.startswith(("model.", "LlamaForCausalLM")) or place == "model" for place in places.values())


def _describe(op: Operation) -> str:
    kind = op.name.removeprefix("plena_tensor.")
    weight = op.weight.owner if isinstance(op, pt.LinearOp) else op
    return f"{kind} {weight.parameter_name.data}" if isinstance(weight, pt.ParameterOp) else kind


def test_small_constants_are_inline_and_large_ones_in_the_store(tiny_config: TinyConfig) -> None:
    small = import_model(tiny_config(), seq_len=8)
    assert not [name for name in small.store.names() if name.startswith("const.")]
    large = import_model(tiny_config(max_position_embeddings=256), seq_len=200)
    constants = [name for name in large.store.names() if name.startswith("const.")]
    assert {large.store.shape(name) for name in constants} == {(1, 1, 200, 8), (1, 1, 200, 200)}
    assert len(constants) == 3
    mask = large.store.constant(next(name for name in constants if large.store.shape(name)[-1] == 200))
    assert np.array_equal(mask[0, 0], np.tri(200, dtype=bool))


def test_import_is_deterministic(tiny_config: TinyConfig) -> None:
    first, second = (import_model(tiny_config(), seq_len=70 // 2) for _ in range(2))
    assert str(first.module) == str(second.module)
    assert np.array_equal(first.sample_inputs(3), second.sample_inputs(3))
    assert not np.array_equal(first.sample_inputs(3), first.sample_inputs(4))


def test_import_and_reference_print_nothing(save_checkpoint: SaveCheckpoint, capfd: pytest.CaptureFixture[str]) -> None:
    folder = save_checkpoint()
    capfd.readouterr()
    imported = import_model(folder, seq_len=4, scope="decoder")
    imported.reference(imported.sample_inputs(0))
    assert capfd.readouterr() == ("", "")


def test_text_of_the_ir_reads_back(tiny_config: TinyConfig) -> None:
    context = Context()
    for dialect in (Builtin, Func, pt.PlenaTensor):
        context.load_dialect(dialect)
    text = str(import_model(tiny_config(), seq_len=4).module)
    assert str(Parser(context, text).parse_module()) == text


def test_import_reads_no_weights(tiny_config: TinyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: RandomSource, name: str) -> None:
        raise AssertionError(f"{name} was read")

    monkeypatch.setattr(RandomSource, "read", refuse)
    imported = import_model(tiny_config(), seq_len=4, random_weights=0)
    with pytest.raises(AssertionError, match="was read"):
        imported.reference(imported.sample_inputs(0))


def test_shape_without_weights_imports_and_cannot_run(tiny_config: TinyConfig) -> None:
    imported = import_model(tiny_config(), seq_len=4)
    assert isinstance(imported.store, ParameterStore)
    assert not imported.store.has_data
    with pytest.raises(ModelImportError, match=r"no weights: its model is given as a shape only.*--random-weights"):
        imported.reference(imported.sample_inputs(0))


def test_bad_arguments_are_one_line_errors(tiny_config: TinyConfig, tmp_path: object) -> None:
    config = tiny_config()
    dynamic = tiny_config(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    cases: list[tuple[str, dict[str, object]]] = [
        (r"sequence length 0 \(a sequence has", {"model": config, "seq_len": 0}),
        (r"sequence length 65 is beyond the model's 64 positions", {"model": config, "seq_len": 65}),
        (r"0 layers are asked for of a llama model of 2 \(give 1 to 2\)", {"model": config, "num_layers": 0}),
        (r"3 layers are asked for of a llama model of 2 \(give 1 to 2\)", {"model": config, "num_layers": 3}),
        (r"unknown scope 'encoder' \(the scopes are model and decoder\)", {"model": config, "scope": "encoder"}),
        (r"unknown model 'clm-6m' \(did you mean clm-60m\?", {"model": "clm-6m"}),
        (r"unknown model 'meta-llama/Llama-3.2-1B'", {"model": "meta-llama/Llama-3.2-1B"}),
        (r"/nowhere: no such file or folder", {"model": "/nowhere"}),
        (r"nowhere\.json: no such file or folder", {"model": "nowhere.json"}),
        (r"this folder has no config\.json, so it is no checkpoint", {"model": str(tmp_path)}),
        (r"sequence length '8' \(a sequence has", {"model": config, "seq_len": "8"}),
        (r"None is no model \(a model is a transformers model", {"model": None}),
        ("LlamaForCausalLM: .* does not build: transformers knows no hidden_act 'zork'", {"model": tiny_config(hidden_act="zork")}),
        (r"rope type dynamic .*llama3, yarn", {"model": dynamic}),
    ]
    for message, arguments in cases:
        with pytest.raises(ModelImportError, match=message) as caught:
            import_model(**{"seq_len": 4, **arguments})  # pyright: ignore[reportArgumentType]
        assert "\n" not in str(caught.value)


def test_a_model_of_two_sequences_says_how_to_give_them() -> None:
    config = T5Config(
        d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, vocab_size=30, architectures=["T5ForConditionalGeneration"]
    )
    with pytest.raises(ModelImportError, match=r"an encoder-decoder model takes two sequences"):
        import_model(config, seq_len=4)


def test_inputs_of_the_reference_are_checked(tiny_config: TinyConfig) -> None:
    imported = import_model(tiny_config(), seq_len=4, random_weights=0)
    with pytest.raises(ModelImportError, match=r"inputs of shape \(5,\), expected \(4,\)"):
        imported.reference(np.zeros(5, dtype=np.int64))
    with pytest.raises(ModelImportError, match="token ids must be 0 to 60"):
        imported.reference(np.full(4, 61, dtype=np.int64))


class Sorting(nn.Module):
    """An activation function with an operator that has no import."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sort(-1).values


def test_unsupported_operator_names_module_and_operator(tiny_config: TinyConfig) -> None:
    model = LlamaForCausalLM(tiny_config())
    model.model.layers[0].mlp.act_fn = Sorting()
    with pytest.raises(ModelImportError, match=r"model\.layers\.0\.mlp\.act_fn: aten\.sort\.default is not supported"):
        import_model(model, seq_len=4)


@pytest.mark.slow
def test_smollm2_with_all_layers() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    imported = import_model("smollm2-135m", seq_len=64, random_weights=0)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 300_000, "import must not hold the 540 MB of weights"
    check(imported)
