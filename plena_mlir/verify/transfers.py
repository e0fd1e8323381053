"""An independent check of transfers between HBM and the SRAMs: where each reads and writes, and with which registers.

It shares no code with the lowering. Of the plena_tile form every loop around a transfer is counted out, and the byte addresses that
result are held against the globals and buffers (machine specification, section 4.6). The plena_isa form is walked with the values
that registers hold where they are known: each transfer must use the base, the scale register and the stride of a transfer that the
plena_tile form has at this place of the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import IntegerAttr, ModuleOp
from xdsl.ir import BlockArgument, Operation, OpResult, SSAValue

from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path, target_of
from plena_mlir.errors import LoweringError
from plena_mlir.target import HBM_BLOCK, MX_BLOCK, Target

I64 = NDArray[np.int64]
Transfer = tile.LoadMatrixOp | tile.LoadRowsOp | tile.StoreRowsOp
_MOST_PLACES = 1 << 22
"""Iterations of the loops around one transfer that are counted out."""


@dataclass(frozen=True)
class TransferUse:
    """What a transfer takes from registers.

    Attributes:
        kind: name of the plena_tile operation.
        base: first byte of the tensor.
        scales: the tensor's elements, after which its scales begin.
        stride: bytes from row to row.
    """

    kind: str
    base: int
    scales: int
    stride: int


def check_transfers(module: ModuleOp) -> None:
    """Every transfer of a plena_tile module with addresses stays within its tensor and its buffer.

    Raises:
        LoweringError: one does not, or the machine would read the scales of a row incompletely.
    """
    target = target_of(module)
    tensors = globals_by_name(module)
    for op in transfers_of(module):
        _check_transfer(op, target, tensors)


def transfer_uses(module: ModuleOp) -> dict[str, set[TransferUse]]:
    """By module path, what the transfers of a plena_tile module with addresses need in registers."""
    tensors, target = globals_by_name(module), target_of(module)
    found: dict[str, set[TransferUse]] = {}
    for op in transfers_of(module):
        tensor = tensor_of(remote_of(op), tensors)
        use = TransferUse(op.name, _address(tensor), _elements(tensor), _row_stride(op, target))
        found.setdefault(module_path(op), set()).add(use)
    return found


def transfers_of(module: ModuleOp) -> Iterator[Transfer]:
    """The transfers of a plena_tile module, in program order."""
    return (op for op in module.walk() if isinstance(op, tile.LoadMatrixOp | tile.LoadRowsOp | tile.StoreRowsOp))


def globals_by_name(module: ModuleOp) -> dict[str, tile.GlobalOp]:
    """The tensors in HBM."""
    return {op.sym_name.data: op for op in module.body.block.ops if isinstance(op, tile.GlobalOp)}


def remote_of(op: Transfer) -> SSAValue:
    """The place in HBM that a transfer reads or writes."""
    return op.target if isinstance(op, tile.StoreRowsOp) else op.source


def _local(op: Transfer) -> SSAValue:
    return op.source if isinstance(op, tile.StoreRowsOp) else op.target


def tensor_of(ref: SSAValue, tensors: dict[str, tile.GlobalOp]) -> tile.GlobalOp:
    """The tensor that a place in HBM belongs to."""
    owner = tile.resolve(ref).buffer.owner
    assert isinstance(owner, tile.GetGlobalOp)
    return tensors[owner.symbol.string_value()]


def _elements(op: tile.GlobalOp) -> int:
    assert tile.is_buffer(op.type)
    return math.prod(op.type.get_shape())


def _address(op: tile.GlobalOp) -> int:
    if op.address is None:
        raise LoweringError("a tensor in HBM has no address", where=f"global {op.sym_name.data}", hint="run plan-memory first")
    return op.address.value.data


def rows_of(op: Transfer, target: Target) -> int:
    """How many rows a transfer moves."""
    match op:
        case tile.LoadMatrixOp():
            return target.prefetch_m_rows
        case tile.LoadRowsOp():
            return target.prefetch_v_rows
        case tile.StoreRowsOp():
            return target.writeback_v_rows


def _row_stride(op: Transfer, target: Target) -> int:
    """Bytes from row to row: that of the buffer or view the place was taken from; one row goes nowhere."""
    owner = remote_of(op).owner
    assert isinstance(owner, tile.AtOp) and tile.is_buffer(owner.source.type)
    strides = tile.strides_of(owner.source.type)
    return target.vlen if rows_of(op, target) == 1 or len(strides) < 2 else strides[-2]


def _check_transfer(op: Transfer, target: Target, tensors: dict[str, tile.GlobalOp]) -> None:
    tensor, length = tensor_of(remote_of(op), tensors), target.vlen
    elements, rows, stride = _elements(tensor), rows_of(op, target), _row_stride(op, target)
    name = f"{tensor.sym_name.data}, element"
    first = _places(op, remote_of(op), elements)
    # What a fetch of more rows than a tile, or than are left, brings is never read; of a write every row counts.
    counted = rows if isinstance(op, tile.StoreRowsOp) else min(rows, length) if isinstance(op, tile.LoadMatrixOp) else 1
    last = first + (counted - 1) * stride + length
    _require(op, (first % MX_BLOCK == 0) & (stride % MX_BLOCK == 0), first, f"starts inside a block of {MX_BLOCK}: {name}")
    _require(op, (first >= 0) & (last <= elements), first, f"reads or writes outside its tensor of {elements}: {name}")
    if not isinstance(op, tile.StoreRowsOp):
        for row in range(counted):
            scale = _address(tensor) + elements + (first + row * stride) // MX_BLOCK
            fits = scale % HBM_BLOCK + length // MX_BLOCK <= HBM_BLOCK
            _require(op, fits, first, f"has scales of row {row} in two blocks of {HBM_BLOCK} bytes: {name}")
    buffer = tile.as_buffer(tile.resolve(_local(op)).buffer)
    size = math.prod(buffer.get_shape())
    held = -(-rows // length) * length if isinstance(op, tile.LoadMatrixOp) else rows
    place = _places(op, _local(op), size)
    _require(op, place % length == 0, place, "does not start at a row on the chip: element")
    _require(op, (place >= 0) & (place + held * length <= size), place, f"exceeds its buffer of {size} on the chip: element")


def _require(op: Transfer, holds: I64 | NDArray[np.bool_], places: I64, what: str) -> None:
    wrong = np.flatnonzero(~np.broadcast_to(holds, places.shape))
    if wrong.size:
        raise LoweringError(
            f"{op.name} {what} {int(places[wrong[0]])}, in {wrong.size} of {places.size} iterations",
            where=module_path(op) or None,
            hint="this is a bug; please report it",
        )


def _places(op: Operation, ref: SSAValue, elements: int) -> I64:
    """Every element at which `ref` starts, over all iterations of the loops that it depends on."""
    access = tile.resolve(ref)
    needed: set[SSAValue] = {value for value, _ in access.terms if isinstance(value, BlockArgument)}
    columns = iterations(op, needed)
    count = max((len(column) for column in columns.values()), default=1)
    places = np.full(count, access.constant, np.int64)
    for value, factor in access.terms:
        if value in columns:
            places = places + columns[value] * factor
        elif (known := integer(value)) is not None:
            places = places + known * factor
        else:
            # A row or a matrix that the input names: the first and the last one of the dimension that it counts in.
            extent = min((other for _, other in access.terms if other > factor), default=elements)
            places = np.concatenate([places, places + (extent // factor - 1) * factor])
            columns = {key: np.concatenate([column, column]) for key, column in columns.items()}
    return places


def integer(value: SSAValue) -> int | None:
    """The value of an integer constant."""
    if isinstance(value, OpResult) and isinstance(value.op, arith.ConstantOp) and isinstance(value.op.value, IntegerAttr):
        return value.op.value.value.data
    return None


def iterations(op: Operation, needed: set[SSAValue]) -> dict[SSAValue, I64]:
    """The values of the loop variables around `op` that matter, one entry per combination; the outermost loop first."""
    loops: list[scf.ForOp] = []
    parent = op.parent_op()
    while parent is not None:
        if isinstance(parent, scf.ForOp):
            loops.append(parent)
        parent = parent.parent_op()
    wanted = set(needed)
    # From the innermost loop out: a bound may be the variable of a loop further out.
    matter = [loop for loop in loops if _matters(loop, wanted)]
    columns: dict[SSAValue, I64] = {}
    for loop in reversed(matter):
        columns = _expanded(loop, columns, op)
    return columns


def _matters(loop: scf.ForOp, wanted: set[SSAValue]) -> bool:
    if loop.body.block.args[0] not in wanted:
        return False
    wanted.update(bound for bound in (loop.lb, loop.ub, loop.step) if isinstance(bound, BlockArgument))
    return True


def _expanded(loop: scf.ForOp, columns: dict[SSAValue, I64], op: Operation) -> dict[SSAValue, I64]:
    count = max((len(column) for column in columns.values()), default=1)

    def bound(value: SSAValue) -> I64:
        known = integer(value)
        if known is None and value not in columns:
            raise LoweringError("the bound of a loop around a transfer is not known", where=module_path(op) or None)
        return columns[value] if known is None else np.full(count, known, np.int64)

    lower, upper, step = bound(loop.lb), bound(loop.ub), bound(loop.step)
    trips = np.maximum(0, -(-(upper - lower) // step))
    if int(trips.sum()) > _MOST_PLACES:
        raise LoweringError("the loops around a transfer run too often to be counted out", where=module_path(op) or None)
    rows = np.repeat(np.arange(count), trips)
    number = np.arange(len(rows)) - np.repeat(np.cumsum(trips) - trips, trips)
    expanded = {value: column[rows] for value, column in columns.items()}
    return {**expanded, loop.body.block.args[0]: lower[rows] + number * step[rows]}
