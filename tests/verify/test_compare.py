"""A comparison must see every kind of wrong output that once passed for a right one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from plena_mlir.errors import ComparisonError
from plena_mlir.verify.bounds import broken_bounds
from plena_mlir.verify.compare import TOLERANCES, CloseShare, Comparison, WorstElement, compare

Array = NDArray[np.float32]


@pytest.fixture
def reference() -> Array:
    """32 rows of 24 values of the size logits have."""
    return np.random.Generator(np.random.Philox(7)).normal(0.0, 1.0, (32, 24)).astype(np.float32)


def zeroed(reference: Array) -> Array:
    return np.zeros_like(reference)


def stale(reference: Array) -> Array:
    """The output of another run."""
    return np.random.Generator(np.random.Philox(8)).normal(0.0, 1.0, reference.shape).astype(np.float32)


def permuted_columns(reference: Array) -> Array:
    return reference[:, ::-1]


def off_by_one_row(reference: Array) -> Array:
    return np.roll(reference, 1, axis=0)


def off_by_one_stride(reference: Array) -> Array:
    """Rows read with a stride of one element too many."""
    rows, columns = reference.shape
    flat = np.concatenate([reference.reshape(-1), np.zeros(rows, np.float32)])
    return np.stack([flat[r * (columns + 1) : r * (columns + 1) + columns] for r in range(rows)])


def first_block_repeated(reference: Array) -> Array:
    """What a test that compares the first column block only would let through."""
    return np.tile(reference[:, :8], (1, 3))


def one_row_stale(reference: Array) -> Array:
    out = reference.copy()
    out[-1] = 0
    return out


WHOLE_OUTPUT_WRONG = [zeroed, stale, permuted_columns, off_by_one_row, off_by_one_stride, first_block_repeated]


@pytest.mark.parametrize("damage", WHOLE_OUTPUT_WRONG)
def test_a_wrong_output_breaks_every_bound(damage, reference):
    wrong = compare(damage(reference), reference)
    assert not wrong.bit_exact
    assert wrong.max_rel > 0.1
    assert wrong.rel_rms > 0.5
    assert wrong.cosine < 0.7
    for name in ("hf_vs_tensor_fp32", "golden_vs_emulator", "tile_vs_emulator"):
        assert broken_bounds({name: wrong}, layers=2), name


def test_one_stale_row_in_32_is_seen(reference):
    wrong = compare(one_row_stale(reference), reference)
    for name in ("hf_vs_tensor_fp32", "golden_vs_emulator", "tile_vs_emulator"):
        assert broken_bounds({name: wrong}, layers=2), name


def test_small_zeroed_output_is_seen_where_the_old_gate_passes(reference):
    small = reference * np.float32(0.01)
    wrong = compare(zeroed(small), small)
    assert wrong.allclose_0_2 == 1.0
    assert wrong.rel_rms == pytest.approx(1.0)
    assert wrong.cosine == 0.0


def test_equal_outputs(reference):
    same = compare(reference, reference.copy())
    assert same == Comparison(
        max_abs=0.0,
        max_rel=0.0,
        ref_rms=pytest.approx(float(np.sqrt(np.mean(reference.astype(np.float64) ** 2)))),
        rel_rms=0.0,
        cosine=pytest.approx(1.0),
        allclose_0_2=1.0,
        elements=768,
        bit_exact=True,
        allclose=tuple(CloseShare(atol, rtol, 1.0) for atol, rtol in TOLERANCES),
    )
    assert same.sqnr_db is None


def test_figures_of_a_known_difference():
    result = compare([1.0, 2.0, -4.0, 0.0], [1.0, 2.5, -4.0, 0.1])
    assert result.max_abs == 0.5
    assert result.max_rel == 0.125
    assert result.ref_rms == pytest.approx(np.sqrt((1 + 6.25 + 16 + 0.01) / 4))
    assert result.rel_rms == pytest.approx(np.sqrt((0.25 + 0.01) / 23.26))
    assert result.cosine == pytest.approx(22 / np.sqrt(21 * 23.26))
    assert result.allclose_0_2 == 0.75
    assert result.elements == 4
    assert not result.bit_exact
    assert result.sqnr_db == pytest.approx(10 * np.log10(23.26 / 0.26))
    assert result.worst == (WorstElement((1,), 2.0, 2.5), WorstElement((3,), 0.0, 0.1))


def test_closeness_is_told_at_stated_tolerances():
    reference = np.array([1.0, -100.0, 0.0, 10.0])
    result = compare(reference + np.array([2e-6, 1.5, 9e-6, -0.2]), reference)
    assert [share.share for share in result.allclose] == [0.5, 0.75]


def test_the_worst_elements_have_coordinates_and_come_largest_first():
    reference = np.ones((3, 4, 5))
    actual = reference.copy()
    places = [(2, 3, 4), (0, 0, 0), (1, 2, 3), (0, 1, 0), (2, 0, 0), (1, 1, 1)]
    for rank, place in enumerate(places):
        actual[place] -= 6 - min(rank, 4)
    worst = compare(actual, reference).worst
    # The last two are equally wrong: the first of them in memory is named.
    assert [element.index for element in worst] == [*places[:4], (1, 1, 1)]
    assert [element.error for element in worst] == [6, 5, 4, 3, 2]
    assert (worst[0].actual, worst[0].reference) == (-5, 1)
    assert compare(actual, reference).to_json()["worst"][0] == {"index": [2, 3, 4], "actual": -5.0, "reference": 1.0, "error": 6.0}


def test_zeros_of_other_sign_are_not_bit_exact():
    assert not compare([0.0, 1.0], [-0.0, 1.0]).bit_exact


def test_one_unit_in_the_last_place_is_not_bit_exact(reference):
    other = reference.copy()
    other[5, 5] = np.nextafter(other[5, 5], np.float32(10))
    assert not compare(other, reference).bit_exact


def test_extreme_magnitudes_stay_finite():
    for scale in (1e-200, 1e200):
        result = compare(np.array([2.0, 1.0]) * scale, np.array([1.0, 1.0]) * scale)
        assert result.rel_rms == pytest.approx(np.sqrt(0.5))
        assert result.cosine == pytest.approx(3 / np.sqrt(10))


@pytest.mark.parametrize(
    ("actual", "reference", "message"),
    [
        (np.ones((2, 3)), np.ones((3, 2)), r"logits: shape \(2, 3\) .* reference of shape \(3, 2\)"),
        (np.ones(6), np.ones((2, 3)), r"shape \(6,\)"),
        (np.array([[1.0, np.nan]]), np.ones((1, 2)), r"result holds 1 of 2 .* first nan at \(0, 1\)"),
        (np.ones(2), np.array([1.0, -np.inf]), r"reference holds 1 of 2 .* first -inf at \(1,\)"),
        (np.zeros((0, 4)), np.zeros((0, 4)), "no elements"),
        (np.zeros(4), np.zeros(4), "reference is zero everywhere"),
    ],
)
def test_what_cannot_be_compared_is_refused(actual, reference, message):
    with pytest.raises(ComparisonError, match=message):
        compare(actual, reference, name="logits")
