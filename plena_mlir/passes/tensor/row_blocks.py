"""Row blocks: a straight line of row-wise ops, cut into loops that keep one block of rows at a time.

Ops on rows [S, F] do the same to every row, except that attention reads the keys and values of all rows. So the ops fall into
stages by how many attentions they come after. Each stage becomes a loop over blocks of rows; what later stages need of all rows
(keys and values, the residual stream) is put together in whole tensors, what only one stage needs exists for one block:

    n = rms_norm x; q, k, v = linear n       for block: x' = take x; k, v = put (linear (rms_norm x'))
    y = x + linear (attention q k v)    ->   for block: x' = take x; q' = linear (rms_norm x');
                                                        y = put (x' + linear (attention q' k v))

Queries are computed again rather than kept. A tensor that a loop over layers carries is changed in place, block by block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import IndexType, IntegerAttr, TensorType, UnitAttr
from xdsl.ir import Block, Operation, OpResult, Region, SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.errors import LoweringError

ROW_BLOCKS_ATTRIBUTE = "plena.row_blocks"
"""Marks a loop over blocks of rows."""


_ROUTED = (pt.TopkOp, pt.MoeWeightsOp, pt.ExpertLinearOp, pt.MoeCombineOp)
"""Ops of experts take all rows together: pairs of a row and an expert lie in rows of their own."""


def _is_rows(value: SSAValue, rows: int) -> bool:
    return isinstance(value.type, TensorType) and len(shape_of(value)) == 2 and shape_of(value)[0] == rows


@dataclass
class _Plan:
    """The row-wise ops of one block of IR, their stages, and the values that all rows are kept of."""

    rows: int
    ops: list[pt.TensorOp]
    stage: dict[SSAValue, int]
    whole: set[SSAValue]

    def computed(self, value: SSAValue) -> bool:
        """Whether the stages compute the value, as opposed to reading it."""
        return value in self.stage


def _arrives(op: Operation) -> bool:
    """Whether an op stands for rows as they come, all of them: from the table, staged by the host, or from other rows."""
    if isinstance(op, pt.SliceOp | pt.ConcatOp) and op.dim.value.data == 0:
        return True
    return isinstance(op, pt.EmbeddingOp) or (isinstance(op, pt.QuantizeOp) and op.format.data == "act")


def _plan(segment: Sequence[Operation], rows: int) -> _Plan:
    ops = [
        op
        for op in segment
        if isinstance(op, pt.TensorOp)
        and not _arrives(op)
        and not pt.is_input(op.result)
        and not isinstance(op, _ROUTED)
        and _is_rows(op.result, rows)
        and not pt.is_weight(op.result)
    ]
    stage: dict[SSAValue, int] = {}
    for op in ops:
        before = max((stage.get(operand, 0) for operand in op.operands), default=0)
        stage[op.result] = before + isinstance(op, pt.AttentionOp)
    members = set[Operation](ops)
    whole: set[SSAValue] = set()
    for op in ops:
        for use in op.result.uses:
            reader = use.operation
            if reader not in members:
                whole.add(op.result)
            elif isinstance(reader, pt.AttentionOp):
                if use.index > 0:
                    whole.add(op.result)
            elif stage[reader.results[0]] > stage[op.result] > 0:
                whole.add(op.result)
    return _Plan(rows, ops, stage, whole)


def _slice_of(plan: _Plan, targets: Sequence[SSAValue], number: int) -> list[pt.TensorOp]:
    """The ops a stage must run for its targets: back to values that are kept whole since an earlier stage."""
    wanted: set[Operation] = set()
    pending = list(targets)
    while pending:
        value = pending.pop()
        if not isinstance(value, OpResult) or value.op in wanted or not plan.computed(value):
            continue
        if value in plan.whole and plan.stage[value] < number:
            continue
        wanted.add(value.op)
        operands = value.op.operands[:1] if isinstance(value.op, pt.AttentionOp) else value.op.operands
        pending += operands
    return [op for op in plan.ops if op in wanted]


class _Body:
    """The copy of a stage's ops for one block of rows."""

    def __init__(self, plan: _Plan, block: Block, index: SSAValue, rows: int, block_rows: int) -> None:
        self.plan, self.block, self.index = plan, block, index
        self.rows, self.block_rows = rows, block_rows
        self.sources: dict[SSAValue, SSAValue] = {}
        self.copies: dict[SSAValue, SSAValue] = {}

    def emit(self, op: Operation, like: Operation) -> SSAValue:
        op.location = like.location
        self.block.add_op(op)
        return op.results[0]

    def operand(self, value: SSAValue, like: Operation) -> SSAValue:
        """The block's part of an operand: computed here, taken from a whole tensor, or a weight as it is."""
        if value in self.copies:
            return self.copies[value]
        if not _is_rows(value, self.plan.rows) or (pt.is_weight(value) and not _positional(value, like)):
            return value
        if pt.is_weight(value) and isinstance(value.owner, pt.QuantizeOp):
            quantize = value.owner
            part = self.operand_rows(quantize.x, like)
            group = None if quantize.group is None else quantize.group.value.data
            return self.emit(pt.QuantizeOp(part, pt.QuantizeFormat(quantize.format.data), quantize.terms.value.data, group), like)
        self.copies[value] = self.operand_rows(self.sources.get(value, value), like)
        return self.copies[value]

    def operand_rows(self, value: SSAValue, like: Operation) -> SSAValue:
        if pt.is_weight(value) and isinstance(self.index.owner, arith.ConstantOp):
            constant = self.index.owner.value
            assert isinstance(constant, IntegerAttr)
            start = constant.value.data * self.block_rows
            return self.emit(pt.SliceOp(value, 0, start, start + self.rows), like)
        return self.emit(pt.TakeRowsOp(value, self.index, self.rows, self.block_rows), like)

    def run(self, ops: Sequence[pt.TensorOp]) -> None:
        for op in ops:
            if isinstance(op, pt.AttentionOp):
                mask = None if op.mask is None else self.operand(op.mask, op)
                copy: pt.TensorOp = pt.AttentionOp(
                    self.operand(op.q, op),
                    self.sources.get(op.k, op.k),
                    self.sources.get(op.v, op.v),
                    mask,
                    heads=op.heads.value.data,
                    kv_heads=op.kv_heads.value.data,
                    scale=op.scale.value.data,
                    mask_kind=pt.MaskKind(op.mask_kind.data),
                    window=None if op.window is None else op.window.value.data,
                    soft_cap=None if op.soft_cap is None else op.soft_cap.value.data,
                    sinks=op.sinks,
                    block=self.index,
                    block_rows=self.block_rows,
                )
            else:
                operands = [self.operand(operand, op) for operand in op.operands]
                type = pt.tensor_type((self.rows, shape_of(op.result)[1]), pt.element_of(op.result))
                copy = op.__class__.create(operands=operands, result_types=[type], properties=op.properties)
            copy.result.name_hint = op.result.name_hint
            self.copies[op.result] = self.emit(copy, op)


