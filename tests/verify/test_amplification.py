"""What the differences of single stages grow to, and that a larger difference is not put down to rounding."""

from __future__ import annotations

from dataclasses import replace

import pytest

from plena_mlir.compiler import compile_hf_model
from plena_mlir.verify.amplification import UNEXPECTED, expect_accumulated, rounding_explains
from plena_mlir.verify.stage_checks import check_program
from tests.families.families import config_of


@pytest.fixture(scope="module")
def checks():
    """Of narrow rows, where one element more or less in another MX code shows."""
    program = compile_hf_model(config_of("LlamaConfig", head_dim=6)(), target="8x2x2", seq_len=9, random_weights=0)
    return expect_accumulated(program, check_program(program))


def test_the_first_stages_are_expected_to_be_off_by_their_own_difference(checks):
    embedding, norm = checks[0], checks[1]
    assert embedding.isolated.bit_exact
    assert embedding.expected == 0.0
    assert norm.isolated.rel_rms > 0
    assert norm.expected == pytest.approx(norm.isolated.rel_rms, rel=0.2)


def test_rounding_explains_a_sound_program(checks):
    last = checks[-1]
    assert last.isolated.bit_exact
    assert 0 < last.accumulated.rel_rms < UNEXPECTED * last.expected < 0.1
    assert rounding_explains(checks)


def test_rounding_does_not_explain_more_than_it_makes(checks):
    *others, last = checks
    far = replace(last.accumulated, rel_rms=1.01 * UNEXPECTED * last.expected)
    assert not rounding_explains([*others, replace(last, accumulated=far)])
    wrong = replace(others[3], isolated=replace(others[3].isolated, rel_rms=0.011))
    assert not rounding_explains([*others[:3], wrong, *others[4:], last])


def test_differences_that_were_not_measured_explain_nothing(checks):
    assert not rounding_explains([replace(check, expected=None) for check in checks])
