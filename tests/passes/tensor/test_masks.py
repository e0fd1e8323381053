"""Masks recognised by their values."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.dialects.plena_tensor import MaskKind
from plena_mlir.passes.tensor.masks import Mask, common_rule, recognise

DISTANCE = np.arange(6)[:, None] - np.arange(6)[None, :]
CAUSAL = DISTANCE >= 0
LOWEST = np.finfo(np.float32).min


def as_float(kept: np.ndarray, hidden: float = LOWEST) -> np.ndarray:
    return np.where(kept, 0.0, hidden).astype(np.float32)


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (np.ones((6, 6), bool), Mask(MaskKind.NONE)),
        (CAUSAL, Mask(MaskKind.CAUSAL)),
        (CAUSAL[3:], Mask(MaskKind.CAUSAL)),
        (CAUSAL & (DISTANCE < 1), Mask(MaskKind.SLIDING, 1)),
        (CAUSAL & (DISTANCE < 4), Mask(MaskKind.SLIDING, 4)),
        (CAUSAL & (DISTANCE < 6), Mask(MaskKind.CAUSAL)),
        (CAUSAL[:3], Mask(MaskKind.EXPLICIT)),
        (CAUSAL.T, Mask(MaskKind.EXPLICIT)),
        (~CAUSAL, Mask(MaskKind.EXPLICIT)),
        (np.zeros((6, 6), bool), Mask(MaskKind.EXPLICIT)),
    ],
)
def test_boolean_and_float_masks_agree(kept: np.ndarray, expected: Mask) -> None:
    assert recognise(kept[None, None].astype(np.float32), boolean=True) == expected
    assert recognise(as_float(kept), boolean=False) == expected
    assert recognise(as_float(kept, -np.inf), boolean=False) == expected


@pytest.mark.parametrize("place", [(0, 0), (0, 5), (4, 0), (3, 3), (2, 3)])
def test_one_wrong_element_makes_a_mask_explicit(place: tuple[int, int]) -> None:
    kept = CAUSAL.copy()
    kept[place] ^= True
    assert recognise(as_float(kept), boolean=False).kind is MaskKind.EXPLICIT


def test_a_mask_that_hides_by_a_small_number_is_explicit() -> None:
    assert recognise(as_float(CAUSAL, -100.0), boolean=False).kind is MaskKind.EXPLICIT


def test_a_mask_with_a_bias_is_explicit() -> None:
    assert recognise(as_float(CAUSAL) + np.where(CAUSAL, 0.5, 0).astype(np.float32), boolean=False).kind is MaskKind.EXPLICIT


def test_masks_that_differ_between_heads_are_explicit() -> None:
    per_head = np.stack([CAUSAL, CAUSAL & (DISTANCE < 2)])[None].astype(np.float32)
    assert recognise(per_head, boolean=True).kind is MaskKind.EXPLICIT


def test_sequences_of_different_lengths_share_a_rule() -> None:
    """A window of 3 is a plain triangle for a sequence of 2, and one token sees itself under every rule."""

    def window(rows: int, size: int) -> np.ndarray:
        distance = np.arange(rows)[:, None] - np.arange(rows)
        return (distance >= 0) & (distance < size)

    assert common_rule([window(2, 3), window(5, 3), window(1, 3)]) == Mask(MaskKind.SLIDING, 3)
    assert common_rule([window(2, 9), window(5, 9)]) == Mask(MaskKind.CAUSAL)
    assert common_rule([window(1, 1), np.ones((4, 4), np.bool_)]) == Mask(MaskKind.NONE)
    assert common_rule([window(5, 3), window(5, 2)]) == Mask(MaskKind.EXPLICIT)
