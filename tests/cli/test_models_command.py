"""`plena models`: the shipped table is that of the tested families."""

from __future__ import annotations

import json

import pytest

from plena_mlir.cli.models_command import load_support
from plena_mlir.cli.plena import main
from tests.families.families import FAMILIES
from tests.families.more_families import MORE_FAMILIES

NAMES = [family.name for family in (*FAMILIES, *MORE_FAMILIES)]


def test_the_shipped_table_names_every_tested_family_in_order() -> None:
    assert [row["family"] for row in load_support()] == NAMES
    assert all(row["bit_exact"] and row["hf_max_rel"] <= 1e-4 for row in load_support())


def test_the_table_is_printed_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert all(any(line.startswith(name) for line in text.splitlines()) for name in NAMES)
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["families"] == load_support()
