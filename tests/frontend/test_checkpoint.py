"""Checkpoint folders: every layout read exactly, every damage named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend import import_model
from tests.frontend.conftest import SaveCheckpoint


def edit(folder: Path, change: dict[str, torch.Tensor | None]) -> None:
    """Replace, add or (None) remove tensors of a one-file checkpoint."""
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in change.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shard_size", ["1GB", "10KB"])
def test_every_tensor_is_read_as_saved(save_checkpoint: SaveCheckpoint, dtype: torch.dtype, shard_size: str) -> None:
    folder = save_checkpoint(dtype=dtype, shard_size=shard_size)
    assert (len(list(folder.glob("*.safetensors"))) > 1) == (shard_size == "10KB")
    imported = import_model(folder, seq_len=4)
    saved = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert set(imported.store.names()) == set(saved)
    for name, tensor in saved.items():
        assert np.array_equal(imported.store.get(name), tensor.float().numpy()), name
    upcast = [note for note in imported.notes if "upcast to float32" in note]
    assert len(upcast) == (dtype != torch.float32)
    assert all(str(dtype).removeprefix("torch.") in note for note in upcast)


def test_tied_embeddings_need_one_tensor(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint(tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    store = import_model(folder, seq_len=4).store
    assert store.get("lm_head.weight") is store.get("model.embed_tokens.weight")


def test_tied_embeddings_may_be_stored_under_the_other_name(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint(tie_word_embeddings=True)
    embeddings = load_file(folder / "model.safetensors")["model.embed_tokens.weight"]
    edit(folder, {"model.embed_tokens.weight": None, "lm_head.weight": embeddings})
    assert np.array_equal(import_model(folder, seq_len=4).store.get("model.embed_tokens.weight"), embeddings.numpy())


def test_tied_names_with_different_values_are_refused(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint(tie_word_embeddings=True)
    edit(folder, {"lm_head.weight": torch.ones(61, 32)})
    with pytest.raises(ModelImportError, match=r"ties model.embed_tokens.weight and lm_head.weight.*tie_word_embeddings"):
        import_model(folder, seq_len=4)


def test_missing_tensor_is_named(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint()
    edit(folder, {"model.layers.1.mlp.up_proj.weight": None})
    with pytest.raises(ModelImportError, match=r"model.layers.1.mlp.up_proj.weight is missing: expected shape \(48, 32\)"):
        import_model(folder, seq_len=4)
    assert import_model(folder, seq_len=4, num_layers=1).store.has_data


def test_wrong_shape_names_tensor_file_expected_and_found(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint()
    edit(folder, {"model.norm.weight": torch.ones(33)})
    with pytest.raises(
        ModelImportError, match=r"model\.safetensors: tensor model\.norm\.weight: expected shape \(32,\).*found \(33,\)"
    ):
        import_model(folder, seq_len=4)


def test_quantised_tensor_is_refused(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint()
    edit(folder, {"model.norm.weight": torch.ones(32, dtype=torch.int8)})
    with pytest.raises(ModelImportError, match=r"model\.norm\.weight: expected one of .*BF16.*found I8"):
        import_model(folder, seq_len=4)


def test_truncated_file_is_named(save_checkpoint: SaveCheckpoint) -> None:
    file = save_checkpoint() / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelImportError, match=r"model\.safetensors: cannot read this file of \d+ bytes.*truncated"):
        import_model(file.parent, seq_len=4)


def test_missing_shard_is_named(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint(shard_size="10KB")
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(ModelImportError, match=f"{shard.name}: this file of the checkpoint is missing"):
        import_model(folder, seq_len=4)


def test_damaged_index_is_named(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint(shard_size="10KB")
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(ModelImportError, match=r"index\.json: damaged index"):
        import_model(folder, seq_len=4)


def test_folder_without_weights_is_refused(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelImportError, match=r"no model\.safetensors"):
        import_model(folder, seq_len=4)
    assert import_model(folder, seq_len=4, random_weights=0).store.has_data
    assert not import_model(folder / "config.json", seq_len=4).store.has_data


def test_unused_tensors_are_noted_but_not_those_of_layers_left_out(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint()
    assert import_model(folder, seq_len=4, num_layers=1).notes == ()
    edit(folder, {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)})
    notes = import_model(folder, seq_len=4, num_layers=1).notes
    assert len(notes) == 1
    assert "1 tensors of the checkpoint have no place in the model" in notes[0]
    assert "model.layers.0.self_attn.q_proj.bias" in notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read this configuration"),
        ("[]", "no model_type"),
        ('{"model_type": "no-such-model"}', "does not load"),
        ('{"model_type": "llama", "hidden_size": 30, "num_attention_heads": 4}', "does not load"),
        ('{"model_type": "llama", "hidden_size": "30"}', "field 'hidden_size'.*expected int"),
    ],
)
def test_bad_configuration_is_named(save_checkpoint: SaveCheckpoint, content: str, message: str) -> None:
    folder = save_checkpoint()
    (folder / "config.json").write_text(content)
    with pytest.raises(ModelImportError, match=rf"config\.json: .*{message}") as caught:
        import_model(folder, seq_len=4)
    assert "\n" not in str(caught.value)


def test_configuration_with_more_layers_than_weights_is_refused(save_checkpoint: SaveCheckpoint) -> None:
    folder = save_checkpoint()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ModelImportError, match=r"model\.layers\.2\..* is missing"):
        import_model(folder, seq_len=4)
