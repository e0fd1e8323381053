"""The memory plan validator finds every way a plan can be wrong."""

from __future__ import annotations

from xdsl.dialects.builtin import IntegerAttr, i64
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.verify.memory import MemoryFault, check_memory
from tests.tile_programs import Program


def put(buffer: SSAValue, address: int) -> SSAValue:
    assert isinstance(buffer.owner, pt.AllocOp)
    buffer.owner.properties["address"] = IntegerAttr(address, i64)
    return buffer


def faults(program: Program) -> list[MemoryFault]:
    return [violation.error for violation in check_memory(program.finish())]


def touch(program: Program, buffer: SSAValue) -> None:
    program.zero_row(program.at(buffer, 0, 0, 0))


def test_buffers_used_one_after_the_other_may_share_a_place() -> None:
    program = Program()
    for buffer in [put(program.rows(1, 4), 32) for _ in range(3)]:
        touch(program, buffer)
        touch(program, buffer)
    assert faults(program) == []


def test_a_buffer_that_comes_back_to_a_claimed_place_is_found() -> None:
    program = Program()
    first, second = put(program.rows(1, 4), 0), put(program.rows(1, 4), 24)
    for buffer in (first, second, first):
        touch(program, buffer)
    assert faults(program) == [MemoryFault.OVERLAP]


def test_what_one_iteration_leaves_to_the_next_is_seen() -> None:
    program = Program()
    carried, scratch = put(program.rows(1, 4), 0), put(program.rows(1, 4), 0)
    with program.loop(3):
        touch(program, carried)
        touch(program, scratch)
    assert MemoryFault.OVERLAP in faults(program)


def test_buffers_of_one_iteration_may_share_a_place() -> None:
    program = Program()
    with program.loop(3):
        for _ in range(2):
            touch(program, put(program.rows(1, 4), 0))
    assert faults(program) == []


def test_operands_of_one_operation_may_not_overlap() -> None:
    program = Program()
    first, second = put(program.rows(1, 4), 0), put(program.rows(1, 4), 24)
    program.copy_row(program.at(first, 0, 0, 0), program.at(second, 0, 0, 0), program.constant(0.0))
    assert MemoryFault.OVERLAP in faults(program)


def test_views_are_accesses_of_their_buffer() -> None:
    program = Program()
    first, second = put(program.rows(2, 4), 0), put(program.rows(1, 4), 32)
    view = program.slice(first, [1, 0, 0], [1, 4, 8])
    for buffer in (view, second, view):
        touch(program, buffer)
    assert faults(program) == [MemoryFault.OVERLAP]


def test_the_output_must_survive_and_token_ids_must_be_there_from_the_start() -> None:
    program = Program()
    output, scratch = put(program.rows(1, 4, "output"), 0), put(program.rows(1, 4), 0)
    ids, index = put(program.alloc(pt.Space.INTRAM, [4], "ids"), 0), put(program.alloc(pt.Space.INTRAM, [4]), 3)
    touch(program, output)
    touch(program, scratch)
    for buffer in (index, ids):
        program.add(pt.LoadIndexOp(program.at(buffer, 0)))
    assert faults(program) == [MemoryFault.OVERLAP, MemoryFault.OVERLAP]


def test_missing_misaligned_and_outlying_addresses_are_found() -> None:
    program = Program()
    program.rows(1, 4)
    put(program.rows(1, 4), 4)
    put(program.alloc(pt.Space.MRAM, [1, 8, 8]), 8)
    put(program.alloc(pt.Space.MRAM, [2, 8, 8]), (program.target.matrix_sram_tiles - 1) * 64)
    put(program.alloc(pt.Space.FPRAM, [25]), 1000)
    assert faults(program) == [
        MemoryFault.UNPLACED,
        MemoryFault.MISALIGNED,
        MemoryFault.MISALIGNED,
        MemoryFault.OUT_OF_BOUNDS,
        MemoryFault.OUT_OF_BOUNDS,
    ]


def test_globals_are_checked_with_their_scales() -> None:
    program = Program()
    for name, address in (("a", None), ("b", 0), ("c", 64), ("d", 144), ("e", program.target.hbm_size - 64)):
        program.hbm(name, (8, 8))
        global_ = next(op for op in program.module.body.block.ops if isinstance(op, pt.GlobalOp) and op.sym_name.data == name)
        if address is not None:
            global_.properties["address"] = IntegerAttr(address, i64)
    violations = check_memory(program.finish())
    assert [(violation.error, violation.subject) for violation in violations] == [
        (MemoryFault.UNPLACED, "global a"),
        (MemoryFault.OVERLAP, "global c (with global b)"),
        (MemoryFault.MISALIGNED, "global d"),
        (MemoryFault.OUT_OF_BOUNDS, "global e"),
    ]
