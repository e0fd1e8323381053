"""The reference page of the instruction set is generated, and up to date."""

from __future__ import annotations

from plena_mlir.dialects.plena_isa import INSTRUCTIONS
from tools.generate_isa_page import PAGE, render


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == render(), "run python tools/generate_isa_page.py"


def test_the_page_has_a_section_for_every_instruction():
    lines = set(PAGE.read_text().splitlines())
    assert not [spec.mnemonic for spec in INSTRUCTIONS if f"### {spec.mnemonic}" not in lines]
