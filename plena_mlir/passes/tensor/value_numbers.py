"""Value numbering of a function: equal numbers mean equal expressions of the arguments and parameters, loops counted out.

This is the validator of roll-layers: it knows nothing of layers, and runs the loops that the pass made.
"""

from __future__ import annotations

from collections.abc import Hashable

from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import IntegerAttr
from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path
from plena_mlir.errors import LoweringError


class ValueNumbers:
    """Numbers shared by all functions that are asked about, so that their results can be compared."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}

    def of_results(self, function: func.FuncOp) -> tuple[int, ...]:
        """One number per returned value."""
        block = function.body.block
        known: dict[SSAValue, int] = {argument: self._number(("argument", argument.index)) for argument in block.args}
        return self._run(block, known)

    def _number(self, key: Hashable) -> int:
        return self._numbers.setdefault(key, len(self._numbers))

    def _run(self, block: Block, known: dict[SSAValue, int]) -> tuple[int, ...]:
        """Number the ops of a block and return the numbers its terminator passes on; index values are their own numbers."""
        for op in block.ops:
            operands = tuple(known[operand] for operand in op.operands)
            match op:
                case func.ReturnOp() | scf.YieldOp():
                    return operands
                case arith.ConstantOp(value=IntegerAttr() as value):
                    known[op.result] = value.value.data
                case scf.ForOp():
                    known.update(zip(op.results, self._loop(op, operands, known), strict=True))
                case pt.TensorOp():
                    known[op.result] = self._number(self._key(op, operands))
                case _:
                    raise LoweringError(f"{op.name} has no place between layers", where=module_path(op) or None)
        raise LoweringError("a block of the function has no terminator")

    def _loop(self, op: scf.ForOp, operands: tuple[int, ...], known: dict[SSAValue, int]) -> tuple[int, ...]:
        first, end, step, *carried = operands
        values = tuple(carried)
        for index in range(first, end, step):
            inner = {**known, **dict(zip(op.body.block.args, (index, *values), strict=True))}
            values = self._run(op.body.block, inner)
        return values

    @staticmethod
    def _key(op: Operation, operands: tuple[int, ...]) -> Hashable:
        if isinstance(op, pt.ParameterOp):
            return ("parameter", op.parameter_name.data.format(*operands), op.result.type)
        types = tuple(result.type for result in op.results)
        return (op.name, operands, types, frozenset({**op.attributes, **op.properties}.items()))
