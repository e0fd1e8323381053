"""plan-memory: addresses for globals in HBM and for buffers in the on-chip memories.

Globals follow each other in HBM, each with its scales right behind its elements. In the other memories, buffers that are never live
together share space.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import DictionaryAttr, IntegerAttr, ModuleOp, i64
from xdsl.passes import ModulePass
from xdsl.utils.hints import isa

from plena_mlir.dialects.plena import module_path, target_of
from plena_mlir.dialects.plena_tile.attributes import Space
from plena_mlir.dialects.plena_tile.memory import Buffer, GetGlobalOp, GlobalOp, owning_buffer, source_type, strides_of
from plena_mlir.dialects.plena_tile.units import LoadMatrixOp, LoadRowsOp
from plena_mlir.errors import LoweringError, MemoryTooSmallError
from plena_mlir.interface import MEMORY_ATTRIBUTE
from plena_mlir.passes.tile.buffer_liveness import LiveBuffer, live_buffers
from plena_mlir.passes.tile.placement import Interval, live_at_once, peak, place
from plena_mlir.target import HBM_BLOCK, MX_BLOCK, Target
from plena_mlir.verify.memory import check_memory

_LARGEST_SHOWN = 3
_LARGEST_GLOBAL = (1 << 32) - 1


@dataclass(frozen=True)
class Memory:
    """An on-chip memory, in the units its buffers are aligned to.

    Attributes:
        space: which one.
        title: its name in messages.
        unit: elements of a row, a tile or a word.
        unit_name: what messages count, and the module attribute's suffix.
        capacity: units there are.
        hint: what helps when they do not suffice.
    """

    space: Space
    title: str
    unit: int
    unit_name: str
    capacity: int
    hint: str


def memories(target: Target) -> tuple[Memory, ...]:
    """The on-chip memories of a target."""
    return (
        Memory(
            Space.VRAM,
            "Vector SRAM",
            target.vlen,
            "rows",
            target.vector_sram_rows,
            "use a shorter sequence, or a target with a larger VECTOR_SRAM_SIZE",
        ),
        Memory(
            Space.MRAM,
            "Matrix SRAM",
            target.tile_elements,
            "tiles",
            target.matrix_sram_tiles,
            "use a target with a larger MATRIX_SRAM_SIZE",
        ),
        Memory(Space.FPRAM, "FP SRAM", 1, "words", target.fp_sram_words, "its size is fixed; use a shorter sequence"),
        Memory(Space.INTRAM, "INT SRAM", 1, "words", target.int_sram_words, "its size is fixed; use a shorter sequence"),
    )


@dataclass(frozen=True)
class PlanMemoryPass(ModulePass):
    """Set the address of every global and alloc.

    The module attribute `plena.memory` records what they occupy: hbm_bytes, vram_rows, mram_tiles, fpram_words, intram_words.
    """

    name = "plan-memory"

    verify: bool = False
    """Check the result with the independent validator."""

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        target = target_of(op)
        used = {"hbm_bytes": place_globals(op, target)}
        buffers = [buffer for main in op.body.block.ops if isinstance(main, func.FuncOp) for buffer in live_buffers(main)]
        for memory in memories(target):
            own = [buffer for buffer in buffers if buffer.space is memory.space]
            used[f"{memory.space.value}_{memory.unit_name}"] = _place_buffers(own, memory, target)
        op.attributes[MEMORY_ATTRIBUTE] = DictionaryAttr({key: IntegerAttr(value, i64) for key, value in used.items()})
        if self.verify:
            violations = check_memory(op)
            if violations:
                raise LoweringError(f"plan-memory made an unsound plan: {violations[0]}", hint="this is a bug; please report it")


def place_globals(module: ModuleOp, target: Target) -> int:
    """Set the addresses of the globals, one after the other in HBM blocks of their own; the bytes they occupy.

    Raises:
        LoweringError: they exceed HBM, or one has more elements than the scale register can count.
    """
    sizes: list[tuple[int, str]] = []
    end = reached = 0
    surplus = _surplus(module, target)
    for op in module.body.block.ops:
        if not isinstance(op, GlobalOp):
            continue
        assert isa(op.type, Buffer)
        elements = math.prod(op.type.get_shape())
        if elements > _LARGEST_GLOBAL:
            raise LoweringError(
                f"it has {elements:,} elements, and the distance to its scales must be below 2**32",
                where=f"global {op.sym_name.data}",
                hint="compile fewer layers",
            )
        start = -(-end // HBM_BLOCK) * HBM_BLOCK
        op.properties["address"] = IntegerAttr(start, i64)
        size = elements + elements // MX_BLOCK
        sizes.append((size, op.sym_name.data))
        end = start + size
        over = surplus.get(op.sym_name.data, 0)
        reached = max(reached, end, start + elements + max(over, -(-(elements + over) // MX_BLOCK)))
    if reached > target.hbm_size:
        fetched = "" if reached == end else f", and fetches of whole amounts reach {reached - end:,} bytes beyond them"
        raise MemoryTooSmallError(
            f"HBM is too small: the tensors take {end:,} bytes{fetched}, {reached - target.hbm_size:,} more than there are; "
            f"the largest are {_largest(sizes, 'bytes')}",
            memory=Space.HBM.value,
            needed=reached,
            where=f"target {target.name}",
            hint=f"compile fewer layers, or use a machine with more HBM (--hbm-size {-(-reached // (1 << 30))}G)",
        )
    return end


def _surplus(module: ModuleOp, target: Target) -> dict[str, int]:
    """By global, the elements behind its last that a fetch may read: every fetch moves a whole amount of rows, wanted or not.

    The rows that nobody wants are never used, but they must lie within HBM.
    """
    found: dict[str, int] = {}
    for op in module.walk():
        if not isinstance(op, LoadMatrixOp | LoadRowsOp):
            continue
        owner = owning_buffer(op.source).owner
        if isinstance(owner, GetGlobalOp):
            matrix, strides = isinstance(op, LoadMatrixOp), strides_of(source_type(op.source))
            rows = (target.prefetch_m_tiles - 1) * target.mlen if matrix else target.prefetch_v_rows - 1
            name = owner.symbol.string_value()
            found[name] = max(found.get(name, 0), rows * (strides[-2] if len(strides) > 1 else target.vlen))
    return found


def _place_buffers(buffers: Sequence[LiveBuffer], memory: Memory, target: Target) -> int:
    """Set the addresses of the allocs of one memory; the units they occupy."""
    intervals = [Interval(buffer.start, buffer.stop, -(-buffer.elements // memory.unit)) for buffer in buffers]
    offsets = place(intervals)
    needed = peak(intervals, offsets)
    if needed > memory.capacity:
        live = [(intervals[index].size, _title(buffers[index])) for index in live_at_once(intervals)]
        raise MemoryTooSmallError(
            f"{memory.title} is too small: the program needs {needed:,} {memory.unit_name}, the target has {memory.capacity:,}; "
            f"{sum(size for size, _ in live):,} are live at once, the largest {_largest(live, memory.unit_name)}",
            memory=memory.space.value,
            needed=needed,
            where=f"target {target.name}",
            hint=memory.hint,
        )
    for buffer, offset in zip(buffers, offsets, strict=True):
        buffer.alloc.properties["address"] = IntegerAttr(offset * memory.unit, i64)
    return needed


def _title(buffer: LiveBuffer) -> str:
    """How a message calls a buffer."""
    return module_path(buffer.alloc) or buffer.alloc.buffer.name_hint or "a buffer without a name"


def _largest(sizes: Sequence[tuple[int, str]], unit: str) -> str:
    shown = sorted(sizes, key=lambda entry: (-entry[0], entry[1]))[:_LARGEST_SHOWN]
    return ", ".join(f"{size:,} {unit} of {name}" for size, name in shown)
