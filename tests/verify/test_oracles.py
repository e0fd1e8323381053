"""Every comparison that anything here trusts, against every wrong output that once passed for a right one.

A comparison is a function of what came out and what should have; it raises, or says no. A new one belongs in `COMPARISONS`:
test_registered_comparisons.py finds it otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.errors import ComparisonError, PlenaError
from plena_mlir.target.layout import GlobalData
from plena_mlir.verify.attention_parts import PartValues
from plena_mlir.verify.bisect import first_difference, first_other_tensor
from plena_mlir.verify.bisect_programs import _same
from plena_mlir.verify.bounds import broken_bounds
from plena_mlir.verify.compare import compare
from plena_mlir.verify.locate import Captured
from plena_mlir.verify.pass_checks import CHANGES, EXACT, NumericsChange, _compare
from plena_mlir.verify.stage_checks import _check
from plena_mlir.verify.tensor_divergence import OpValue, agree, first_other_op, first_wrong_op
from tests.passes.tensor.test_tensor_pipeline import relative_error
from tests.tensor_programs import Outcome
from tests.test_torch_backend import close

F32 = NDArray[np.float32]
Accepts = Callable[[F32, F32], bool]
"""(what came out, what should have) -> whether the comparison lets it pass."""

SHAPE = (16, 16)


def values(seed: int) -> F32:
    """Logits of a run, exact in bfloat16."""
    made = np.random.Generator(np.random.Philox(seed)).normal(0.0, 1.0, SHAPE).astype(np.float32)
    return (made.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


# --- wrong outputs ----------------------------------------------------------------------------------------------------------------


def zeroed(right: F32) -> F32:
    return np.zeros_like(right)


def stale(right: F32) -> F32:
    """The output for the input before."""
    return values(8)


def transposed(right: F32) -> F32:
    return right.T.copy()


def off_by_one_row(right: F32) -> F32:
    return np.roll(right, 1, axis=0)


def off_by_one_stride(right: F32) -> F32:
    rows, columns = right.shape
    flat = np.concatenate([right.reshape(-1), np.zeros(rows, np.float32)])
    return flat[: rows * (columns + 1)].reshape(rows, columns + 1)[:, :columns].copy()


def columns_replicated(right: F32) -> F32:
    """What a column stride of zero, and a test of the first column block, would let through."""
    return np.tile(right[:, :4], (1, 4))


def one_nan(right: F32) -> F32:
    out = right.copy()
    out[-1, -1] = np.nan
    return out


def all_nan(right: F32) -> F32:
    return np.full_like(right, np.nan)


DAMAGES = (zeroed, stale, transposed, off_by_one_row, off_by_one_stride, columns_replicated, one_nan, all_nan)


# --- comparisons ------------------------------------------------------------------------------------------------------------------


def link(name: str, layers: int = 2) -> Accepts:
    """A link of the chain from PyTorch to the machine, with its bound, where the formats of the machine cost 10 %."""
    formats = compare(values(7) + 0.1 * values(9), values(7))

    def accepts(actual: F32, expected: F32) -> bool:
        comparisons = {"golden_vs_hf": formats, name: compare(actual, expected)}
        return not broken_bounds(comparisons, layers=layers)

    return accepts


def of_pass(change: NumericsChange) -> Accepts:
    """The check of a pass by execution."""

    def accepts(actual: F32, expected: F32) -> bool:
        formats = expected * np.float32(1.1) if change.of_formats is not None else None
        _compare(expected, actual, "some-pass", change, formats=formats)
        return True

    return accepts


def stage(actual: F32, expected: F32) -> bool:
    return _check(("stage", ()), lambda: compare(actual, expected)).passed


def part(actual: F32, expected: F32) -> bool:
    """Scores or probabilities of an attention, of which every third key is hidden."""
    seen = np.ones((1, *SHAPE), bool)
    seen[..., ::3] = False
    wide = [np.where(seen, side[None].astype(np.float64), side[None] if side is actual else 0.0) for side in (actual, expected)]
    hidden = float(np.nanmax(np.abs(expected)))
    values = PartValues(("stage/scores", ()), wide[0], wide[1], seen, np.ones_like(seen), hidden)
    return _check(values.occurrence, values.compared).passed


def two_runs(actual: F32, expected: F32) -> bool:
    """The stages of two machines, or of the tile interpreter and a machine."""
    sides = [Captured({("stage", ()): side}, {}) for side in (expected, actual)]
    return first_difference(SimpleNamespace(), *sides) is None


def op_value(value: F32) -> OpValue:
    return OpValue(ModuleOp([]), "module/op", 0, value)


def two_images(actual: F32, expected: F32) -> bool:
    sides = [
        {"weight": GlobalData((side.view(np.uint32).reshape(-1) >> 20).astype(np.uint8), np.zeros(side.size // 8, np.uint8))}
        for side in (expected, actual)
    ]
    return first_other_tensor(*sides) is None


def operation(actual: F32, expected: F32) -> bool:
    """What the tests of single operations bound."""
    return Outcome(actual, expected, expected).error <= 0.02


def torch_backend(actual: F32, expected: F32) -> bool:
    return close(torch.from_numpy(actual), torch.from_numpy(expected))


def every_element(actual: F32, expected: F32) -> bool:
    """What most tests of interpreters and kernels use."""
    np.testing.assert_array_equal(actual, expected)
    return True


def within_tolerance(actual: F32, expected: F32) -> bool:
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    return np.allclose(actual, expected, rtol=1e-5, atol=1e-5)


COMPARISONS: dict[str, Accepts] = {
    "HF and the tensor interpreter": link("hf_vs_tensor_fp32"),
    "golden and machine": link("golden_vs_emulator"),
    "golden and machine, deep": link("golden_vs_emulator", layers=30),
    "tile interpreter and machine": link("tile_vs_emulator"),
    "a pass that changes nothing": of_pass(EXACT),
    **{f"the pass {name}": of_pass(replace(change, last_row=False)) for name, change in CHANGES.items()},
    "a stage alone": stage,
    "a part of attention alone": part,
    "the stages of two runs": two_runs,
    "two results, every bit": lambda actual, expected: _same(expected, actual, exact=True),
    "two results in float32": lambda actual, expected: _same(expected, actual, exact=False),
    "two values in float32": lambda actual, expected: agree(expected, actual),
    "an op of two programs": lambda actual, expected: first_other_op([op_value(expected)], [op_value(actual)]) is None,
    "an op before and after a pass": lambda actual, expected: first_wrong_op([op_value(expected)], [op_value(actual)]) is None,
    "two images": two_images,
    "an operation on tiles": operation,
    "the torch backend and PyTorch": torch_backend,
    "the tensor pipeline and HF": lambda actual, expected: relative_error(actual, expected) <= 1e-4,
    "numpy, every element": every_element,
    "numpy, within a tolerance": within_tolerance,
}


def accepts(comparison: str, actual: F32, expected: F32) -> bool:
    try:
        with np.errstate(invalid="ignore"):
            return COMPARISONS[comparison](actual, expected)
    except (PlenaError, AssertionError):
        return False


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_the_right_output_passes(comparison):
    assert accepts(comparison, values(7), values(7))


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_a_wrong_output_fails(comparison, damage):
    right = values(7)
    assert not accepts(comparison, damage(right), right)


VERDICTS = [name for name in COMPARISONS if name.startswith(("HF", "golden", "tile", "a pass", "the pass", "a stage"))]
"""What decides whether a program is right. Those that locate a difference leave out what has another shape on the other side."""


@pytest.mark.parametrize("comparison", VERDICTS)
def test_a_result_of_another_shape_fails(comparison):
    right = values(7)
    assert not accepts(comparison, right[:, :8].copy(), right)


def test_a_reference_that_shows_nothing_is_refused():
    """Agreement of an all-zero output with an all-zero golden is how an oracle once passed."""
    with pytest.raises(ComparisonError, match="zero everywhere"):
        compare(np.zeros(SHAPE), np.zeros(SHAPE))
