"""What `import_model` accepts, brought to one form: a skeleton to export, a store of weights, a way to the reference."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import logging

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend import sentence
from plena_mlir.frontend.checkpoint import QUANTISED_HINT, Checkpoint
from plena_mlir.frontend.configurations import model_class_of, read_config
from plena_mlir.frontend.shapes import SHAPES, shape_config
from plena_mlir.frontend.skeleton import (
    Skeleton,
    describe,
    follow_direction,
    import_config,
    skeleton_of_config,
    skeleton_of_module,
)
from plena_mlir.frontend.sources import RandomSource, StateDictSource, upcast_note
from plena_mlir.frontend.store import ParameterStore, TensorSource


@dataclass(frozen=True)
class SourceModel:
    """A model ready for export.

    Attributes:
        name: what to call it in messages.
        module: the skeleton: parameters on the meta device, buffers real, float32, eval mode.
        load_reference: makes the module in float32 with the weights of the given canonical names; the others may stay on meta.
    """

    name: str
    module: PreTrainedModel
    store: ParameterStore
    load_reference: Callable[[frozenset[str]], PreTrainedModel]


def open_model(
    model: PreTrainedModel | PreTrainedConfig | Path | str,
    *,
    num_layers: int | None,
    random_weights: int | None,
    output: str | None = None,
) -> SourceModel:
    """Find out what `model` is and open it; see `import_model` for what it may be."""
    if isinstance(model, PreTrainedModel):
        return _open_module(model, num_layers, random_weights)
    if isinstance(model, PreTrainedConfig):
        return _open_config(type(model).__name__, model, num_layers, random_weights, output)
    if isinstance(model, str) and model in SHAPES:
        return _open_config(model, shape_config(model), num_layers, random_weights, output)
    path = Path(model).expanduser()
    if path.is_dir():
        if random_weights is None:
            return _open_folder(path, num_layers, output)
        return _open_config(str(path), read_config(path / "config.json"), num_layers, random_weights, output)
    if path.suffix == ".json" and path.is_file():
        return _open_config(str(path), read_config(path), num_layers, random_weights, output)
    if isinstance(model, Path) or path.suffix == ".json" or model.startswith((".", "/", "~")):
        raise ModelImportError("no such file or folder", where=str(model))
    shape_config(model)
    raise AssertionError("shape_config refuses every name that is not in SHAPES")


def _open_config(
    name: str, config: PreTrainedConfig, num_layers: int | None, random_weights: int | None, output: str | None
) -> SourceModel:
    config = import_config(config, num_layers)
    skeleton = skeleton_of_config(config, model_class_of(config, name, output))
    source = None if random_weights is None else RandomSource(random_weights, skeleton.shapes, skeleton.laws)
    store = ParameterStore(skeleton.shapes, source, aliases=skeleton.aliases)
    return SourceModel(name, skeleton.module, store, lambda used: _materialise(skeleton, store, used, eager_attention=True))


def _open_folder(folder: Path, num_layers: int | None, output: str | None) -> SourceModel:
    whole = read_config(folder / "config.json")
    _check_not_quantised(folder, whole)
    if output == sentence.OUTPUT:
        sentence.read_sentence_fields(folder, whole)
    config = import_config(whole, num_layers)
    model_class = model_class_of(config, str(folder), output)
    skeleton = skeleton_of_config(config, model_class)
    checkpoint = Checkpoint.open(folder)
    source = checkpoint.match(skeleton.module, skeleton.shapes, skeleton.aliases)
    source.load_buffers()
    known = skeleton.module if num_layers is None else skeleton_of_config(import_config(whole, None), model_class).module
    notes = checkpoint.notes(source.stored, known)
    store = ParameterStore(skeleton.shapes, source, aliases=skeleton.aliases, notes=notes)
    return SourceModel(str(folder), skeleton.module, store, lambda _: _load_folder(folder, config, model_class))


def _check_not_quantised(folder: Path, config: PreTrainedConfig) -> None:
    """Refuse weights that transformers would dequantise on the way, whatever types their tensors have."""
    for part in (config, config.get_text_config()):
        quantisation: object = getattr(part, "quantization_config", None)
        if quantisation is not None:
            fields = cast("Mapping[str, Any]", quantisation if isinstance(quantisation, Mapping) else vars(quantisation))
            raise ModelImportError(
                f"the weights of this checkpoint are quantised: quantization_config, method {fields.get('quant_method')}",
                where=str(folder / "config.json"),
                hint=f"{QUANTISED_HINT}, without this field",
            )


def open_plain_module(model: nn.Module, random_weights: int | None) -> SourceModel:
    """A module that is no transformers model. Its skeleton is on the CPU, as its buffers are; each parameter repeats one number."""
    parameters = _float_parameters(model)
    memo: dict[int, object] = {}
    for parameter in parameters.values():
        memo[id(parameter)] = nn.Parameter(torch.zeros(()).expand(parameter.shape), requires_grad=False)
    skeleton = describe(copy.deepcopy(model, memo))
    on_meta = any(parameter.is_meta for parameter in parameters.values())
    source: TensorSource | None = None if on_meta else StateDictSource(parameters)
    notes = upcast_note({str(parameter.dtype).removeprefix("torch.") for parameter in parameters.values()})
    if random_weights is not None:
        source, notes = RandomSource(random_weights, skeleton.shapes, skeleton.laws), []
    store = ParameterStore(skeleton.shapes, source, aliases=skeleton.aliases, notes=notes)
    return SourceModel(
        type(model).__name__,
        skeleton.module,
        store,
        lambda used: _materialise(skeleton, store, used, eager_attention=False),
    )


def _float_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    parameters = dict(model.named_parameters(remove_duplicate=False))
    for name, parameter in parameters.items():
        if not parameter.is_floating_point():
            raise ModelImportError(f"a parameter of type {parameter.dtype}", where=name, hint="quantised modules are not read")
    return parameters


def _open_module(model: PreTrainedModel, num_layers: int | None, random_weights: int | None) -> SourceModel:
    name = type(model).__name__
    parameters = _float_parameters(model)
    on_meta = any(parameter.is_meta for parameter in parameters.values())
    if on_meta:  # its buffers have no values either: only the configuration says what they are
        skeleton = skeleton_of_config(import_config(model.config, num_layers), type(model))
    else:
        skeleton = skeleton_of_module(model, num_layers)
    source: TensorSource | None = None
    notes: list[str] = []
    if random_weights is not None:
        source = RandomSource(random_weights, skeleton.shapes, skeleton.laws)
    elif not on_meta:
        source = StateDictSource(parameters)
        notes = upcast_note({str(parameter.dtype).removeprefix("torch.") for parameter in parameters.values()})
    store = ParameterStore(skeleton.shapes, source, aliases=skeleton.aliases, notes=notes)
    return SourceModel(name, skeleton.module, store, lambda used: _materialise(skeleton, store, used, eager_attention=False))


def _materialise(skeleton: Skeleton, store: ParameterStore, used: frozenset[str], *, eager_attention: bool) -> PreTrainedModel:
    """A copy of the skeleton with the weights `used` of `store`; a run that reaches any other fails on its meta tensor."""
    module = copy.deepcopy(skeleton.module)
    names = {name: name for name in skeleton.shapes} | skeleton.aliases
    loaded: dict[str, nn.Parameter] = {}
    for name, canonical in names.items():
        if canonical not in used:
            continue
        if canonical not in loaded:
            # The arrays are read-only and torch has no such tensors; inference does not write to parameters.
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*not writable.*")
                loaded[canonical] = nn.Parameter(torch.from_numpy(store.get(canonical)), requires_grad=False)
        owner, _, leaf = name.rpartition(".")
        setattr(module.get_submodule(owner), leaf, loaded[canonical])
    if isinstance(cast(nn.Module, module), PreTrainedModel):
        module.set_experts_implementation("eager")
    if eager_attention:
        module.set_attn_implementation("eager")
    return module


def _load_folder(folder: Path, config: PreTrainedConfig, model_class: type[PreTrainedModel]) -> PreTrainedModel:
    """The checkpoint as transformers itself loads it, so that the comparison also covers our reading of the files."""
    verbosity, progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        module = model_class.from_pretrained(
            str(folder),
            config=copy.deepcopy(config),
            dtype=torch.float32,
            attn_implementation="eager",
            experts_implementation="eager",
            local_files_only=True,
            use_safetensors=True,
        ).eval()
        follow_direction(module)
        return module
    finally:
        logging.set_verbosity(verbosity)
        if progress:
            logging.enable_progress_bar()
