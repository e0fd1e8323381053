"""Checkpoints whose tensors transformers renames or merges: every parameter is what `from_pretrained` makes of the same folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import PreTrainedConfig, PreTrainedModel

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.source_model import open_model
from plena_mlir.frontend.store import ParameterStore

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 29}
EXPERTS = {**SIZES, "num_key_value_heads": 2, "head_dim": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
IMAGES = {"image_size": 8, "patch_size": 4, "num_channels": 3, "num_labels": 3}

MODELS: dict[str, tuple[str, dict[str, object]]] = {
    "mixtral": ("MixtralForCausalLM", {**EXPERTS, "num_local_experts": 12}),
    "qwen2_moe": (
        "Qwen2MoeForCausalLM",
        {**EXPERTS, "num_experts": 3, "shared_expert_intermediate_size": 8, "tie_word_embeddings": True},
    ),
    "qwen3_moe": ("Qwen3MoeForCausalLM", {**EXPERTS, "num_experts": 3}),
    "olmoe": ("OlmoeForCausalLM", {**EXPERTS, "num_experts": 3, "tie_word_embeddings": True}),
    "phimoe": ("PhimoeForCausalLM", {**EXPERTS, "num_local_experts": 3}),
    "dbrx": (
        "DbrxForCausalLM",
        {
            "d_model": 16,
            "n_heads": 4,
            "n_layers": 2,
            "vocab_size": 29,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4},
            "ffn_config": {"ffn_hidden_size": 8, "moe_num_experts": 3, "moe_top_k": 2, "hidden_size": 16},
        },
    ),
    "vit": ("ViTForImageClassification", {**SIZES, **IMAGES}),
    "dinov2": ("Dinov2Model", {**SIZES, **IMAGES, "use_swiglu_ffn": True}),
    "siglip": ("SiglipVisionModel", {**SIZES, **IMAGES}),
    "bert": ("BertForMaskedLM", SIZES),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 16, "vocab_size": 29}),
    "llama": ("LlamaForCausalLM", {**SIZES, "num_key_value_heads": 2}),
}


def save(
    folder: Path, model: str, *, dtype: torch.dtype = torch.float32, shard_size: str = "1GB", **fields: object
) -> PreTrainedModel:
    """Save one of MODELS with random weights, every one of them other than the default's."""
    name, sizes = MODELS[model]
    kind: type[PreTrainedModel] = getattr(transformers, name)
    config: PreTrainedConfig = kind.config_class(**{**sizes, **fields})
    config.architectures = [name]
    torch.manual_seed(0)
    module = kind(config)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter.data)
    module.to(dtype).save_pretrained(folder, max_shard_size=shard_size)
    return module


