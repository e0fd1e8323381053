"""`torch.compile(model, backend="plena")`: graphs that TorchDynamo captures run on the emulator.

Inference only: what comes back carries no gradient. Numbers pass through the formats of the machine, as everywhere. A graph with
several outputs becomes one program for each of them.

    compiled = torch.compile(model, backend="plena", options={"target": "64x16x64"})
    with torch.no_grad():
        y = compiled(x)

Options are those of `compile_hf_model` that name no model, and `fallback`: run what cannot be compiled in PyTorch, with a warning.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import fx, nn

from plena_mlir.compiler import compile_hf_model
from plena_mlir.errors import ModelImportError, PlenaError
from plena_mlir.program import CompiledProgram

OPTIONS = frozenset({"target", "strategy", "verify", "golden_precision", "fallback"})

Compiled: TypeAlias = Callable[..., tuple[torch.Tensor, ...]]


class CapturedGraph(nn.Module):
    """A captured graph whose parameters and buffers are its own again, so that only its inputs are left to give.

    Args:
        names: of each argument of the graph, its name in the model, or None for an input.
    """

    def __init__(self, graph: fx.GraphModule, names: Sequence[str | None], arguments: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self._graph = [graph]  # in a list, so that its own modules are not counted as ours
        self._names = names
        for name, value in zip(names, arguments, strict=True):
            if name is None:
                continue
            *path, leaf = name.split(".")
            owner: nn.Module = self
            for part in path:
                if part not in dict(owner.named_children()):
                    owner.add_module(part, nn.Module())
                owner = owner.get_submodule(part)
            if value.is_floating_point() and isinstance(value, nn.Parameter):
                owner.register_parameter(leaf, nn.Parameter(value.detach(), requires_grad=False))
            else:
                owner.register_buffer(leaf, value.detach())

    def forward(self, *inputs: torch.Tensor) -> object:
        given = iter(inputs)
        arguments = [next(given) if name is None else self._own(name) for name in self._names]
        return self._graph[0](*arguments)

    def _own(self, name: str) -> object:
        path, _, leaf = name.rpartition(".")
        return getattr(self.get_submodule(path), leaf)


@dataclass
class _Runner:
    """The programs of one graph, compiled again when a parameter has changed."""

    graph: fx.GraphModule
    names: Sequence[str | None]
    shapes: Sequence[torch.Size]
    options: Mapping[str, Any]
    _programs: Sequence[CompiledProgram] = ()
    _compiled_for: tuple[object, ...] = field(default=())

    def compile(self, arguments: Sequence[torch.Tensor]) -> None:
        """Compile one program for each output of the graph."""
        bound = CapturedGraph(self.graph, self.names, arguments).eval()
        inputs = tuple(value.detach() for name, value in zip(self.names, arguments, strict=True) if name is None)
        self._programs = [
            compile_hf_model(bound, inputs=inputs, output=number, **self.options) for number in range(len(self.shapes))
        ]
        self._compiled_for = self._weights(arguments)

    def __call__(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if self._weights(arguments) != self._compiled_for:
            self.compile(arguments)
        inputs = tuple(
            np.ascontiguousarray(value.detach().cpu().numpy())
            for name, value in zip(self.names, arguments, strict=True)
            if name is None
        )
        given = inputs[0] if len(inputs) == 1 else inputs
        outputs = [program.run(inputs=given, timing="none").output for program in self._programs]
        return tuple(torch.from_numpy(output).reshape(shape) for output, shape in zip(outputs, self.shapes, strict=True))

    def _weights(self, arguments: Sequence[torch.Tensor]) -> tuple[object, ...]:
        """Tells the weights that the programs were compiled with from later ones."""
        own = [value for name, value in zip(self.names, arguments, strict=True) if name is not None]
        return tuple((value.data_ptr(), value._version) for value in own)


def plena(graph: fx.GraphModule, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, **_: Any) -> Compiled:
    """What TorchDynamo calls for each graph that it captures; it knows this function by the entry point of that name.

    An error is raised by the first call of what is returned, so that it arrives as it is and not as a failure of the capture.
    """
    chosen = dict(options or {})
    unknown = sorted(set(chosen) - OPTIONS)
    fallback = bool(chosen.pop("fallback", False))
    try:
        if unknown:
            raise ModelImportError(f"unknown options {', '.join(unknown)}", hint=f"there are {', '.join(sorted(OPTIONS))}")
        runner = _Runner(graph, _own_names(graph, example_inputs), _output_shapes(graph), chosen)
        runner.compile(example_inputs)
    except PlenaError as error:
        if fallback:
            warnings.warn(f"runs in PyTorch, not on plena: {error}", stacklevel=2)
            return graph.forward
        return _raising(error)
    return runner


def _raising(error: PlenaError) -> Compiled:
    def run(*_: object) -> tuple[torch.Tensor, ...]:
        raise error

    return run


def _own_names(graph: fx.GraphModule, examples: Sequence[object]) -> list[str | None]:
    """The name in the model of each argument of the graph that is a parameter or a buffer; None for inputs.

    Raises:
        ModelImportError: an argument is no tensor.
    """
    names: list[str | None] = []
    placeholders = [node for node in graph.graph.nodes if node.op == "placeholder"]
    for node, example in zip(placeholders, examples, strict=True):
        if not isinstance(example, torch.Tensor):
            raise ModelImportError(
                f"an input of type {type(example).__name__}",
                hint="shapes are fixed: call torch.compile with dynamic=False",
            )
        parts = re.findall(r"_(?:modules|parameters|buffers)\['([^']+)'\]", _source(node))
        owned = isinstance(example, nn.Parameter) or "_buffers[" in _source(node)
        names.append((".".join(parts) or node.name) if owned else None)
    return names


def _source(node: fx.Node) -> str:
    """Where in the caller's frame an argument comes from, as TorchDynamo writes it."""
    argument = node.meta.get("grapharg")
    source = getattr(argument, "source", None)
    name = getattr(source, "name", "")
    return str(name() if callable(name) else name)


def _output_shapes(graph: fx.GraphModule) -> list[torch.Size]:
    (output,) = (node for node in graph.graph.nodes if node.op == "output")
    shapes: list[torch.Size] = []
    for value in output.args[0]:
        example = value.meta.get("example_value") if isinstance(value, fx.Node) else None
        if not isinstance(example, torch.Tensor) or not example.is_floating_point():
            raise ModelImportError(
                "a captured graph gives something else than numbers", hint="keep the code around it out of the graph"
            )
        shapes.append(example.shape)
    return shapes