def _positional(value: SSAValue, reader: Operation) -> bool:
    """Whether a weight [rows, F] goes with the rows of the activation: rope tables, position rows, masks; not a linear's weight.

    Raises:
        LoweringError: the op is none of those that read such a weight in canonical form.
    """
    if isinstance(reader, pt.LinearOp):
        return False
    joins = isinstance(reader, pt.ConcatOp) and reader.dim.value.data == 1
    if joins or isinstance(reader, pt.RopeOp | pt.BinaryOp | pt.AttentionOp):
        return True
    raise LoweringError(
        f"{reader.name} reads a weight of shape {shape_of(value)}, and whether its rows go with those of the activation is unknown",
        where=module_path(reader) or None,
        hint="use a target with a larger VECTOR_SRAM_SIZE, for which no blocks of rows are needed",
    )


def _leaves(op: Operation, rows: int) -> bool:
    """Whether an op takes all rows together: experts do, attention of several sequences, and what computes with other rows, as
    taking the last does."""
    if isinstance(op, _ROUTED) or (isinstance(op, pt.AttentionOp) and op.parts):
        return True
    if not isinstance(op, pt.TensorOp) or _is_rows(op.result, rows):
        return False
    return any(_is_rows(operand, rows) and not pt.is_weight(operand) for operand in op.operands)


