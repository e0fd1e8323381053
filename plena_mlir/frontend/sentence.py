"""Sentence embeddings: an encoder, pooling over its hidden states, and a vector of length one, as one module."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.generic import ModelOutput

from plena_mlir.errors import ModelImportError

OUTPUT = "sentence_embedding"
"""The output that asks for this module."""

POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
"""Fields of a sentence-transformers pooling configuration, and what each means."""


@dataclass
class SentenceOutput(ModelOutput):
    """`sentence_embedding` [batch, hidden]."""

    sentence_embedding: Tensor | None = None


class SentenceEmbedding(PreTrainedModel):
    """The hidden states of an encoder, pooled to one vector for each sequence.

    Two fields of the configuration say how: `sentence_pooling`, `mean` over the tokens that are no padding (the default) or `cls`,
    the first token; `sentence_normalize`, whether the vector is divided by its length (the default).
    """

    config_class = PreTrainedConfig
    base_model_prefix = "model"
    _supports_sdpa = True

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.model = AutoModel.from_config(config)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None, **kwargs: Any
    ) -> SentenceOutput:
        """One embedding [batch, hidden] for token ids [batch, rows]; `attention_mask` [batch, rows] is 0 where padding is."""
        kwargs["return_dict"] = True
        if position_ids is not None:
            kwargs["position_ids"] = position_ids
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, **kwargs).last_hidden_state
        if getattr(self.config, "sentence_pooling", "mean") == "cls":
            pooled = hidden[:, 0]
        elif attention_mask is None:
            pooled = hidden.mean(1)
        else:
            kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
            pooled = (hidden * kept).sum(1) / kept.sum(1)
        if getattr(self.config, "sentence_normalize", True):
            pooled = functional.normalize(pooled, dim=-1)
        return SentenceOutput(sentence_embedding=pooled)

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Weights come from elsewhere."""


def read_sentence_fields(folder: Path, config: PreTrainedConfig) -> None:
    """Take from a sentence-transformers folder how its model pools; a folder that says nothing pools by the mean and normalises.

    Raises:
        ModelImportError: it pools in a way, or has a module, that is not supported.
    """
    modules = _read(folder / "modules.json")
    if modules is None:
        return
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    if kinds[:2] != ["Transformer", "Pooling"] or kinds[2:] not in ([], ["Normalize"]):
        raise ModelImportError(
            f"sentence modules {', '.join(kinds)} are not supported",
            where=str(folder),
            hint="Transformer, Pooling and Normalize are",
        )
    config.sentence_normalize = len(kinds) > 2
    pooling = _read(folder / str(modules[1]["path"]) / "config.json") or {}
    chosen = [field for field, value in pooling.items() if field.startswith("pooling_mode") and value is True]
    if len(chosen) != 1 or chosen[0] not in POOLINGS:
        raise ModelImportError(
            f"sentence pooling {', '.join(chosen) or 'of no kind'} is not supported",
            where=str(folder),
            hint=f"one of {', '.join(POOLINGS)} is",
        )
    config.sentence_pooling = POOLINGS[chosen[0]]


def _read(file: Path) -> Any:
    """The JSON in a file, or None if there is no such file."""
    if not file.is_file():
        return None
    try:
        return json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ModelImportError(f"cannot read this file: {error}", where=str(file)) from error
