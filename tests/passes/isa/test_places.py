"""Which pointers a set of places needs."""

from __future__ import annotations

from xdsl.dialects.builtin import IndexType
from xdsl.utils.test_value import create_ssa_value

from plena_mlir.passes.isa.places import IMMEDIATE_SPAN, Place, Pointer, PointerPlan, Variable


def variable(order: int) -> Variable:
    return Variable(order, create_ssa_value(IndexType()))


def test_a_place_orders_and_merges_its_factors() -> None:
    outer, inner = variable(0), variable(1)
    place = Place.of(7, [(inner, 3), (outer, 2), (inner, -1), (outer, -2)])
    assert place == Place(7, ((inner, 2),))


def test_places_with_equal_factors_share_the_pointer_of_the_least_constant() -> None:
    plan, loop = PointerPlan(), variable(0)
    for constant in (64, 0, 128):
        plan.require(Place.of(constant, [(loop, 8)]))
    plan.close()
    assert plan.pointers(loop) == [Pointer(((loop, 8),), 0)]
    assert plan.pointer_for(Place.of(128, [(loop, 8)])).base == 0


def test_a_pointer_reaches_no_further_than_an_immediate() -> None:
    plan, loop = PointerPlan(), variable(0)
    far = 16 + IMMEDIATE_SPAN
    for constant in (16, far - 1, far, far + 5):
        plan.require(Place.of(constant, [(loop, 8)]))
    plan.close()
    assert [pointer.base for pointer in plan.pointers(loop)] == [16, far]
    assert plan.pointer_for(Place.of(far - 1, [(loop, 8)])).base == 16
    assert plan.pointer_for(Place.of(far + 5, [(loop, 8)])).base == far


def test_an_inner_pointer_asks_for_the_outer_place_it_starts_from() -> None:
    plan, outer, middle, inner = PointerPlan(), variable(0), variable(1), variable(2)
    plan.require(Place.of(5, [(inner, 1), (outer, 100)]))
    plan.require(Place.of(3, [(outer, 100)]))
    plan.close()
    (start,) = plan.pointers(inner)
    assert start.outer == Place(5, ((outer, 100),))
    assert [pointer.base for pointer in plan.pointers(outer)] == [3]
    assert not plan.pointers(middle)


def test_a_place_without_variables_needs_no_pointer() -> None:
    plan, loop = PointerPlan(), variable(0)
    plan.require(Place(12))
    plan.close()
    assert not plan.pointers(loop)
