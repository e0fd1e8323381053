"""plena_tile: places resolve to element offsets, types and attributes refuse nonsense, layouts convert."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xdsl.dialects import test as test_dialect
from xdsl.dialects.builtin import IndexType, MemRefType, bf16
from xdsl.ir import SSAValue
from xdsl.utils.exceptions import VerifyException

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.passes.tile.emitter import Index
from plena_mlir.target.layout import Layout
from tests.tile_programs import Program


def index() -> SSAValue:
    return test_dialect.TestOp(result_types=[IndexType()]).res[0]


def test_strides_are_row_major_unless_the_type_says_otherwise() -> None:
    assert pt.strides_of(pt.buffer_type(pt.Space.VRAM, bf16, [2, 3, 8])) == (24, 8, 1)
    assert pt.strides_of(pt.buffer_type(pt.Space.VRAM, bf16, [8])) == (1,)
    assert pt.strides_of(pt.buffer_type(pt.Space.VRAM, bf16, [2, 8], [40, 1])) == (40, 1)


def test_a_buffer_type_names_its_memory() -> None:
    assert pt.space_of(pt.buffer_type(pt.Space.MRAM, bf16, [8, 8])) is pt.Space.MRAM
    with pytest.raises(VerifyException, match="has no plena_tile memory space"):
        pt.space_of(MemRefType(bf16, [8, 8]))


def test_a_place_resolves_to_a_linear_function_of_its_indices() -> None:
    program = Program()
    buffer, i, j = program.rows(4, 6), index(), index()
    access = pt.resolve(program.at(buffer, Index.of(i) * 2 + 1, Index.of(j) + Index.of(i), 3))
    assert access.buffer is buffer
    assert access.constant == 48 + 3
    assert {value: factor for value, factor in access.terms} == {i: 2 * 48 + 8, j: 8}
    assert access.coefficient(i) == 104
    assert access.coefficient(index()) == 0


def test_indices_that_cancel_leave_no_term() -> None:
    program = Program()
    i = index()
    access = pt.resolve(program.at(program.rows(1, 6), 0, Index.of(i) + Index.of(i) * -1, 0))
    assert access.terms == ()


OFFSETS = st.tuples(st.integers(0, 1), st.integers(0, 2), st.integers(0, 3))


@given(OFFSETS, OFFSETS)
def test_views_of_views_add_up(outer: tuple[int, int, int], inner: tuple[int, int, int]) -> None:
    program = Program()
    i = index()
    buffer = program.rows(4, 16)
    view = program.slice(buffer, [Index.of(i) + outer[0], outer[1], 0], [2, 4, 8])
    every_other_row = program.view(view, [0, outer[2], 0], [2, 4, 8], [128, 16, 1])
    access = pt.resolve(program.at(every_other_row, inner[0], inner[1], inner[2]))
    assert access.buffer is buffer
    row = outer[1] + outer[2] + 2 * inner[1]
    assert access.constant == (outer[0] + inner[0]) * 128 + row * 8 + inner[2]
    assert access.terms == ((i, 128),)
    assert pt.strides_of(pt.source_type(program.at(every_other_row, 0, 0, 0)))[-2] == 16


def test_a_reference_belongs_to_one_memory() -> None:
    program = Program()
    vram, mram = program.at(program.rows(1, 4), 0, 0, 0), program.at(program.alloc(pt.Space.MRAM, [1, 8, 8]), 0, 0, 0)
    pt.AccumulateOp(pt.Accumulator.MM, vram, mram).verify()
    with pytest.raises(VerifyException):
        pt.AccumulateOp(pt.Accumulator.MM, mram, vram).verify()


def test_constants_are_rounded_to_bf16() -> None:
    assert pt.ConstantOp(0.1).value.value.data == 0.10009765625


def test_layout_attributes_convert_to_layouts() -> None:
    attribute = pt.LayoutAttr.of(pt.Packing.TILES, rows=(80, 128), cols=(3, 4), terms=2, scale_shift=-2, stacked=True)
    assert attribute.layout == Layout("tiles", (80, 128), (3, 4), terms=2, scale_shift=-2, stacked=True)
