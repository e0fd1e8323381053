"""Weight expressions of the tensor level become globals in HBM: the expression moves into a function of its own. So do the
expressions that arrange the inputs of the program."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import FunctionType, IndexType, IntegerAttr, ModuleOp
from xdsl.ir import Block, BlockArgument, Operation, OpResult, Region, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.passes.tile.loops import bounds


def expression(value: SSAValue) -> list[Operation]:
    """The operations a weight value depends on, in an order that respects their uses."""
    found: dict[Operation, None] = {}

    def visit(value: SSAValue) -> None:
        if isinstance(value, OpResult) and value.op not in found:
            for operand in value.op.operands:
                visit(operand)
            found[value.op] = None

    visit(value)
    return list(found)


def parameter_name(value: SSAValue) -> str:
    """A readable name for a weight: the first parameter its expression reads, or its last operation."""
    operations = expression(value)
    names = [op.parameter_name.data for op in operations if isinstance(op, tensor.ParameterOp)]
    return names[0] if names else operations[-1].name.removeprefix("plena_tensor.")


def _arguments(value: SSAValue) -> list[BlockArgument]:
    """The arguments of the function that an expression reads, the first reached first."""
    if isinstance(value, BlockArgument):
        return [value]
    operands = [operand for op in expression(value) for operand in op.operands]
    return [operand for operand in operands if isinstance(operand, BlockArgument)]


def _counted(layer: BlockArgument, block: Block) -> SSAValue:
    """The layer that the argument of `block`, which counts from 0, stands for in the loop of `layer`."""
    loop = layer.block.parent_op()
    assert isinstance(loop, scf.ForOp)
    lower, _, _ = bounds(loop)
    if lower == 0:
        return block.args[0]
    first = arith.ConstantOp(IntegerAttr(lower, IndexType()))
    index = arith.AddiOp(block.args[0], first)
    block.add_ops([first, index])
    return index.result


class WeightOutliner:
    """Creates one global per distinct weight expression and layout."""

    def __init__(self, module: ModuleOp) -> None:
        self._module = module
        self._functions: dict[str, str] = {}
        self._globals: dict[tuple[str | None, str], str] = {}
        self._names: set[str] = set()

    def _unique(self, name: str) -> str:
        candidate, number = name, 1
        while candidate in self._names:
            candidate, number = f"{name}.{number}", number + 1
        self._names.add(candidate)
        return candidate

    def _declare(self, op: Operation) -> None:
        block = self._module.body.block
        first = block.first_op
        assert first is not None
        block.insert_op_before(op, first)

    def function(self, value: SSAValue) -> str:
        """The name of a function (of the layer index, if the expression needs it) that computes the weight."""
        layers = {operand for op in expression(value) for operand in op.operands if isinstance(operand, BlockArgument)}
        block = Block(arg_types=[IndexType()] if layers else [])
        mapping: dict[SSAValue, SSAValue] = {layer: _counted(layer, block) for layer in layers}
        for op in expression(value):
            copy = op.clone(mapping)
            block.add_op(copy)
        block.add_op(func.ReturnOp(mapping[value]))
        return self._outline(block, value, f"init.{parameter_name(value)}")

    def arrangement(self, value: SSAValue) -> str | None:
        """The name of a function of the program's inputs that computes `value`, an input rearranged.

        None if there is nothing to do, because `value` is the only argument of its type.
        """
        arguments = _arguments(value)
        whole = arguments[0].block.args
        elements = [tensor.element_of(argument) for argument in whole]
        if isinstance(value, BlockArgument) and elements.count(tensor.element_of(value)) == 1:
            return None
        block = Block(arg_types=[argument.type for argument in whole])
        mapping: dict[SSAValue, SSAValue] = dict(zip(whole, block.args, strict=True))
        for op in expression(value):
            block.add_op(op.clone(mapping))
        block.add_op(func.ReturnOp(mapping[value]))
        return self._outline(block, value, f"arrange.{arguments[0].name_hint or 'input'}")

    def _outline(self, block: Block, value: SSAValue, name: str) -> str:
        """Make `block` a function, unless there is the same already."""
        type = FunctionType.from_lists(block.arg_types, [value.type])
        function = func.FuncOp("init", type, Region(block), visibility="private")
        key = str(function)
        if key not in self._functions:
            name = self._unique(name)
            self._declare(func.FuncOp(name, type, function.detach_region(function.body), visibility="private"))
            self._functions[key] = name
        return self._functions[key]

    def weight(self, value: SSAValue, shape: Sequence[int], layout: tile.LayoutAttr, precision: tile.Precision) -> tile.GetGlobalOp:
        """A reference to the global that holds `value` packed by `layout` into `shape`."""
        return self._global(parameter_name(value), self.function(value), shape, precision, tile.WEIGHT, layout)

    def storage(
        self,
        name: str,
        shape: Sequence[int],
        precision: tile.Precision,
        role: str,
        layout: tile.LayoutAttr | None = None,
        init: str | None = None,
    ) -> tile.GetGlobalOp:
        """A reference to a global that no parameter fills; one per name, shape and role."""
        return self._global(name, init, shape, precision, role, layout)

    def _global(
        self,
        name: str,
        init: str | None,
        shape: Sequence[int],
        precision: tile.Precision,
        role: str,
        layout: tile.LayoutAttr | None,
    ) -> tile.GetGlobalOp:
        type = tile.buffer_type(tile.Space.HBM, tile.MxType(tile.PrecisionAttr(precision)), shape)
        key = (init or name, f"{type}{role}{layout}")
        if key not in self._globals:
            self._globals[key] = self._unique(name)
            self._declare(tile.GlobalOp(self._globals[key], type, role, init, layout))
        return tile.GetGlobalOp(self._globals[key], type)
