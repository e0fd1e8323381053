"""The module that is exported: every parameter on the meta device, every buffer real.

No weight is allocated to import a model, yet whatever the module computes from its buffers alone (rope frequencies,
position ids) has values and folds to constants.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.pytorch_utils import Conv1D

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.random_weights import BIAS, EMBEDDING, GAIN, Law, linear_law


@dataclass(frozen=True)
class Skeleton:
    """A module without weights, and what a parameter store must provide for it.

    Attributes:
        module: in eval mode; parameters float32 on the meta device, buffers on the CPU.
        shapes: parameter shapes under canonical names, in module order.
        laws: how random weights are drawn, under the same names.
        aliases: other names of tied parameters.
    """

    module: PreTrainedModel
    shapes: dict[str, tuple[int, ...]]
    laws: dict[str, Law]
    aliases: dict[str, str]


def skeleton_of_config(config: PreTrainedConfig, model_class: type[PreTrainedModel]) -> Skeleton:
    """Instantiate `model_class` without allocating its parameters.

    Raises:
        ModelImportError: the class refuses the configuration.
    """
    try:
        with _parameters_on_meta(), no_init_weights():
            module = model_class(config)
    except Exception as error:  # whatever the model's constructor raises is about the config
        fields = _fields_with(config, error.args[0]) if isinstance(error, KeyError) else ()
        reason = f"{type(error).__name__}: {first_line(error)}" if not fields else f"transformers knows no {' or '.join(fields)}"
        raise ModelImportError(f"this configuration does not build: {reason}", where=model_class.__name__) from error
    module.tie_weights()
    return describe(module)


def skeleton_of_module(module: PreTrainedModel, num_layers: int | None) -> Skeleton:
    """A structural copy of a live module that shares none of its memory: float32 meta parameters, copied buffers."""
    memo: dict[int, object] = {}
    for parameter in module.parameters():
        shell = torch.empty_like(parameter, dtype=torch.float32, device="meta")
        memo[id(parameter)] = nn.Parameter(shell, requires_grad=False)
    duplicate = copy.deepcopy(module, memo)
    for submodule in duplicate.modules():
        for name, buffer in submodule.named_buffers(recurse=False):
            if buffer.is_floating_point() and buffer.dtype != torch.float32:
                persistent = name not in submodule._non_persistent_buffers_set  # pyright: ignore[reportPrivateUsage]
                submodule.register_buffer(name, buffer.float(), persistent=persistent)
    duplicate.config.dtype = torch.float32
    if num_layers is not None:
        _truncate_module(duplicate, num_layers)
    return describe(duplicate)


def describe(module: nn.Module) -> Skeleton:
    """Collect names, shapes, random laws and aliases of `module`, which is put in eval mode."""
    if isinstance(module, PreTrainedModel):
        follow_direction(module)
    shapes: dict[str, tuple[int, ...]] = {}
    laws: dict[str, Law] = {}
    aliases: dict[str, str] = {}
    first_name: dict[int, str] = {}
    owners = dict(module.named_modules(remove_duplicate=False))
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if id(parameter) in first_name:
            aliases[name] = first_name[id(parameter)]
            continue
        first_name[id(parameter)] = name
        shapes[name] = tuple(parameter.shape)
        laws[name] = _law(name, owners[name.rpartition(".")[0]], parameter)
    module.eval()
    return Skeleton(cast(PreTrainedModel, module), shapes, laws, aliases)


def follow_direction(module: PreTrainedModel) -> None:
    """Let the attention of `module` see both ways if its configuration says that it is not causal.

    The masks follow the configuration, but attention layers keep a flag of their own for the case that no mask is needed.
    """
    if getattr(module.config.get_text_config(), "is_causal", True) is False:
        for submodule in module.modules():
            if getattr(submodule, "is_causal", False) is True:
                setattr(submodule, "is_causal", False)  # noqa: B010 (not every module has it, as far as types know)


def import_config(config: PreTrainedConfig, num_layers: int | None) -> PreTrainedConfig:
    """A float32 copy of `config`, with only the first `num_layers` decoder layers.

    Raises:
        ModelImportError: the model has no such number of layers.
    """
    config = copy.deepcopy(config)
    config.dtype = torch.float32
    if num_layers is not None:
        _truncate_config(config, num_layers)
    return config


def _truncate_config(config: PreTrainedConfig, num_layers: int) -> int:
    """Keep `num_layers` layers of `config`, and as many entries of lists with one per layer; returns how many there were."""
    total = getattr(config, "num_hidden_layers", None)
    if not isinstance(total, int):
        raise ModelImportError(f"a {config.model_type} configuration has no num_hidden_layers to limit", where="layers")
    if not 1 <= num_layers <= total:
        raise ModelImportError(
            f"{num_layers} layers are asked for of a {config.model_type} model of {total}", hint=f"give 1 to {total}"
        )
    config.num_hidden_layers = num_layers
    for field, value in list(vars(config).items()):
        if isinstance(value, list) and len(value) == total:
            setattr(config, field, value[:num_layers])
    return total


def _truncate_module(module: PreTrainedModel, num_layers: int) -> None:
    total = _truncate_config(module.config, num_layers)
    stacks = [
        (owner, name, stack)
        for owner in module.modules()
        for name, stack in owner.named_children()
        if isinstance(stack, nn.ModuleList) and len(stack) == total
    ]
    if len(stacks) != 1:
        raise ModelImportError(
            f"{len(stacks)} module lists have {total} entries: which are the decoder layers?",
            where=type(module).__name__,
            hint="build the model from a configuration with fewer layers",
        )
    owner, name, stack = stacks[0]
    setattr(owner, name, stack[:num_layers])


def _fields_with(config: PreTrainedConfig, value: object) -> list[str]:
    """The fields of `config` that hold `value`, with it: transformers looks up names of activations and the like in tables."""
    return [f"{name} {held!r}" for name, held in config.to_dict().items() if held == value]


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, with the next one if it only announces that."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[: 1 + lines[0].endswith(":")])


def _law(name: str, owner: nn.Module, parameter: nn.Parameter) -> Law:
    if name.endswith("bias"):
        return BIAS
    if isinstance(owner, nn.Embedding):
        return EMBEDDING
    if parameter.ndim < 2:
        return GAIN
    if isinstance(owner, Conv1D):
        return linear_law(name, parameter.shape[0])
    if parameter.ndim == 3 and not isinstance(owner, nn.modules.conv._ConvNd):  # pyright: ignore[reportPrivateUsage]
        return linear_law(name, parameter.shape[-1])  # a stack of expert matrices
    return linear_law(name, parameter[0].numel())


@contextmanager
def _parameters_on_meta() -> Generator[None]:
    """Within, every parameter a module registers goes to the meta device at once; buffers stay as they are made."""
    register: Callable[[nn.Module, str, nn.Parameter | None], None] = nn.Module.register_parameter

    def register_on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and param.device.type != "meta":
            param = nn.Parameter(param.detach().to("meta", torch.float32), requires_grad=False)
        register(self, name, param)

    nn.Module.register_parameter = register_on_meta
    try:
        yield
    finally:
        nn.Module.register_parameter = register
