"""Configurations: read from a config.json, a checkpoint folder or a case file, and the class of model that one asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import transformers
from transformers import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    PreTrainedConfig,
    PreTrainedModel,
)

from plena_mlir.case import is_case, is_case_file
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend import sentence
from plena_mlir.frontend.shapes import SHAPES, shape_config
from plena_mlir.frontend.skeleton import first_line


def config_fields(model: Path | str) -> Mapping[str, Any]:
    """The fields of the configuration of a built-in shape, a checkpoint folder, a config.json or a case file.

    Raises:
        ModelImportError: no such file, no JSON, or no model type in it.
    """
    if isinstance(model, str) and model in SHAPES:
        return shape_config(model).to_dict()
    file = Path(model).expanduser()
    if file.is_dir():
        file /= "config.json"
    try:
        fields = json.loads(file.read_text())
    except FileNotFoundError as error:
        bundle = (file.parent / "manifest.json").is_file()
        raise ModelImportError(
            f"this folder has no {file.name}, so it is no checkpoint",
            where=str(file.parent),
            hint="it is a bundle, and a model is needed: name the one that it was compiled from" if bundle else None,
        ) from error
    except OSError as error:
        raise ModelImportError(f"cannot read this configuration: {error.strerror}", where=str(file)) from error
    except ValueError as error:
        raise ModelImportError(f"cannot read this configuration: {first_line(error)}", where=str(file)) from error
    if is_case(fields):
        fields = fields.get("model")
    if not isinstance(fields, dict) or "model_type" not in fields:
        raise ModelImportError("no model_type in this configuration", where=str(file))
    return cast("dict[str, Any]", fields)


def config_from_fields(fields: Mapping[str, Any], *, where: str) -> PreTrainedConfig:
    """The configuration with the fields of a config.json.

    Raises:
        ModelImportError: an unknown model type or a bad field.
    """
    if fields["model_type"] not in CONFIG_MAPPING:
        what = f"transformers {transformers.__version__} knows no model type {fields['model_type']!r}"
        raise ModelImportError(f"this configuration does not load: {what}", where=where)
    try:
        config_class = CONFIG_MAPPING[fields["model_type"]]
        return config_class.from_dict({name: value for name, value in fields.items() if name != "model_type"})
    except Exception as error:  # configuration classes raise what their validators raise
        raise ModelImportError(f"this configuration does not load: {first_line(error)}", where=where) from error


def read_config(file: Path) -> PreTrainedConfig:
    """The configuration in a config.json, or in a case file.

    Raises:
        ModelImportError: no such file, no JSON, an unknown model type or a bad field.
    """
    fields = config_fields(file)
    if is_case_file(file):
        return config_from_fields(fields, where=str(file))
    try:
        return AutoConfig.from_pretrained(str(file), local_files_only=True, trust_remote_code=False)
    except Exception as error:  # configuration classes raise what their validators raise
        raise ModelImportError(f"this configuration does not load: {first_line(error)}", where=str(file)) from error


def model_class_of(config: PreTrainedConfig, name: str, output: str | None) -> type[PreTrainedModel]:
    """The class that a configuration names, or else the language model of its type: causal, unless the type is an encoder's.

    An `output` that no such class has by itself asks for the module that computes it.
    """
    if output == sentence.OUTPUT:
        return sentence.SentenceEmbedding
    for architecture in config.architectures or ():
        found = getattr(transformers, architecture, None)
        if isinstance(found, type) and issubclass(found, PreTrainedModel):
            return found
    causal, masked = (kind._model_mapping for kind in (AutoModelForCausalLM, AutoModelForMaskedLM))  # pyright: ignore[reportPrivateUsage]
    decodes = getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)
    encoder = type(config) in masked and not decodes
    for mapping in (masked, causal) if encoder else (causal,):
        if type(config) in mapping:
            return cast(type[PreTrainedModel], mapping[type(config)])
    for kind in (AutoModelForImageTextToText, AutoModelForImageClassification, AutoModel):
        mapping = kind._model_mapping  # pyright: ignore[reportPrivateUsage]
        if type(config) in mapping and getattr(mapping[type(config)], "main_input_name", None) == "pixel_values":
            return cast(type[PreTrainedModel], mapping[type(config)])
    raise ModelImportError(
        f"transformers has no language model for {config.model_type!r}",
        where=name,
        hint="name its class in the configuration's architectures",
    )


def config_of(model: PreTrainedConfig | Path | str) -> PreTrainedConfig | None:
    """The configuration of what `import_model` is given; None where there is no such file, which `open_model` refuses.

    Raises:
        ModelImportError: a configuration that does not load.
    """
    if isinstance(model, PreTrainedConfig):
        return model
    if isinstance(model, str) and model in SHAPES:
        return shape_config(model)
    path = Path(model).expanduser()
    if path.is_dir():
        return read_config(path / "config.json")
    return read_config(path) if path.suffix == ".json" and path.is_file() else None
