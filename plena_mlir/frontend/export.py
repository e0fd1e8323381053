"""Runs torch.export on a skeleton with the settings under which transformers models export whole."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.skeleton import first_line

Scope = Literal["model", "decoder"]
"""`model`: token ids to the model's main output. `decoder`: hidden states to the final norm's output."""

MOST_MEMORY = 64 << 30
"""Bytes of parameters up to which a model that does not export on the meta device is exported on the CPU."""


@dataclass(frozen=True)
class Export:
    """An exported part of a model.

    Attributes:
        prefix: module path of the exported module within the model.
        output: which of its outputs is wanted, as the model names it, and at which place of the exported graph it is.
    """

    program: ExportedProgram
    module: nn.Module
    prefix: str
    output: str
    output_index: int

    @property
    def parameters(self) -> list[str]:
        """Names in the whole model of the parameters that a run reads, for whatever output."""
        specs = {spec.arg.name: spec for spec in self.program.graph_signature.input_specs}
        used = [node for node in self.program.graph.nodes if node.op == "placeholder" and node.users]
        targets = [str(specs[node.name].target) for node in used if specs[node.name].kind is InputKind.PARAMETER]
        return [".".join(part for part in (self.prefix, target) if part) for target in targets]


@dataclass(frozen=True)
class Arguments:
    """What a forward call takes besides the input that changes from run to run.

    Attributes:
        fixed: tensors that are the same in every run, by argument name.
    """

    fixed: Mapping[str, torch.Tensor] = field(default_factory=dict[str, torch.Tensor])

    def of(self, module: nn.Module) -> dict[str, Any]:
        """The keyword arguments for the forward call of `module`, as far as it accepts them.

        Raises:
            ModelImportError: it does not accept a tensor that changes the result.
        """
        accepted = inspect.signature(module.forward).parameters
        anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
        found: dict[str, Any] = {}
        for name, value in (("use_cache", False), ("return_dict", True)):
            if anything or name in accepted:
                found[name] = value
        for name, value in self.fixed.items():
            if name not in accepted:
                raise ModelImportError(
                    f"this model takes no {name}",
                    where=type(module).__name__,
                    hint="without, all sequences of a batch must have one length",
                )
            found[name] = value
        return found


def exported_part(model: PreTrainedModel, scope: Scope, output: str | None) -> tuple[nn.Module, str]:
    """The module to export for a scope and an output, and its path within the model."""
    base = model.base_model
    if scope == "decoder" or (output == "last_hidden_state" and base is not model):
        return base, "" if base is model else model.base_model_prefix
    return model, ""


def select_output(result: object, wanted: str | None, where: str) -> tuple[str, Any]:
    """The name and value of the output `wanted`, or of the first tensor, of what a forward call returned.

    Raises:
        ModelImportError: there is no such output; the message lists those there are.
    """
    if not isinstance(result, ModelOutput):
        raise ModelImportError(f"the model returns {type(result).__name__}, not named outputs", where=where)
    fields = {str(name): value for name, value in cast(Mapping[str, Any], result).items() if not isinstance(value, list | tuple)}
    chosen = next(iter(fields), None) if wanted is None else wanted
    if chosen is None or chosen not in fields:
        raise ModelImportError(
            f"the model has no output {wanted!r}", where=where, hint=f"its outputs are {', '.join(fields) or 'no tensors'}"
        )
    return chosen, fields[chosen]


def export(model: PreTrainedModel, *, scope: Scope, batch: int, seq_len: int, output: str | None, arguments: Arguments) -> Export:
    """Export `model` (meta parameters, real buffers) for `batch` sequences of `seq_len` tokens, without cache or gradients.

    Raises:
        ModelImportError: there is no such output, or torch.export fails; the message is its first line.
    """
    module, prefix = exported_part(model, scope, output)
    kwargs = arguments.of(module)
    if scope == "model":
        kwargs["input_ids"] = torch.zeros(batch, seq_len, dtype=torch.int64)
    else:
        hidden_size = int(model.config.get_text_config().hidden_size)
        kwargs["inputs_embeds"] = torch.zeros(batch, seq_len, hidden_size)
    where = type(module).__name__
    # Of the ways to run experts, the one whose graph is the same for every routing: select the matrices, then multiply.
    model.set_experts_implementation("batched_mm")
    try:
        program = _export(module, kwargs)
    except Exception as error:  # torch.export raises whatever tracing the model's own code raises
        two_inputs = getattr(model.config, "is_encoder_decoder", False)
        raise ModelImportError(
            f"torch.export fails: {type(error).__name__}: {first_line(error)}",
            where=where,
            hint="an encoder-decoder model takes two sequences: give a module with an example of its inputs"
            if two_inputs
            else "the model must export with fixed shapes and without data-dependent control flow",
        ) from error
    spec = program.call_spec.out_spec
    assert spec is not None
    name, index = select_output(pytree.tree_unflatten(list(range(spec.num_leaves)), spec), output, where)
    return Export(program, module, prefix, name, index)


def _export(module: nn.Module, kwargs: Mapping[str, Any]) -> ExportedProgram:
    """Export on the meta device, or on the CPU if the model mixes tensors of its own making with its parameters."""
    on_meta = {name: value.to("meta") if isinstance(value, torch.Tensor) else value for name, value in kwargs.items()}
    with torch.no_grad():
        try:
            program = export_quietly(module, (), on_meta)
            if not any(isinstance(constant, torch.Tensor) and constant.is_meta for constant in program.constants.values()):
                return program
        except Exception as error:
            # The class is private to torch.
            if type(error).__name__ != "FakeTensorDeviceMismatchError" or _size(module) > MOST_MEMORY:
                raise
        with _parameters_on_cpu(module):
            return export_quietly(module, (), dict(kwargs))


def export_quietly(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ExportedProgram:
    """`torch.export.export`, which logs a traceback of its own beside the error that it raises: the error says it all."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        return torch.export.export(module, args, kwargs, strict=False)
    finally:
        logging.disable(disabled)


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())


@contextmanager
def _parameters_on_cpu(module: nn.Module) -> Generator[None]:
    """The parameters on the meta device become memory that nobody writes, and so nobody takes, for a while."""
    on_meta = [(name, parameter) for name, parameter in module.named_parameters(remove_duplicate=False) if parameter.is_meta]
    owners = [(module.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2], parameter) for name, parameter in on_meta]
    on_cpu: dict[nn.Parameter, nn.Parameter] = {}
    try:
        for owner, leaf, parameter in owners:
            if parameter not in on_cpu:  # tied parameters stay one
                on_cpu[parameter] = nn.Parameter(torch.empty_like(parameter, device="cpu"), requires_grad=False)
            setattr(owner, leaf, on_cpu[parameter])
        yield
    finally:
        for owner, leaf, parameter in owners:
            setattr(owner, leaf, parameter)
