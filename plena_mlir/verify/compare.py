"""Compare two results element by element.

Every figure is over all elements, in float64. What would make a comparison vacuous (another shape, a value that is
not finite, an empty or all-zero reference) is an error and never a number, because a harness would take the number
for a pass.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plena_mlir.errors import ComparisonError

ALLCLOSE_TOLERANCE = 0.2
"""Absolute difference counted as close in `Comparison.allclose_0_2`, the figure the existing PLENA tools report."""


TOLERANCES: tuple[tuple[float, float], ...] = ((1e-5, 1.3e-6), (1e-5, 1.6e-2))
"""(absolute, relative) tolerances of `Comparison.allclose`: those by which torch.testing compares float32, and bfloat16."""

WORST_ELEMENTS = 5
"""How many elements `Comparison.worst` names."""


@dataclass(frozen=True)
class CloseShare:
    """The share (0 to 1) of the elements that differ by at most `atol + rtol * |reference|`."""

    atol: float
    rtol: float
    share: float


@dataclass(frozen=True)
class WorstElement:
    """One element, by its coordinates in the result, with both values."""

    index: tuple[int, ...]
    actual: float
    reference: float

    @property
    def error(self) -> float:
        """The absolute difference."""
        return abs(self.actual - self.reference)


@dataclass(frozen=True)
class Comparison:
    """How far `actual` is from `reference`.

    Attributes:
        max_abs: largest absolute difference.
        max_rel: `max_abs` over the largest magnitude in the reference.
        ref_rms: root mean square of the reference.
        rel_rms: root mean square of the difference over `ref_rms`.
        cosine: cosine of the angle between the two results taken as vectors; 0 if `actual` is all zero.
        allclose_0_2: share (0 to 1) of the elements whose absolute difference is at most 0.2. It says nothing about
            small results: an all-zero output can score 1. Reported for comparison with other tools, never a bound.
        elements: number of elements compared, always all of them.
        bit_exact: every element has the same value and the same sign, so +0 and -0 differ.
        allclose: shares of close elements, one for each of `TOLERANCES`; reported, never a bound.
        worst: the elements with the largest absolute differences, largest first; none where all are equal.
    """

    max_abs: float
    max_rel: float
    ref_rms: float
    rel_rms: float
    cosine: float
    allclose_0_2: float
    elements: int
    bit_exact: bool
    allclose: tuple[CloseShare, ...] = ()
    worst: tuple[WorstElement, ...] = ()

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantisation noise, 20 log10(1 / rel_rms) in dB; None without any noise."""
        return -20.0 * math.log10(self.rel_rms) if self.rel_rms > 0 else None

    def to_json(self) -> dict[str, Any]:
        worst = [{**asdict(element), "index": list(element.index), "error": element.error} for element in self.worst]
        return {**asdict(self), "sqnr_db": self.sqnr_db, "allclose": [asdict(share) for share in self.allclose], "worst": worst}


def compare(actual: ArrayLike, reference: ArrayLike, *, name: str = "output") -> Comparison:
    """Compare `actual` with `reference`, which have the same shape and any real dtype.

    Args:
        actual: the result under test.
        reference: what it should be.
        name: what is compared, for error messages.

    Raises:
        ComparisonError: the shapes differ, either side holds NaN or infinity, or the reference is empty or all zero.
    """
    got, want = np.asarray(actual), np.asarray(reference)
    if got.shape != want.shape:
        raise ComparisonError(f"shape {got.shape} is compared with a reference of shape {want.shape}", where=name)
    if want.size == 0:
        raise ComparisonError("there are no elements to compare", where=name)
    shape = want.shape
    got, want = _finite(got, "result", name), _finite(want, "reference", name)
    ref_max = float(np.max(np.abs(want)))
    if ref_max == 0:
        raise ComparisonError("the reference is zero everywhere, so agreement with it shows nothing", where=name)

    difference = np.abs(got - want)
    max_abs = float(np.max(difference))
    # Scaled by the largest magnitude: the squares of tiny or huge values would leave the range of float64.
    ref_rms = ref_max * rms(want / ref_max)
    got_max = float(np.max(np.abs(got)))
    cosine = 0.0
    if got_max > 0:
        scaled_got, scaled_want = got / got_max, want / ref_max
        cosine = float(np.vdot(scaled_got, scaled_want) / (np.linalg.norm(scaled_got) * np.linalg.norm(scaled_want)))
    return Comparison(
        max_abs=max_abs,
        max_rel=max_abs / ref_max,
        ref_rms=ref_rms,
        rel_rms=max_abs * rms(difference / max_abs) / ref_rms if max_abs > 0 else 0.0,
        cosine=min(1.0, max(-1.0, cosine)),
        allclose_0_2=float(np.mean(difference <= ALLCLOSE_TOLERANCE)),
        elements=want.size,
        bit_exact=max_abs == 0 and bool(np.array_equal(np.signbit(got), np.signbit(want))),
        allclose=tuple(
            CloseShare(atol, rtol, float(np.mean(difference <= atol + rtol * np.abs(want)))) for atol, rtol in TOLERANCES
        ),
        worst=_worst(got, want, difference, shape),
    )


def _worst(
    got: NDArray[np.float64], want: NDArray[np.float64], difference: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[WorstElement, ...]:
    """The elements of flat arrays that differ most, of those that differ alike the first; their coordinates in `shape`."""
    count = min(WORST_ELEMENTS, difference.size)
    # All that are as far off as the last of them are candidates, so that the choice among equals does not depend on numpy.
    least = np.partition(difference, difference.size - count)[difference.size - count]
    places = np.flatnonzero((difference >= least) & (difference > 0))
    order = places[np.argsort(-difference[places], kind="stable")][:count]
    return tuple(
        WorstElement(tuple(int(i) for i in np.unravel_index(int(place), shape)), float(got[place]), float(want[place]))
        for place in order
    )


def _finite(values: NDArray[np.generic], role: str, name: str) -> NDArray[np.float64]:
    """`values` flattened to float64; refuses NaN and infinity with the place of the first."""
    flat = values.astype(np.float64).reshape(-1)
    bad = np.flatnonzero(~np.isfinite(flat))
    if bad.size:
        first = tuple(int(i) for i in np.unravel_index(int(bad[0]), values.shape))
        raise ComparisonError(
            f"the {role} holds {bad.size} of {flat.size} values that are not finite, first {flat[bad[0]]} at {first}",
            where=name,
        )
    return flat


def rms(values: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
