"""Activation functions: one sequence of row operations for every row of every column block."""

from __future__ import annotations

from xdsl.ir import Operation

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.passes.tile.emitter import Emitter
from plena_mlir.passes.tile.lowering.context import LoweringContext
from plena_mlir.passes.tile.row_functions import Gelu, Relu, RowFunction, Silu, SoftCap


def _function(emitter: Emitter, op: tensor.UnaryOp) -> RowFunction:
    match op:
        case tensor.SiluOp():
            return Silu(emitter)
        case tensor.GeluOp():
            return Gelu(emitter)
        case tensor.ReluOp():
            return Relu(emitter)
        case tensor.SoftCapOp():
            return SoftCap(emitter, op.cap.value.data)
        case _:
            raise AssertionError(f"{op.name} is no function of rows")


def lower_function(context: LoweringContext, op: Operation) -> None:
    """silu, gelu, relu and soft_cap, in place where the operand dies."""
    assert isinstance(op, tensor.UnaryOp)
    x = context.activation(op.x)
    out = context.reuse_or_allocate(op.result, op, op.x)
    emitter = context.emitter
    blocks, rows, _ = out.shape
    function = _function(emitter, op)
    source, target = emitter.flat(x.buffer), emitter.flat(out.buffer)
    with emitter.loop(blocks * rows) as row:
        function.apply(emitter.at(source, row, 0), emitter.at(target, row, 0))
    context.values[op.result] = out
