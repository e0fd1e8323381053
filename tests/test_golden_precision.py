"""The names of golden precisions."""

from __future__ import annotations

import pytest

from plena_mlir.errors import TargetError
from plena_mlir.golden_precision import HARDWARE, MODES, SWITCHES, GoldenPrecision, parse_golden_precision


def test_the_modes_are_made_of_switches() -> None:
    assert MODES["hardware"].switches == SWITCHES == ("weights", "kv", "activations", "intermediates", "accumulation")
    assert set(SWITCHES) - set(MODES["no_weight_quant"].switches) == {"weights"}
    assert set(SWITCHES) - set(MODES["no_bf16"].switches) == {"intermediates"}
    assert MODES["fp32"].switches == ()


def test_a_text_names_a_mode_or_the_switches_that_are_on() -> None:
    assert parse_golden_precision("no_bf16") == MODES["no_bf16"]
    assert parse_golden_precision("kv, weights") == GoldenPrecision(weights=True, kv=True)
    assert parse_golden_precision(",".join(SWITCHES)) == HARDWARE
    assert parse_golden_precision(HARDWARE) is HARDWARE


@pytest.mark.parametrize("text", [*MODES, *SWITCHES, "weights,kv"])
def test_a_precision_is_named_as_it_is_read(text: str) -> None:
    assert parse_golden_precision(text).name == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hardwar", r"'hardwar' is neither a mode .* nor a switch .*did you mean hardware\?"),
        ("", "'' is neither"),
        ("weights,", "'' is neither"),
        ("weight", r"did you mean weights\?"),
        ("weights,fp32", "'fp32' is a whole mode and stands alone"),
    ],
)
def test_other_texts_are_refused(text: str, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        parse_golden_precision(text)
