"""Runs torch.export on a skeleton with the settings under which transformers models export whole."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.export import ExportedProgram
from transformers import PreTrainedModel

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.skeleton import first_line

Scope = Literal["model", "decoder"]
"""`model`: token ids to logits. `decoder`: hidden states to the final norm's output."""


@dataclass(frozen=True)
class Export:
    """An exported part of a model, and its module path within the model."""

    program: ExportedProgram
    module: nn.Module
    prefix: str


def export(model: PreTrainedModel, *, scope: Scope, seq_len: int) -> Export:
    """Export `model` (meta parameters, real buffers) for one sequence of `seq_len` tokens, without cache or gradients.

    Raises:
        ModelImportError: no logits to export, or torch.export fails; the message is its first line.
    """
    if scope == "model":
        if model.get_output_embeddings() is None:
            raise ModelImportError(
                "this model has no language-model head, so it has no logits",
                where=type(model).__name__,
                hint="import its hidden states with the scope decoder",
            )
        module, prefix = model, ""
        inputs: dict[str, object] = {"input_ids": torch.zeros(1, seq_len, dtype=torch.int64, device="meta")}
    else:
        module = model.base_model
        prefix = "" if module is model else model.base_model_prefix
        hidden_size = int(model.config.get_text_config().hidden_size)
        inputs = {"inputs_embeds": torch.zeros(1, seq_len, hidden_size, device="meta")}
    accepted = inspect.signature(module.forward).parameters
    for option in ("use_cache", "return_dict"):
        if option in accepted or any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values()):
            inputs[option] = False
    try:
        with torch.no_grad():
            program = torch.export.export(module, (), inputs, strict=False)
    except Exception as error:  # torch.export raises whatever tracing the model's own code raises
        raise ModelImportError(
            f"torch.export fails: {type(error).__name__}: {first_line(error)}",
            where=type(model).__name__,
            hint="the model must export with fixed shapes and without data-dependent control flow",
        ) from error
    return Export(program, module, prefix)
