"""Models whose inputs are given by example: any `nn.Module`, an `ExportedProgram`, or a transformers model that takes images.

The inputs keep the shapes that the module takes, and the result becomes [rows, features]. Everything else is as for language
models: the same export, the same import of the graph, the same parameter store.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree
from transformers import PreTrainedConfig, PreTrainedModel
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.export import export_quietly
from plena_mlir.frontend.graph import import_graph
from plena_mlir.frontend.random_weights import generator
from plena_mlir.frontend.skeleton import first_line
from plena_mlir.frontend.source_model import SourceModel, open_model, open_plain_module
from plena_mlir.frontend.sources import StateDictSource
from plena_mlir.frontend.store import Float32Array, ParameterStore

Inputs: TypeAlias = "NDArray[Any] | tuple[NDArray[Any], ...]"
ExampleInputs: TypeAlias = "torch.Tensor | Sequence[object] | Mapping[str, object]"
"""A tensor, positional arguments, or keyword arguments of the forward call."""

GeneralModel: TypeAlias = "nn.Module | ExportedProgram | PreTrainedConfig | Path | str"


@dataclass(frozen=True)
class Call:
    """A forward call. The tensors among the arguments change from run to run; what else there is stays.

    Attributes:
        leaves: all arguments, flat.
    """

    leaves: tuple[object, ...]
    spec: pytree.TreeSpec

    @staticmethod
    def of(inputs: ExampleInputs) -> Call:
        """The call that `inputs` are an example of.

        Raises:
            ModelImportError: no tensor among them, or one of a type that no program takes.
        """
        if isinstance(inputs, torch.Tensor):
            inputs = (inputs,)
        leaves, spec = pytree.tree_flatten(((), dict(inputs)) if isinstance(inputs, Mapping) else (tuple(inputs), {}))
        call = Call(tuple(leaves), spec)
        if not call.examples:
            raise ModelImportError("there is no tensor among the example inputs", hint="give those that change from run to run")
        for example in call.examples:
            if example.dtype not in (torch.float32, torch.int64):
                raise ModelImportError(
                    f"an example input of type {str(example.dtype).removeprefix('torch.')}", hint="inputs are float32 or int64"
                )
            if not example.numel():
                raise ModelImportError(f"an example input of shape {tuple(example.shape)}", hint="it holds no element")
        return call

    @property
    def examples(self) -> tuple[torch.Tensor, ...]:
        """The tensors, in the order of the exported graph's inputs."""
        return tuple(leaf for leaf in self.leaves if isinstance(leaf, torch.Tensor))

    def arguments(self, tensors: Sequence[torch.Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(positional, keyword) arguments with `tensors` in place of the examples."""
        given = iter(tensors)
        filled = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in self.leaves]
        return pytree.tree_unflatten(filled, self.spec)


@dataclass(frozen=True)
class ImportedModule:
    """A module as IR, the weights it names, and the PyTorch module to compare with.

    Attributes:
        module: one function `main` that takes the inputs in their own shapes, and gives [rows, features].
        store: parameters and large constants by name.
        layers: the length of the longest list of modules in it; 1 without any.
        seq_len: rows of the result.
        output: which of the outputs `main` computes: a name, or a place among several.
        seconds: time the import took.
        notes: what a user should know, such as an upcast of the weights.
    """

    name: str
    module: ModuleOp
    store: ParameterStore
    layers: int
    seq_len: int
    output: str | int | None
    seconds: float
    notes: tuple[str, ...]
    _call: Call = field(repr=False)
    _run: Callable[[Sequence[torch.Tensor]], object] = field(repr=False)
    scope = "module"

    def reference(self, inputs: Inputs) -> Float32Array:
        """What the module computes in float32 for `inputs` as `main` takes them: [rows, features]."""
        arrays = inputs if isinstance(inputs, tuple) else (inputs,)
        examples = self._call.examples
        shapes = [array.shape for array in arrays]
        if shapes != [tuple(example.shape) for example in examples]:
            raise ModelImportError(f"inputs of shapes {shapes} are not those of the example", where=self.name)
        with torch.no_grad():
            tensors = [torch.from_numpy(np.array(array)).to(one.dtype) for array, one in zip(arrays, examples, strict=True)]
            _, value = select(self._run(tensors), self.output, self.name)
        return as_rows(cast(torch.Tensor, value)).float().numpy()

    def compared_rows(self, rows: int, reference_rows: int) -> tuple[list[int], list[int]]:
        """Which of `rows` output rows are compared with which rows of the reference: all, or the last."""
        return list(range(rows)), list(range(reference_rows - rows, reference_rows))

    def sample_inputs(self, seed: int = 0) -> Inputs:
        """N(0, 1) numbers, the same for one seed everywhere, and the integers of the example."""
        stream = generator(seed, "inputs.module")
        found = tuple(
            stream.standard_normal(tuple(example.shape), dtype=np.float32)
            if example.is_floating_point()
            else np.array(example.cpu().numpy(), np.int64)
            for example in self._call.examples
        )
        return found[0] if len(found) == 1 else found


def as_rows(value: torch.Tensor) -> torch.Tensor:
    """A result as [rows, features]: its last dimension holds the features."""
    return value.reshape(-1, value.shape[-1])


def select(result: object, wanted: str | int | None, where: str) -> tuple[str | int | None, object]:
    """The output `wanted`, or the first, of what a forward call returned: a tensor, several, or named ones; and its key.

    Raises:
        ModelImportError: there is no such output; the message lists those there are.
    """
    fields: dict[str | int | None, object]
    if isinstance(result, Mapping):
        fields = {key: value for key, value in cast(Mapping[str, object], result).items() if not isinstance(value, list | tuple)}
    elif isinstance(result, list | tuple):
        fields = {number: value for number, value in enumerate(cast(Sequence[object], result))}
    else:
        fields = {None: result}
    key = next(iter(fields), None) if wanted is None else wanted
    if key not in fields:
        known = ", ".join(map(str, fields)) if None not in fields else "one tensor without a name"
        raise ModelImportError(f"the module has no output {wanted!r}", where=where, hint=f"its outputs: {known}")
    return key, fields[key]


def import_module(
    model: GeneralModel,
    inputs: ExampleInputs | None,
    *,
    num_layers: int | None = None,
    random_weights: int | None = None,
    output: str | int | None = None,
) -> ImportedModule:
    """Import `model` for inputs of the shapes of an example.

    Args:
        inputs: an example of the inputs; None for those of an `ExportedProgram`, or one image for a model of images.

    Raises:
        ModelImportError: a bad argument, or a model that cannot be imported exactly.
    """
    start = time.perf_counter()
    if isinstance(model, ExportedProgram):
        if num_layers is not None or random_weights is not None:
            raise ModelImportError("an exported program keeps its layers and weights", hint="export the module that you want")
        return _import_program(model, output, start)
    if isinstance(model, nn.Module) and not isinstance(model, PreTrainedModel):
        if num_layers is not None:
            raise ModelImportError("the layers of this module cannot be cut off", where=type(model).__name__)
        source = open_plain_module(model, random_weights)
    else:
        source = open_model(model, num_layers=num_layers, random_weights=random_weights)
    call = Call.of(_one_image(source.module) if inputs is None else inputs)
    options = _options(source.module)
    args, kwargs = call.arguments([_on_device_of(source.module, example) for example in call.examples])
    try:
        with torch.no_grad():
            program = export_quietly(source.module, args, {**kwargs, **options})
    except Exception as error:  # torch.export raises whatever tracing the module's own code raises
        raise ModelImportError(
            f"torch.export fails: {type(error).__name__}: {first_line(error)}",
            where=type(source.module).__name__,
            hint="the module must export with fixed shapes and without data-dependent control flow",
        ) from error
    used = frozenset(source.store.canonical(name) for name in program.graph_signature.parameters)
    reference: list[nn.Module] = []

    def run(tensors: Sequence[torch.Tensor]) -> object:
        if not reference:
            reference.append(source.load_reference(used))
        args, kwargs = call.arguments(tensors)
        return reference[0](*args, **kwargs, **options)

    buffers = dict(source.module.named_buffers())
    return _finish(program, source, buffers, call, run, output, start)


def _finish(
    program: ExportedProgram,
    source: SourceModel,
    buffers: Mapping[str, torch.Tensor],
    call: Call,
    run: Callable[[Sequence[torch.Tensor]], object],
    output: str | int | None,
    start: float,
) -> ImportedModule:
    spec = program.call_spec.out_spec
    assert spec is not None
    key, index = select(pytree.tree_unflatten(list(range(spec.num_leaves)), spec), output, source.name)
    if not isinstance(index, int):
        raise ModelImportError(f"the output {key!r} is no tensor", where=source.name)
    root = type(source.module).__name__
    module = import_graph(program, source.store, buffers, prefix="", root=root, output=index, natural=True, examples=call.examples)
    lists = [len(child) for child in source.module.modules() if isinstance(child, nn.ModuleList | nn.Sequential)]
    rows = module_rows(module)
    return ImportedModule(
        name=source.name,
        module=module,
        store=source.store,
        layers=max(lists, default=1),
        seq_len=rows,
        output=key,
        seconds=time.perf_counter() - start,
        notes=tuple(source.store.notes),
        _call=call,
        _run=run,
    )


def module_rows(module: ModuleOp) -> int:
    """Rows of what @main returns."""
    from plena_mlir.dialects import plena_tensor as pt
    from plena_mlir.dialects.plena import main_function

    terminator = main_function(module).body.block.last_op
    assert terminator is not None
    return pt.shape_of(terminator.operands[0])[0]


def _import_program(program: ExportedProgram, output: str | int | None, start: float) -> ImportedModule:
    if program.example_inputs is None:
        raise ModelImportError("the exported program has no example inputs", hint="export the module again")
    args, kwargs = program.example_inputs
    leaves, spec = pytree.tree_flatten((args, kwargs))
    call = Call(tuple(leaves), spec)
    parameters = {name: parameter.detach() for name, parameter in program.named_parameters()}
    store = ParameterStore({name: tuple(value.shape) for name, value in parameters.items()}, StateDictSource(parameters))
    module = program.module()
    source = SourceModel("ExportedProgram", cast(Any, module), store, lambda _: cast(Any, module))

    def run(tensors: Sequence[torch.Tensor]) -> object:
        args, kwargs = call.arguments(tensors)
        return module(*args, **kwargs)

    return _finish(program, source, dict(program.named_buffers()), call, run, output, start)


def _options(module: nn.Module) -> dict[str, object]:
    """What transformers models are called with besides their inputs."""
    if not isinstance(module, PreTrainedModel):
        return {}
    accepted = inspect.signature(module.forward).parameters
    anything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepted.values())
    return {name: value for name, value in (("use_cache", False), ("return_dict", True)) if anything or name in accepted}


def _on_device_of(module: nn.Module, example: torch.Tensor) -> torch.Tensor:
    """The example where the parameters of a skeleton are: those of transformers models have no memory."""
    parameter = next(module.parameters(), None)
    return example if parameter is None else example.to(parameter.device)


def takes_images(module: nn.Module) -> bool:
    """Whether a module is a transformers model of images alone."""
    return isinstance(module, PreTrainedModel) and getattr(module, "main_input_name", None) == "pixel_values"


def _one_image(module: nn.Module) -> ExampleInputs:
    """One image of the size that the configuration of a model of images says."""
    config = getattr(module, "config", None)
    size = getattr(config, "image_size", None)
    if not takes_images(module) or size is None:
        raise ModelImportError(
            "the inputs of this module are not known", where=type(module).__name__, hint="give an example of its inputs"
        )
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return {"pixel_values": torch.zeros(1, int(getattr(config, "num_channels", 3)), height, width)}
