"""convert-tensor-to-tile: canonical plena_tensor to plena_tile on whole buffers.

Every activation gets a buffer in Vector SRAM, every weight expression a global in HBM with the function that computes it. Matrix
products and attention stay structured (`plena_tile.matmul`, `plena_tile.attention`); everything else becomes loops over rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import DictionaryAttr, FunctionType, IndexType, IntegerAttr, ModuleOp, StringAttr, i64
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import main_function, target_of
from plena_mlir.dialects.plena_tensor import element_of
from plena_mlir.interface import OUTPUT_ATTRIBUTE
from plena_mlir.passes.tensor.row_blocks import ROW_BLOCKS_ATTRIBUTE
from plena_mlir.passes.tile.emitter import Emitter, Index
from plena_mlir.passes.tile.layouts import Activation
from plena_mlir.passes.tile.loops import bounds
from plena_mlir.passes.tile.lowering.attention import lower_attention, lower_rope
from plena_mlir.passes.tile.lowering.binary import lower_binary, lower_bound
from plena_mlir.passes.tile.lowering.blocks import lower_empty_rows, lower_put_rows, lower_take_rows
from plena_mlir.passes.tile.lowering.concat import lower_concat
from plena_mlir.passes.tile.lowering.context import LoweringContext, refuse
from plena_mlir.passes.tile.lowering.embedding import lower_embedding, lower_staged_input
from plena_mlir.passes.tile.lowering.experts import lower_expert_linear, lower_moe_combine, lower_moe_weights, lower_topk
from plena_mlir.passes.tile.lowering.functions import lower_function
from plena_mlir.passes.tile.lowering.linear import lower_linear
from plena_mlir.passes.tile.lowering.norms import lower_norm
from plena_mlir.passes.tile.lowering.pooling import lower_sum_rows
from plena_mlir.passes.tile.lowering.rows import copy_rows, lower_slice
from plena_mlir.passes.tile.lowering.stages import record_stages

StrategyName = Literal["auto", "micro", "broadcast"]

_ARRANGING = (tensor.QuantizeOp, *tensor.MOVEMENT_OPS)


def _lower_quantize(context: LoweringContext, op: Operation) -> None:
    """Quantisation happens where the value is stored; on the way there it is the value itself. The host stored the inputs."""
    assert isinstance(op, tensor.QuantizeOp)
    if op.x not in context.values and tensor.is_input(op.x):
        context.values[op.x] = lower_staged_input(context, op.x)
    context.values[op.result] = context.activation(op.x)


def _copy(context: LoweringContext, activation: Activation) -> Activation:
    """The activation in a buffer of its own."""
    copy = context.allocate(activation.columns, activation.rows)
    copy_rows(context, activation, 0, copy)
    return copy


def _lower_loop(context: LoweringContext, op: Operation) -> None:
    """A loop over rolled layers: each carried tensor keeps one buffer that the body updates."""
    assert isinstance(op, scf.ForOp)
    lower, upper, step = bounds(op)
    if step != 1:
        raise refuse(op, f"a loop over layers with a step of {step}")
    body = op.body.block
    layer, *carried = body.args
    homes: list[Activation] = []
    for init, argument, result in zip(op.iter_args, carried, op.results, strict=True):
        if init in context.caches:
            context.caches[argument] = context.caches[result] = context.caches[init]
            continue
        activation = context.activation(init)
        if not context.dies_at(init, op) or activation in homes:
            activation = _copy(context, activation)
        homes.append(activation)
        context.values[argument] = activation
        context.values[result] = activation
    emitter = context.emitter
    block = Block(arg_types=[IndexType()])
    # Blocks of rows count from 1 below this level, so that the number of a block is how many blocks of keys it sees.
    offset = 1 if ROW_BLOCKS_ATTRIBUTE in op.attributes else 0
    constants = [emitter.index_constant(value) for value in (offset, upper - lower + offset, 1)]
    emitter.add(scf.ForOp(constants[0], constants[1], constants[2], [], Region(block)))
    context.layers[layer] = Index.of(block.args[0]) + -offset
    outer = emitter.builder.insertion_point
    emitter.builder.insertion_point = InsertPoint.at_end(block)
    lower_block(context, body)
    terminator = body.last_op
    assert isinstance(terminator, scf.YieldOp)
    yielded = [
        context.activation(value)
        for argument, value in zip(carried, terminator.arguments, strict=True)
        if argument not in context.caches
    ]
    # All values move to their homes at once: what lies in the home of another is put aside first.
    moves = [(last, home) for last, home in zip(yielded, homes, strict=True) if last != home]
    moves = [(_copy(context, last) if last in homes else last, home) for last, home in moves]
    for last, home in moves:
        copy_rows(context, last, 0, home)
    emitter.add(scf.YieldOp())
    emitter.builder.insertion_point = outer


_LOWERINGS: dict[type[Operation], Callable[[LoweringContext, Operation], None]] = {
    tensor.EmbeddingOp: lower_embedding,
    tensor.LinearOp: lower_linear,
    tensor.RmsNormOp: lower_norm,
    tensor.LayerNormOp: lower_norm,
    tensor.RopeOp: lower_rope,
    tensor.AttentionOp: lower_attention,
    tensor.AddOp: lower_binary,
    tensor.SubOp: lower_binary,
    tensor.MulOp: lower_binary,
    tensor.MaximumOp: lower_bound,
    tensor.MinimumOp: lower_bound,
    tensor.SiluOp: lower_function,
    tensor.GeluOp: lower_function,
    tensor.ReluOp: lower_function,
    tensor.SoftCapOp: lower_function,
    tensor.SliceOp: lower_slice,
    tensor.SumRowsOp: lower_sum_rows,
    tensor.ConcatOp: lower_concat,
    tensor.EmptyRowsOp: lower_empty_rows,
    tensor.TakeRowsOp: lower_take_rows,
    tensor.PutRowsOp: lower_put_rows,
    tensor.TopkOp: lower_topk,
    tensor.MoeWeightsOp: lower_moe_weights,
    tensor.ExpertLinearOp: lower_expert_linear,
    tensor.MoeCombineOp: lower_moe_combine,
    tensor.QuantizeOp: _lower_quantize,
    scf.ForOp: _lower_loop,
}


def _is_given(value: SSAValue) -> bool:
    """Whether a value is a weight or an input, of which whoever reads it takes care."""
    return tensor.is_weight(value) or tensor.is_input(value)


def lower_block(context: LoweringContext, block: Block) -> None:
    """Lower the operations of a block in order; weight expressions wait for the op that reads them."""
    for op in list(block.ops):
        if isinstance(op, arith.ConstantOp | scf.YieldOp | func.ReturnOp) or all(_is_given(result) for result in op.results):
            continue
        lowering = _LOWERINGS.get(type(op))
        if lowering is None:
            raise refuse(op, "no lowering to tiles exists for this op")
        context.emitter.location = op.location
        lowering(context, op)


def _finish(context: LoweringContext, returned: SSAValue) -> None:
    activation = context.activation(returned)
    alloc = activation.buffer.owner
    assert isinstance(alloc, tile.AllocOp)
    alloc.role = StringAttr(tile.OUTPUT)
    columns = activation.columns
    fields = {"rows": activation.rows, "groups": columns.groups, "size": columns.size, "padded": columns.padded}
    context.module.attributes[OUTPUT_ATTRIBUTE] = DictionaryAttr({key: IntegerAttr(value, i64) for key, value in fields.items()})


@dataclass(frozen=True)
class ConvertTensorToTilePass(ModulePass):
    """Lower `@main`, in canonical plena_tensor, to plena_tile; other functions (weights) stay.

    `strategy` forces a matrix strategy wherever it is legal; otherwise the cheapest is taken.
    """

    name = "convert-tensor-to-tile"

    strategy: StrategyName = "auto"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        target = target_of(op)
        main = main_function(op)
        source = main.body.block
        block = Block()
        anchor = arith.ConstantOp(IntegerAttr(0, IndexType()))
        block.add_op(anchor)
        emitter = Emitter(target, Builder(InsertPoint.at_end(block)))
        force = None if self.strategy == "auto" else tile.Strategy(self.strategy)
        context = LoweringContext(target, op, emitter, anchor, force)
        for argument in source.args:
            if element_of(argument) != i64 and not all(isinstance(use.operation, _ARRANGING) for use in argument.uses):
                context.values[argument] = lower_staged_input(context, argument)
        lower_block(context, source)
        returned = source.last_op
        assert isinstance(returned, func.ReturnOp)
        _finish(context, returned.arguments[0])
        record_stages(op, main, context.values)
        emitter.add(func.ReturnOp())
        anchor.detach()
        anchor.erase()
        lowered = func.FuncOp("main", FunctionType.from_lists([], []), Region(block))
        op.body.block.insert_op_before(lowered, main)
        main.detach()
        main.erase()
