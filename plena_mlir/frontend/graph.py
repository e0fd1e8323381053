"""From an exported FX graph to a plena_tensor function.

Every node is one of three things: an SSA value, when it depends on inputs or parameters; folded, when it depends on neither,
by evaluating it with torch; or nothing, when it only asserts. So masks, position ids and rope tables become constants.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import cast

import torch
from torch import fx
from torch._ops import HigherOrderOperator, OpOverload
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind, OutputKind
from xdsl.dialects.builtin import Float32Type, IntegerType, ModuleOp, i64
from xdsl.ir import BlockArgument, SSAValue

from plena_mlir.assumptions import Assumption, set_assumptions
from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.aten import import_call
from plena_mlir.frontend.builder import GraphBuilder, element_type
from plena_mlir.frontend.store import ParameterStore

ASSERTIONS = frozenset(
    {
        "_assert_tensor_metadata",
        "_assert_scalar",
        "_assert_async",
        "sym_constrain_range",
        "sym_constrain_range_for_size",
    }
)

# Regions that only switch gradients or autocast off around a graph of their own: arguments before it, checked values.
INLINED_REGIONS = {"wrap_with_set_grad_enabled": 1, "wrap_with_autocast": 4}

VIEWS = frozenset(
    {
        "alias",
        "chunk",
        "contiguous",
        "detach",
        "dropout",
        "expand",
        "narrow",
        "permute",
        "reshape",
        "select",
        "slice",
        "split",
        "squeeze",
        "t",
        "to",
        "transpose",
        "type_as",
        "unbind",
        "unsqueeze",
        "view",
    }
)


@dataclass(frozen=True)
class ParameterReference:
    """A parameter that no op has used yet."""

    name: str


def import_graph(
    program: ExportedProgram,
    store: ParameterStore,
    buffers: Mapping[str, torch.Tensor],
    *,
    prefix: str,
    root: str,
    output: int = 0,
    fixed: Mapping[str, torch.Tensor] | None = None,
    natural: bool = False,
    examples: Sequence[torch.Tensor] = (),
) -> ModuleOp:
    """The plena_tensor module of `program`; one of its user outputs is the function's result.

    An input [B, S, ...] becomes the argument [B * S, ...], and so does an output of rank 3 or more.

    Args:
        program: exported without gradients, fixed shapes.
        store: has every parameter under its name in the whole model; receives the constants that are too large for the IR.
        buffers: the exported module's buffers, with values.
        prefix: module path of the exported module within the whole model, "" for the model itself.
        root: what to call the module of empty path in messages.
        output: which of the outputs, in the order of the exported graph.
        natural: inputs keep the shapes that the module takes; the output becomes [rows, features] from any rank.
        examples: values of the inputs. Where the model compares integers among them with a number, what it finds is assumed of all
            inputs; `arrange_inputs` refuses others.
        fixed: inputs that are the same in every run (masks, position ids), by name: they fold, and are no arguments.

    Raises:
        ModelImportError: an operator, type or attribute without exact counterpart, with the module path.
    """
    signature = program.graph_signature
    specs = {spec.arg.name: spec for spec in signature.input_specs}
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    fixed = {} if fixed is None else fixed
    inputs = [
        node
        for node in placeholders
        if isinstance(node.meta.get("val"), torch.Tensor) and _is_input(specs, node) and node.name not in fixed
    ]
    types: list[pt.AnyTensor] = []
    for node in inputs:
        value: torch.Tensor = node.meta["val"]
        shape = tuple(value.shape)
        types.append(pt.tensor_type(shape if natural else (shape[0] * shape[1], *shape[2:]), element_type(value.dtype, root)))
    importer = _GraphImporter(GraphBuilder(store, types), prefix, root, examples)
    values: list[object] = []
    for node in placeholders:
        spec = specs[node.name]
        if node in inputs:
            argument = importer.builder.block.args[inputs.index(node)]
            argument.name_hint = node.name
            importer.builder.begin(root, node.name)
            values.append(importer.builder.reshape(argument, tuple(node.meta["val"].shape)))
        elif node.name in fixed:
            values.append(fixed[node.name].clone())
        elif spec.kind is InputKind.PARAMETER:
            values.append(ParameterReference(importer.join(str(spec.target))))
        elif spec.kind is InputKind.BUFFER:
            values.append(buffers[str(spec.target)].clone())
        elif spec.kind is InputKind.CONSTANT_TENSOR:
            values.append(torch.as_tensor(program.constants[str(spec.target)]).cpu().clone())
        else:
            values.append(node.meta.get("val"))
    outputs = importer.run(program.graph_module, values)
    outputs = [value for value, spec in zip(outputs, signature.output_specs, strict=True) if spec.kind is OutputKind.USER_OUTPUT]
    result = outputs[output] if output < len(outputs) else None
    if not isinstance(result, SSAValue):
        raise ModelImportError("the output depends on no input", where=root)
    builder = importer.builder
    builder.begin(root, "output")
    shape = pt.shape_of(result)
    if natural:
        if not shape:
            raise ModelImportError("the output is a single number", where=root, hint="outputs have features: return a row of them")
        module = builder.finish(builder.reshape(result, (prod(shape[:-1]), shape[-1])))
        set_assumptions(module, importer.assumptions)
        return module
    return builder.finish(builder.reshape(result, shape if len(shape) < 3 else (shape[0] * shape[1], *shape[2:])))


def _is_input(specs: Mapping[str, object], node: fx.Node) -> bool:
    return getattr(specs[node.name], "kind", None) is InputKind.USER_INPUT


class _GraphImporter:
    """Walks one graph after another, keeping what each node became."""

    def __init__(self, builder: GraphBuilder, prefix: str, root: str, examples: Sequence[torch.Tensor] = ()) -> None:
        self.builder = builder
        self.examples = examples
        self.assumptions: list[Assumption] = []
        self.prefix = prefix
        self.root = root

    def run(self, owner: fx.GraphModule, inputs: Sequence[object]) -> list[object]:
        """Import the graph of `owner` on `inputs`, one per placeholder; returns its outputs, flat."""
        values: dict[fx.Node, object] = {}
        remaining = list(inputs)
        outputs: list[object] = []
        for node in owner.graph.nodes:
            if node.op == "placeholder":
                values[node] = remaining.pop(0)
            elif node.op == "get_attr":
                values[node] = _attribute(owner, str(node.target))
            elif node.op == "output":
                outputs = [self._used(values, value) for value in _flat(node.args[0])]
            elif node.op == "call_function":
                self._import_node(values, node)
            else:
                raise ModelImportError(f"FX node kind {node.op} is not supported", where=self.join(""))
        return outputs

    def join(self, path: str) -> str:
        """`path` of the exported module within the whole model."""
        return ".".join(part for part in (self.prefix, path) if part) or self.root

    def _used(self, values: Mapping[fx.Node, object], argument: object) -> object:
        """The imported form of an argument; a parameter becomes an op here, before its first use."""
        value = values[argument] if isinstance(argument, fx.Node) else argument
        return self.builder.parameter(value.name) if isinstance(value, ParameterReference) else value

    def _import_node(self, values: dict[fx.Node, object], node: fx.Node) -> None:
        path = self.join(_module_path(node))
        name = str(node.target).split(".")[1] if isinstance(node.target, OpOverload) else ""
        if name in ASSERTIONS:
            return
        self.builder.begin(path, node.name)
        args = [_map(argument, lambda leaf: self._used(values, leaf)) for argument in node.args]
        kwargs = {key: _map(argument, lambda leaf: self._used(values, leaf)) for key, argument in node.kwargs.items()}
        if node.target is operator.getitem:
            values[node] = operator.getitem(cast(Sequence[object], args[0]), cast(int, args[1]))
        elif isinstance(node.target, HigherOrderOperator):
            values[node] = self._import_region(node, node.target.name(), args)
        elif (assumed := self._assumed(node, args)) is not None:
            values[node] = assumed
        elif not any(isinstance(value, SSAValue) for value in _flat([args, kwargs])):
            values[node] = self._fold(node, args, kwargs)
        elif isinstance(node.target, OpOverload):
            self._set_result_type(node, path)
            values[node] = self._import_op(values, node, node.target, args, kwargs)
            self._check_result(values[node], node)
        else:
            raise ModelImportError(f"{node.target} of values that depend on the inputs is not supported", where=path)

    def _import_op(
        self,
        values: dict[fx.Node, object],
        node: fx.Node,
        target: OpOverload,
        args: Sequence[object],
        kwargs: Mapping[str, object],
    ) -> object:
        namespace, name, overload = str(target).split(".")
        if not (target._schema.is_mutable and name.endswith("_")):  # pyright: ignore[reportPrivateUsage]
            return import_call(self.builder, target, f"{namespace}.{name}.{overload}", args, kwargs)
        result = import_call(self.builder, target, f"{namespace}.{name[:-1]}.{overload}", args, kwargs)
        mutated = node.args[0]
        assert isinstance(mutated, fx.Node)
        if _shares_memory(mutated, node):
            raise ModelImportError(
                f"{namespace}.{name}.{overload} writes to a tensor that is also seen through a view",
                where=self.builder.path,
                hint="write the result to a new tensor",
            )
        values[mutated] = result
        return result

    def _assumed(self, node: fx.Node, args: Sequence[object]) -> torch.Tensor | None:
        """The result of comparing an input of integers with a number, if there is an example of the input."""
        name = str(node.target).removeprefix("aten.")
        if name not in ("eq.Scalar", "ne.Scalar") or not isinstance(args[0], SSAValue) or not isinstance(args[1], int):
            return None
        value = args[0]
        while (reshape := pt.defined_by(value, pt.ReshapeOp)) is not None:
            value = reshape.x
        if not isinstance(value, BlockArgument) or value.index >= len(self.examples) or pt.element_of(value) != i64:
            return None
        example = self.examples[value.index]
        if example.is_meta:
            return None
        equal = example.cpu().reshape(pt.shape_of(args[0])) == args[1]
        self.assumptions.append(Assumption(value.index, args[1], tuple(equal.reshape(-1).nonzero().reshape(-1).tolist())))
        return equal if name == "eq.Scalar" else ~equal

    def _import_region(self, node: fx.Node, name: str, args: Sequence[object]) -> object:
        leading = INLINED_REGIONS.get(name)
        if leading is None or not isinstance(args[leading], fx.GraphModule):
            raise ModelImportError(
                f"control flow ({name}) is not supported",
                where=self.builder.path,
                hint="a program has one path: make the condition a constant of the configuration",
            )
        if name == "wrap_with_autocast" and args[2]:
            raise ModelImportError("autocast is not supported", where=self.builder.path, hint="run the model in float32")
        region = args[leading]
        assert isinstance(region, fx.GraphModule)
        return tuple(self.run(region, args[leading + 1 :]))

    def _fold(self, node: fx.Node, args: Sequence[object], kwargs: Mapping[str, object]) -> object:
        def on_cpu(value: object) -> object:
            return torch.device("cpu") if isinstance(value, torch.device) else value

        assert callable(node.target)
        try:
            return node.target(*[_map(value, on_cpu) for value in args], **{key: on_cpu(kwargs[key]) for key in kwargs})
        except (RuntimeError, TypeError, ValueError, NotImplementedError, IndexError) as error:
            raise ModelImportError(f"{node.target} cannot be evaluated: {error}", where=self.builder.path) from error

    def _set_result_type(self, node: fx.Node, path: str) -> None:
        value = node.meta.get("val")
        first = value[0] if isinstance(value, list | tuple) and value else value
        if isinstance(first, torch.Tensor):
            self.builder.result_shape = tuple(first.shape)
            self.builder.result_element = element_type(first.dtype, path)

    def _check_result(self, result: object, node: fx.Node) -> None:
        """What was emitted has the type torch computed: a difference is an error of an importer, not of the model.

        But for integers where weights are numbers, which torch.export lets pass and PyTorch refuses to run.
        """
        if isinstance(result, SSAValue):
            found = (pt.shape_of(result), pt.element_of(result))
            expected = (self.builder.result_shape, self.builder.result_element)
            if found[0] == expected[0] and isinstance(found[1], IntegerType) and isinstance(expected[1], Float32Type):
                raise ModelImportError(
                    f"{node.target} of integers", where=self.builder.path, hint="convert them to float32 first, as PyTorch demands"
                )
            assert found == expected, f"{node.target} at {self.builder.path}: imported as {found}, exported as {expected}"


def _attribute(owner: fx.GraphModule, target: str) -> object:
    value: object = owner
    for part in target.split("."):
        value = getattr(value, part)
    return value


def _map(argument: object, function: Callable[[object], object]) -> object:
    """`argument` with `function` applied to its leaves; FX nests lists and tuples only."""
    if isinstance(argument, tuple | list):
        return [_map(item, function) for item in cast(Sequence[object], argument)]
    return function(argument)


def _flat(value: object) -> list[object]:
    if isinstance(value, tuple | list):
        return [leaf for item in cast(Sequence[object], value) for leaf in _flat(item)]
    if isinstance(value, dict):
        return _flat(list(cast(dict[str, object], value).values()))
    return [value]


def _module_path(node: fx.Node) -> str:
    stack: Mapping[str, tuple[str, object]] = node.meta.get("nn_module_stack") or {}
    path = list(stack.values())[-1][0] if stack else ""
    return path.partition("@")[0]


def _is_view(node: fx.Node) -> bool:
    """Whether the result of a node may lie in the memory of its first argument."""
    if node.target is operator.getitem:
        return isinstance(node.args[0], fx.Node) and _is_view(node.args[0])
    return isinstance(node.target, OpOverload) and str(node.target).split(".")[1] in VIEWS


def _shares_memory(mutated: fx.Node, by: fx.Node) -> bool:
    """Whether anybody but the node `by`, which writes to the tensor of `mutated`, sees that memory.

    A view is written to alone when nothing else uses what it is a view of.
    """
    if any(user is not by and _is_view(user) for user in mutated.users):
        return True
    node = mutated
    while _is_view(node):
        source = node.args[0]
        if not isinstance(source, fx.Node) or len(source.users) != 1:
            return True
        node = source
    return node.op != "call_function"
