"""Appends plena_tensor ops to a function, one exported node at a time, each with the location of its module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from xdsl.dialects.builtin import (
    BytesAttr,
    DenseIntOrFPElementsAttr,
    FunctionType,
    ModuleOp,
    NameLoc,
    NoneAttr,
    StringAttr,
    f32,
    i1,
    i64,
)
from xdsl.dialects.func import FuncOp, ReturnOp
from xdsl.ir import Attribute, Block, Operation, Region, SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.store import ConstantArray, ParameterStore

ELEMENT_TYPES: dict[torch.dtype, Attribute] = {torch.float32: f32, torch.int64: i64, torch.bool: i1}
TORCH_TYPES: dict[Attribute, torch.dtype] = {element: dtype for dtype, element in ELEMENT_TYPES.items()}

Operand = SSAValue | torch.Tensor | bool | int | float
"""What an argument of a node can be once inputs are SSA values and everything else is folded."""


class GraphBuilder:
    """The function under construction, and the node being imported.

    Attributes:
        path: module path of the current node, the location of every op emitted for it.
        hint: name hint for the result of the current node.
        result_shape, result_element: type of the current node's (first) result.
    """

    def __init__(self, store: ParameterStore, argument_types: Sequence[pt.AnyTensor]) -> None:
        self.store = store
        self.block = Block(arg_types=argument_types)
        self.path = ""
        self.hint = ""
        self.result_shape: pt.Shape = ()
        self.result_element: Attribute = f32
        self._shared: list[Operation] = []
        self._body: list[Operation] = []
        self._parameters: dict[str, SSAValue] = {}
        self._constants: dict[tuple[object, ...], SSAValue] = {}

    def begin(self, path: str, name: str) -> None:
        """Start importing the node `name` of the module at `path`."""
        self.path = path
        self.hint = re.sub(r"_\d+$", "", name)

    def emit(self, op: pt.TensorOp) -> SSAValue:
        """Append `op` and return its result."""
        self._locate(op, self.path)
        op.result.name_hint = self.hint
        self._body.append(op)
        return op.result

    def reshape(self, x: Operand, shape: pt.Shape) -> SSAValue:
        """x under `shape`; x itself when it has that shape."""
        value = self.tensor(x)
        return value if pt.shape_of(value) == shape else self.emit(pt.ReshapeOp(value, shape))

    def expand(self, x: Operand, shape: pt.Shape) -> SSAValue:
        """x broadcast to `shape`; x itself when it has that shape."""
        value = self.tensor(x)
        return value if pt.shape_of(value) == shape else self.emit(pt.ExpandOp(value, shape))

    def tensor(self, value: Operand, element: Attribute | None = None) -> SSAValue:
        """`value` as an SSA value of the given element type (its own if None): casts values, materialises constants."""
        if isinstance(value, SSAValue):
            if element is None or pt.element_of(value) == element:
                return value
            return self.emit(pt.CastOp(value, element))
        if not isinstance(value, torch.Tensor):
            dtype = TORCH_TYPES[self.result_element if element is None else element]
            return self.constant(torch.tensor(value, dtype=dtype))
        return self.constant(value if element is None else value.to(TORCH_TYPES[element]))

    def parameter(self, name: str) -> SSAValue:
        """The parameter `name` of the store, one op for all its uses; its location is the module that owns it."""
        name = self.store.canonical(name)
        if name not in self._parameters:
            op = pt.ParameterOp(name, pt.tensor_type(self.store.shape(name)))
            owner, _, own_name = name.rpartition(".")
            self._locate(op, owner)
            hint = "_".join([*owner.split(".")[-1:], own_name])
            op.result.name_hint = f"_{hint}" if hint[:1].isdigit() else hint
            self._body.append(op)
            self._parameters[name] = op.result
        return self._parameters[name]

    def constant(self, value: torch.Tensor) -> SSAValue:
        """A folded tensor: inline up to 4 KB if finite, else in the store. Equal tensors of more than one element share one op."""
        values = to_constant(value)
        element = ELEMENT_TYPES[torch.from_numpy(values).dtype]
        result_type = pt.tensor_type(values.shape, element)
        # xDSL 0.74 prints an infinity as hexadecimal bits and reads these back as an integer: such values stay out of the text.
        if values.nbytes > pt.MAX_CONSTANT_BYTES or not np.isfinite(values).all():
            name = self.store.add_constant(values)
            return self._share((name,), pt.ParameterOp(name, result_type))
        data = _dense(result_type, values)
        if values.ndim == 0:
            return self.emit(pt.ConstantOp(data))
        return self._share((result_type, values.tobytes()), pt.ConstantOp(data))

    def finish(self, result: SSAValue) -> ModuleOp:
        """The module whose function `main` returns `result`; ops nobody uses are left out."""
        terminator = ReturnOp(result)
        self._locate(terminator, "")
        operations = [*self._shared, *self._body]
        kept: list[Operation] = []
        for op in reversed(operations):
            if any(value.first_use is not None for value in op.results):
                kept.append(op)
            else:
                op.erase()
        self.block.add_ops([*reversed(kept), terminator])
        inputs = [argument.type for argument in self.block.args]
        function = FuncOp("main", FunctionType.from_lists(inputs, [result.type]), Region(self.block))
        return ModuleOp([function])

    def _share(self, key: tuple[object, ...], op: pt.ParameterOp | pt.ConstantOp) -> SSAValue:
        if key not in self._constants:
            self._locate(op, self.path)
            op.result.name_hint = "const"
            self._shared.append(op)
            self._constants[key] = op.result
        return self._constants[key]

    @staticmethod
    def _locate(op: Operation, path: str) -> None:
        op.location = NameLoc(StringAttr(path), NoneAttr())


def _dense(result_type: pt.AnyTensor, values: ConstantArray) -> DenseIntOrFPElementsAttr[Any]:
    dense: Any = DenseIntOrFPElementsAttr  # its overloads want one element type at a time
    if values.dtype == np.bool_:
        return dense.from_list(result_type, [int(bit) for bit in values.flat])
    return dense(result_type, BytesAttr(values.tobytes()))


def element_type(dtype: torch.dtype, path: str) -> Attribute:
    """The IR element type of a torch dtype; what the compiler cannot hold exactly is refused."""
    if dtype not in ELEMENT_TYPES:
        raise ModelImportError(
            f"a value of type {str(dtype).removeprefix('torch.')} depends on the inputs or weights",
            where=path,
            hint="values are float32, token ids int64 and masks bool; cast in the model to one of these",
        )
    return ELEMENT_TYPES[dtype]


def to_constant(value: torch.Tensor) -> ConstantArray:
    """A folded tensor as float32, int64 or bool."""
    value = value.detach().contiguous()
    if value.dtype == torch.bool:
        return np.array(value.numpy(), dtype=np.bool_)
    if value.is_floating_point():
        return np.array(value.float().numpy(), dtype=np.float32)
    return np.array(value.numpy(), dtype=np.int64)