def edit(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Replace, add or (None) remove tensors of a checkpoint, in whatever file they are."""
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        for name, tensor in change.items():
            tensors.pop(name, None)
            if tensor is not None:
                tensors[name] = tensor
        save_file(tensors, file, metadata={"format": "pt"})


def store_of(folder: Path, num_layers: int | None = None) -> ParameterStore:
    return open_model(folder, num_layers=num_layers, random_weights=None).store


def assert_as_loaded(folder: Path, kind: type[PreTrainedModel]) -> None:
    store = store_of(folder)
    loaded = kind.from_pretrained(folder, dtype=torch.float32)
    parameters = dict(loaded.named_parameters(remove_duplicate=False))
    assert {store.canonical(name) for name in parameters} == set(store.names())
    for name, value in parameters.items():
        assert np.array_equal(store.get(name), value.detach().numpy()), name


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_is_what_transformers_loads(model: str, tmp_path: Path) -> None:
    module = save(tmp_path, model, shard_size="4KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert_as_loaded(tmp_path, type(module))
    saved = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    store = store_of(tmp_path)
    assert all(
        np.array_equal(store.get(name), value.numpy()) for name, value in saved.items() if name in dict(module.named_parameters())
    )


def test_pieces_in_bfloat16_are_upcast(tmp_path: Path) -> None:
    module = save(tmp_path, "mixtral", dtype=torch.bfloat16)
    assert "model.layers.0.block_sparse_moe.experts.3.w1.weight" in load_file(tmp_path / "model.safetensors")
    assert_as_loaded(tmp_path, type(module))
    assert any("bfloat16" in note for note in store_of(tmp_path).notes)


def test_names_of_the_module_itself_are_read_too(tmp_path: Path) -> None:
    module = save(tmp_path, "mixtral")
    module.save_pretrained(tmp_path, save_original_format=False)
    assert "model.layers.0.mlp.experts.gate_up_proj" in load_file(tmp_path / "model.safetensors")
    assert_as_loaded(tmp_path, type(module))


def test_a_checkpoint_of_the_model_below_the_head_is_read_too(tmp_path: Path) -> None:
    save(tmp_path, "vit")
    vit = transformers.ViTModel.from_pretrained(tmp_path, add_pooling_layer=False)
    head = {name: value for name, value in load_file(tmp_path / "model.safetensors").items() if name.startswith("classifier")}
    config = (tmp_path / "config.json").read_text()
    vit.save_pretrained(tmp_path)
    assert "encoder.layer.0.attention.attention.query.weight" in load_file(tmp_path / "model.safetensors")
    edit(tmp_path, dict(head))
    (tmp_path / "config.json").write_text(config)
    assert_as_loaded(tmp_path, transformers.ViTForImageClassification)


def test_fewer_layers_leave_no_note(tmp_path: Path) -> None:
    save(tmp_path, "mixtral")
    store = store_of(tmp_path, num_layers=1)
    assert store.notes == []
    assert store.get("model.layers.0.mlp.experts.gate_up_proj").shape == (12, 48, 16)
    edit(tmp_path, {"model.layers.0.block_sparse_moe.extra.weight": torch.ones(2)})
    assert "1 tensors of the checkpoint have no place" in store_of(tmp_path, num_layers=1).notes[0]


@pytest.mark.parametrize("expert", [0, 3, 11])
def test_a_missing_piece_is_named(expert: int, tmp_path: Path) -> None:
    save(tmp_path, "mixtral")
    name = f"model.layers.1.block_sparse_moe.experts.{expert}.w3.weight"
    edit(tmp_path, {name: None})
    with pytest.raises(
        ModelImportError,
        match=rf"tensor {name} is missing: the parameter model\.layers\.1\.mlp\.experts\.gate_up_proj of shape \(12, 48, 16\) "
        r"is made of 24, found 23",
    ):
        store_of(tmp_path)


def test_a_missing_piece_of_a_shard_names_the_shard(tmp_path: Path) -> None:
    save(tmp_path, "mixtral", shard_size="4KB")
    name = "model.layers.1.block_sparse_moe.experts.3.w2.weight"
    edit(tmp_path, {name: None})
    shard = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"][name]
    with pytest.raises(ModelImportError, match=rf"{shard}: tensor {name} is missing"):
        store_of(tmp_path)


def test_pieces_numbered_with_a_gap_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "olmoe")
    tensors = load_file(tmp_path / "model.safetensors")
    change = {f"model.layers.0.mlp.experts.{number}.down_proj.weight": None for number in (1, 2)}
    moved = {
        f"model.layers.0.mlp.experts.{n + 1}.down_proj.weight": tensors[f"model.layers.0.mlp.experts.{n}.down_proj.weight"]
        for n in (1, 2)
    }
    edit(tmp_path, {**change, **moved})
    with pytest.raises(ModelImportError, match=r"tensor model\.layers\.0\.mlp\.experts\.1\.down_proj\.weight is missing"):
        store_of(tmp_path)


def test_all_pieces_missing_and_a_renamed_tensor_missing(tmp_path: Path) -> None:
    save(tmp_path, "olmoe")
    edit(tmp_path, {f"model.layers.0.mlp.experts.{number}.down_proj.weight": None for number in range(3)})
    with pytest.raises(ModelImportError, match=r"experts\.0\.down_proj\.weight and 2 more are missing: .* found 0 of them"):
        store_of(tmp_path)
    save(tmp_path, "vit")
    edit(tmp_path, {"vit.encoder.layer.1.attention.output.dense.bias": None})
    with pytest.raises(
        ModelImportError, match=r"vit\.encoder\.layer\.1\.attention\.output\.dense\.bias is missing: .*o_proj\.bias"
    ):
        store_of(tmp_path)


def test_a_piece_too_many_and_a_piece_of_another_shape_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "mixtral")
    name = "model.layers.0.block_sparse_moe.experts.{}.w2.weight"
    edit(tmp_path, {name.format(12): torch.ones(16, 24)})
    with pytest.raises(
        ModelImportError, match=r"down_proj: expected shape \(12, 16, 24\) .* 13 tensors .*found shape \(13, 16, 24\)"
    ):
        store_of(tmp_path)
    edit(tmp_path, {name.format(12): None, name.format(5): torch.ones(16, 23)})
    with pytest.raises(ModelImportError, match=r"down_proj: expected shape .* 12 tensors .*w2\.weight, \w*Error: stack expects"):
        store_of(tmp_path)


def test_a_parameter_stored_twice_needs_one_value(tmp_path: Path) -> None:
    save(tmp_path, "bert")
    tensors = load_file(tmp_path / "model.safetensors")
    name = "bert.encoder.layer.0.output.LayerNorm"
    edit(tmp_path, {f"{name}.gamma": tensors[f"{name}.weight"].clone()})
    assert np.array_equal(store_of(tmp_path).get(f"{name}.weight"), tensors[f"{name}.weight"].numpy())
    edit(tmp_path, {f"{name}.gamma": torch.ones(16)})
    with pytest.raises(ModelImportError, match=r"LayerNorm\.gamma and .*LayerNorm\.weight are both the parameter .*different"):
        store_of(tmp_path)


def test_experts_stored_merged_and_one_by_one_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "mixtral")
    edit(tmp_path, {"model.layers.1.mlp.experts.down_proj": torch.ones(12, 16, 24)})
    with pytest.raises(
        ModelImportError, match=r"experts\.0\.w2\.weight and .* are both the parameter .*1\.mlp\.experts\.down_proj"
    ):
        store_of(tmp_path)


def test_names_of_old_norms_are_read(tmp_path: Path) -> None:
    module = save(tmp_path, "bert")
    tensors = load_file(tmp_path / "model.safetensors")
    old = {
        key.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for key, value in tensors.items()
    }
    save_file(old, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert any("gamma" in key for key in old)
    assert_as_loaded(tmp_path, type(module))


def test_quantised_checkpoints_and_pieces_are_refused(tmp_path: Path) -> None:
    save(tmp_path, "mixtral")
    name = "model.layers.0.block_sparse_moe.experts.5.w2.weight"
    edit(tmp_path, {name: torch.ones(16, 24).to(torch.float8_e4m3fn)})
    with pytest.raises(ModelImportError, match=rf"model\.safetensors: tensor {name}: expected one of .*found F8_E4M3.*quantised"):
        store_of(tmp_path)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "quantization_config": {"quant_method": "mxfp4"}}))
    with pytest.raises(ModelImportError, match=r"config\.json: .*quantised: quantization_config, method mxfp4"):
        store_of(tmp_path)
    assert open_model(tmp_path, num_layers=None, random_weights=0).store.has_data


def test_only_the_pieces_of_a_parameter_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from plena_mlir.frontend.checkpoint import Checkpoint

    save(tmp_path, "mixtral")
    read: list[str] = []
    whole = Checkpoint.read
    monkeypatch.setattr(Checkpoint, "read", lambda self, keys: read.extend(keys) or whole(self, keys))
    store = store_of(tmp_path)
    assert read == []
    store.get("model.layers.1.mlp.experts.down_proj")
    assert read == [f"model.layers.1.block_sparse_moe.experts.{number}.w2.weight" for number in range(12)]
