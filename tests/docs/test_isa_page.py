"""The reference page of the instruction set is generated, and up to date."""

from __future__ import annotations

from plena_mlir.dialects.plena_isa import INSTRUCTIONS
from tools.generate_isa_page import PAGE, render


def test_the_page_is_up_to_date():
    assert PAGE.read_text() == render(), "run python tools/generate_isa_page.py"


def test_the_page_has_a_section_for_every_instruction():
    sections = {section.split("\n", 1)[0]: section for section in PAGE.read_text().split("\n### ")}
    for spec in INSTRUCTIONS:
        section = sections[spec.mnemonic]
        _, syntax, semantics, diagram, *rest = section.split("\n\n")
        assert f"opcode 0x{spec.opcode:02X}" in syntax
        assert semantics
        assert diagram.endswith(f" 0x{spec.opcode:02X} |")
        assert all(f"| `{operand.name}` |" in section for operand in spec.operands if operand.field.width)
        assert spec.always_traps or ("Cycles: transactional " in " ".join(rest) and ", analytic " in " ".join(rest))