def tile_rows(block: Block, rows: int, block_rows: int) -> None:
    """Rewrite one block of IR to loops over blocks of `block_rows` rows; the rows that are left over follow each loop.

    Loops over layers, and ops that leave the rows behind, stay where they are: the ops before, between and after them are rewritten
    apart.
    """
    segment: list[Operation] = []
    for op in list(block.ops):
        if isinstance(op, scf.ForOp | scf.YieldOp | func.ReturnOp) or _leaves(op, rows):
            _tile_segment(block, segment, op, rows, block_rows)
            segment = []
        else:
            segment.append(op)


def _tile_segment(block: Block, segment: Sequence[Operation], end: Operation, rows: int, block_rows: int) -> None:
    plan = _plan(segment, rows)
    if not plan.ops:
        return
    sources: dict[SSAValue, SSAValue] = {}
    for number in range(max(plan.stage.values()) + 1):
        targets = [op.result for op in plan.ops if op.result in plan.whole and plan.stage[op.result] == number]
        if targets:
            _stage(plan, block, end, targets, number, block_rows, sources)
    members = set[Operation](plan.ops)
    for target, whole in sources.items():
        target.replace_uses_with_if(whole, lambda use: use.operation not in members)
    for op in reversed(plan.ops):
        op.detach()
        op.erase()


def _carried(plan: _Plan, end: Operation, target: SSAValue, number: int) -> SSAValue | None:
    """The block argument whose place `target` takes in the next iteration, if this stage is the last to read it."""
    if not isinstance(end, scf.YieldOp) or end.parent is None:
        return None
    later = {op for op in plan.ops if plan.stage[op.result] > number}
    for argument, value in zip(end.parent.args[1:], end.arguments, strict=True):
        # What reads it, other than ops of this plan, are the loops of earlier stages.
        readers = [use.operation for use in argument.uses]
        if value is target and not any(op in later or isinstance(op, scf.YieldOp | scf.ForOp) for op in readers):
            return argument
    return None


def _stage(
    plan: _Plan,
    block: Block,
    end: Operation,
    targets: Sequence[SSAValue],
    number: int,
    block_rows: int,
    sources: dict[SSAValue, SSAValue],
) -> None:
    ops = _slice_of(plan, targets, number)
    full, left = divmod(plan.rows, block_rows)
    new_ops: list[Operation] = []
    inits: list[SSAValue] = []
    carried = [_carried(plan, end, target, number) for target in targets]
    for target, value in zip(targets, carried, strict=True):
        if value is None:
            empty = pt.EmptyRowsOp((plan.rows, shape_of(target)[1]))
            empty.location = ops[-1].location
            new_ops.append(empty)
            value = empty.result
        inits.append(value)
    bounds = [arith.ConstantOp(IntegerAttr(value, IndexType())) for value in (0, full, 1)]
    block.insert_ops_before([*new_ops, *bounds], end)

    def run(body: _Body, wholes: Sequence[SSAValue]) -> list[SSAValue]:
        body.sources = {**sources, **{value: whole for value, whole in zip(carried, wholes, strict=True) if value is not None}}
        body.run(ops)
        return [
            body.emit(pt.PutRowsOp(whole, body.copies[target], body.index, block_rows), ops[-1])
            for whole, target in zip(wholes, targets, strict=True)
        ]

    loop_block = Block(arg_types=[IndexType(), *(target.type for target in targets)])
    results = run(_Body(plan, loop_block, loop_block.args[0], block_rows, block_rows), loop_block.args[1:])
    loop_block.add_op(scf.YieldOp(*results))
    loop = scf.ForOp(bounds[0], bounds[1], bounds[2], inits, Region(loop_block))
    loop.attributes[ROW_BLOCKS_ATTRIBUTE] = UnitAttr()
    loop.location = ops[-1].location
    block.insert_op_before(loop, end)
    wholes: list[SSAValue] = list(loop.results)
    if left:
        rest = Block()
        index = arith.ConstantOp(IntegerAttr(full, IndexType()))
        rest.add_op(index)
        wholes = run(_Body(plan, rest, index.result, left, block_rows), wholes)
        moved = list(rest.ops)
        for op in moved:
            op.detach()
        block.insert_ops_before(moved, end)
    sources.update(zip(targets, wholes, strict=True))
