"""`import_model`: a Hugging Face model, by object, folder, configuration or name, as plena_tensor IR with its weights."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram
from transformers import PreTrainedConfig, PreTrainedModel
from xdsl.dialects.builtin import ModuleOp, UnitAttr

from plena_mlir.dialects.plena import BIDIRECTIONAL_ATTRIBUTE, set_sequences
from plena_mlir.errors import ModelImportError, NoWeightsError
from plena_mlir.frontend.batch import Batch
from plena_mlir.frontend.configurations import config_of, model_class_of
from plena_mlir.frontend.export import Arguments, Scope, export, exported_part, select_output
from plena_mlir.frontend.graph import import_graph
from plena_mlir.frontend.modules import ExampleInputs, ImportedModule, import_module, takes_images
from plena_mlir.frontend.random_weights import generator
from plena_mlir.frontend.skeleton import follow_direction
from plena_mlir.frontend.source_model import SourceModel, open_model
from plena_mlir.frontend.store import Float32Array, ParameterStore
from plena_mlir.garbage_collection import without_garbage_collection

InputArray = NDArray[np.int64] | Float32Array
MAX_THREADS = 2

Attention = Literal["bidirectional"]
"""What the attention of a model may be changed to."""


@dataclass(frozen=True)
class ImportedModel:
    """A model as IR, the weights it names, and the PyTorch module to compare with.

    Attributes:
        module: one function `main`. Scope model: `tensor<Sxi64>` token ids to the output, `tensor<SxVxf32>` for logits. Scope
            decoder: `tensor<SxHxf32>` hidden states to the final norm's output, `tensor<SxHxf32>`.
        store: parameters and large constants by name.
        config: the configuration of the layers imported.
        output: which of the model's outputs `main` computes, as the model names it.
        batch: the sequences of one run; the rows S of `main` are those of all of them.
        seconds: time the import took.
        notes: what a user should know, such as an upcast of the weights.
    """

    name: str
    module: ModuleOp
    store: ParameterStore
    config: PreTrainedConfig
    seq_len: int
    scope: Scope
    output: str
    batch: Batch
    seconds: float
    notes: tuple[str, ...]
    _load_reference: Callable[[], PreTrainedModel] = field(repr=False)
    _arguments: Arguments = field(repr=False, default_factory=Arguments)

    @cached_property
    def reference_module(self) -> PreTrainedModel:
        """The Hugging Face module in float32, with the weights that `main` was imported with, loaded on first use.

        Raises:
            NoWeightsError: the model was given as a shape.
        """
        if not self.store.has_data:
            raise NoWeightsError("this model", where=self.name)
        return self._load_reference()

    def reference(self, inputs: InputArray) -> Float32Array:
        """What the Hugging Face module computes in float32 for `inputs` as `main` takes them: [rows, features]."""
        self._check_inputs(inputs)
        batch = torch.from_numpy(np.array(inputs).reshape(self.batch.size, self.seq_len, *inputs.shape[1:]))
        torch.set_num_threads(min(torch.get_num_threads(), MAX_THREADS))
        with torch.inference_mode():
            module, _ = exported_part(self.reference_module, self.scope, self.output)
            name = "input_ids" if self.scope == "model" else "inputs_embeds"
            result = module(**self._arguments.of(module), **{name: batch})
            _, output = select_output(result, self.output, self.name)
        return output.reshape(-1, output.shape[-1]).float().numpy()

    def sample_inputs(self, seed: int = 0) -> InputArray:
        """Uniform token ids [S], or N(0, 1) hidden states [S, H]: the same for one seed everywhere."""
        stream = generator(seed, f"inputs.{self.scope}")
        if self.scope == "model":
            return stream.integers(0, self.vocab_size, self.batch.rows, dtype=np.int64)
        return stream.standard_normal((self.batch.rows, self.hidden_size), dtype=np.float32)

    def compared_rows(self, rows: int, reference_rows: int) -> tuple[list[int], list[int]]:
        """Which of `rows` output rows are compared with the reference, and with which of its rows.

        What a model computes in the rows of padding is arbitrary, so they are not compared.
        """
        if rows != reference_rows:  # one row for each sequence, of all
            return list(range(rows)), self.batch.last_rows
        compared = self.batch.token_rows if rows == self.batch.rows else list(range(rows))
        return compared, compared

    @property
    def layers(self) -> int:
        """Number of layers."""
        return _text_field(self.config, "num_hidden_layers")

    @property
    def vocab_size(self) -> int:
        """Number of token ids."""
        return _text_field(self.config, "vocab_size")

    @property
    def hidden_size(self) -> int:
        """Features of one hidden state."""
        return _text_field(self.config, "hidden_size")

    def _check_inputs(self, inputs: InputArray) -> None:
        expected = (self.batch.rows,) if self.scope == "model" else (self.batch.rows, self.hidden_size)
        if inputs.shape != expected:
            raise ModelImportError(f"inputs of shape {inputs.shape}, expected {expected}", where=self.name)
        if self.scope == "model" and not (0 <= inputs.min() and inputs.max() < self.vocab_size):
            raise ModelImportError(f"token ids must be 0 to {self.vocab_size - 1}", where=self.name)


def import_model(
    model: nn.Module | ExportedProgram | PreTrainedConfig | Path | str,
    *,
    seq_len: int = 64,
    num_layers: int | None = None,
    scope: Scope = "model",
    random_weights: int | None = None,
    output: str | int | None = None,
    inputs: ExampleInputs | None = None,
    attention: Attention | None = None,
    batch: int | None = None,
    lengths: Sequence[int] | None = None,
    padding_side: str = "right",
) -> ImportedModel | ImportedModule:
    """Import `model` for one sequence of `seq_len` tokens, for several, or for inputs of the shapes of an example.

    No weight is read: the IR names parameters, and the store reads each when asked. The network is never used.

    Args:
        model: a transformers module; any other module, with an example of its inputs; an exported program; a checkpoint folder
            (config.json and safetensors); a config.json; a configuration;
            or the name of a built-in shape.
        num_layers: import the first layers only; all when None.
        scope: `model`, token ids to the output, or `decoder`, hidden states to the final norm's output.
        random_weights: seed of random weights, in place of any others; without, a configuration compiles and cannot run.
        output: the output to compute, as the model names it (logits, last_hidden_state, pooler_output), or sentence_embedding;
            its first when None. Outputs without names are counted from 0.
        inputs: an example of the inputs of a forward call, positional or by name; `seq_len` and `scope` then say nothing.
        attention: `bidirectional` lets every token see all others, whatever the model's configuration says.
        batch: how many sequences one run takes.
        lengths: how many tokens each sequence has; the rest of its `seq_len` rows is padding, on the `padding_side`.

    Raises:
        ModelImportError: a bad argument, checkpoint or configuration, or a model that cannot be imported exactly.
    """
    if not isinstance(model, nn.Module | ExportedProgram | PreTrainedConfig | Path | str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ModelImportError(
            f"{model!r} is no model",
            hint="a model is a transformers model or configuration, another nn.Module, an ExportedProgram, a checkpoint folder, "
            "a config.json or the name of a built-in shape",
        )
    start = time.perf_counter()
    torch.set_num_threads(min(torch.get_num_threads(), MAX_THREADS))
    if inputs is not None or isinstance(model, ExportedProgram) or _is_general(model, output):
        if batch not in (None, 1) or lengths is not None or attention is not None:
            raise ModelImportError(
                "a batch, lengths and another attention are for models of token ids",
                where=model if isinstance(model, str) else type(model).__name__,
                hint="an example of the inputs says how many there are",
            )
        with without_garbage_collection():
            return import_module(model, inputs, num_layers=num_layers, random_weights=random_weights, output=output)
    assert isinstance(model, PreTrainedModel | PreTrainedConfig | Path | str)
    if isinstance(output, int):
        raise ModelImportError(f"an output {output}", hint="the outputs of a language model have names")
    if scope not in ("model", "decoder"):
        raise ModelImportError(f"unknown scope {scope!r}", hint="the scopes are model and decoder")
    if attention not in (None, "bidirectional"):
        raise ModelImportError(f"unknown attention {attention!r}", hint="it is bidirectional, or as the model has it")
    sequences = Batch.of(batch, seq_len, lengths, padding_side)
    with without_garbage_collection():
        source = open_model(model, num_layers=num_layers, random_weights=random_weights, output=output)
        config = source.module.config.get_text_config()
        if attention == "bidirectional":
            config.is_causal = False
            follow_direction(source.module)
        _check_positions(source, seq_len)
        arguments = Arguments(sequences.fixed_arguments(source.module))
        exported = export(source.module, scope=scope, batch=sequences.size, seq_len=seq_len, output=output, arguments=arguments)
        module = import_graph(
            exported.program,
            source.store,
            dict(exported.module.named_buffers()),
            prefix=exported.prefix,
            root=type(source.module).__name__,
            output=exported.output_index,
            fixed=arguments.fixed,
        )
    if getattr(config, "is_causal", True) is False:
        module.attributes[BIDIRECTIONAL_ATTRIBUTE] = UnitAttr()
    if sequences.padded or sequences.size > 1:
        set_sequences(module, sequences.parts)
    used = frozenset(source.store.canonical(name) for name in exported.parameters)
    return ImportedModel(
        name=source.name,
        module=module,
        store=source.store,
        config=source.module.config,
        seq_len=seq_len,
        scope=scope,
        output=exported.output,
        batch=sequences,
        seconds=time.perf_counter() - start,
        notes=tuple(source.store.notes),
        _load_reference=partial(source.load_reference, used),
        _arguments=arguments,
    )


def _is_general(model: nn.Module | PreTrainedConfig | Path | str, output: str | int | None) -> bool:
    """Whether a model takes something else than token ids, however it is given."""
    if isinstance(model, nn.Module):
        return not isinstance(model, PreTrainedModel) or takes_images(model)
    config = config_of(model)
    if config is None:
        return False
    name = type(model).__name__ if isinstance(model, PreTrainedConfig) else str(model)
    model_class = model_class_of(config, name, output if isinstance(output, str) else None)
    return getattr(model_class, "main_input_name", "") == "pixel_values"


def _text_field(config: PreTrainedConfig, name: str) -> int:
    return int(getattr(config.get_text_config(), name))


def _check_positions(source: SourceModel, seq_len: int) -> None:
    """Refuse what export would trace wrongly or fail on without a useful message."""
    config = source.module.config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if isinstance(limit, int) and seq_len > limit:
        raise ModelImportError(
            f"sequence length {seq_len} is beyond the model's {limit} positions",
            where=source.name,
            hint=f"at most {limit}",
        )
    ropes = getattr(config, "rope_parameters", None)
    if not isinstance(ropes, Mapping):
        return
    for rope in (ropes, *ropes.values()):
        if isinstance(rope, Mapping) and rope.get("rope_type") == "dynamic":
            raise ModelImportError(
                "rope type dynamic changes its frequencies with the run-time length and does not export",
                where=source.name,
                hint="rope types default, linear, llama3, yarn and longrope import",
            )
