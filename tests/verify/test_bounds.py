"""The bounds of the chain from PyTorch to the machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plena_mlir.verify.bounds import COMPARISONS, broken_bounds
from plena_mlir.verify.compare import Comparison

EXACT = Comparison(
    max_abs=0.0,
    max_rel=0.0,
    ref_rms=1.0,
    rel_rms=0.0,
    cosine=1.0,
    allclose_0_2=1.0,
    elements=8,
    bit_exact=True,
)


def with_rel_rms(value: float) -> Comparison:
    return replace(EXACT, rel_rms=value, bit_exact=False)


def test_an_exact_chain_keeps_every_bound():
    chain = dict.fromkeys(COMPARISONS, EXACT)
    assert broken_bounds(chain, layers=2) == ()


def test_import_bound_is_on_the_largest_error():
    chain = {"hf_vs_tensor_fp32": replace(EXACT, max_rel=1.1e-4)}
    assert broken_bounds(chain, layers=2) == ("hf_vs_tensor_fp32: max_rel 0.00011 exceeds 0.0001",)


@pytest.mark.parametrize("name", ["tile_vs_emulator", "isa_vs_emulator"])
def test_bound_of_other_executions_is_every_bit(name: str):
    chain = {name: replace(EXACT, bit_exact=False)}
    assert broken_bounds(chain, layers=30) == (f"{name}: not bit exact, max_abs 0",)


def test_golden_bound_of_two_layers_is_absolute_and_relative():
    assert broken_bounds({"golden_vs_emulator": with_rel_rms(0.049)}, layers=2) == ()
    assert len(broken_bounds({"golden_vs_emulator": with_rel_rms(0.051)}, layers=2)) == 1
    chain = {"golden_vs_emulator": with_rel_rms(0.045), "golden_vs_hf": with_rel_rms(0.1)}
    assert broken_bounds(chain, layers=2) == ("golden_vs_emulator: rel_rms 0.045 exceeds 0.4 of golden_vs_hf (0.1)",)


def test_golden_bound_of_a_deep_model_is_relative_only():
    assert broken_bounds({"golden_vs_emulator": with_rel_rms(0.3)}, layers=30) == ()
    chain = {"golden_vs_emulator": with_rel_rms(0.21), "golden_vs_hf": with_rel_rms(0.4)}
    assert len(broken_bounds(chain, layers=30)) == 1
    chain = {"golden_vs_emulator": with_rel_rms(0.19), "golden_vs_hf": with_rel_rms(0.4)}
    assert broken_bounds(chain, layers=30) == ()


def test_the_cost_of_the_number_formats_has_no_bound():
    chain = {"golden_vs_hf": with_rel_rms(0.5), "hf_vs_emulator": with_rel_rms(0.5)}
    assert broken_bounds(chain, layers=2) == ()
