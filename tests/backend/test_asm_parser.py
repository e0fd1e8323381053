"""Assembly text: what is accepted, and where errors are placed."""

from __future__ import annotations

import pytest

from plena_mlir.backend import parse_asm, print_instructions
from plena_mlir.errors import AsmError


def test_comments_and_blank_lines_of_both_styles():
    text = "; a program\n\n  // S_ADD_INT gp1, gp1, gp1\nS_ADD_INT gp1 ,gp2,\tgp3;behind\nC_BREAK // done\n"
    instructions = parse_asm(text)
    assert [i.text() for i in instructions] == ["S_ADD_INT gp1, gp2, gp3", "C_BREAK"]
    assert [i.line for i in instructions] == [4, 5]
    assert [i.location for i in instructions] == ["behind", "done"]


def test_locations_survive_printing():
    text = "S_LUI_INT gp1, 3 ; model.layers.0.mlp\nC_BREAK\n"
    assert print_instructions(parse_asm(text), comments=True) == text


def test_omitted_optional_operands_are_zero():
    assert parse_asm("V_ADD_VV gp1, gp2, gp3") == parse_asm("V_ADD_VV gp1, gp2, gp3, 0")
    assert parse_asm("V_TOPK gp1, gp2, gp3") == parse_asm("V_TOPK gp1, gp2, gp3, 0")
    assert parse_asm("V_RED_SUM f1, gp2") == parse_asm("V_RED_SUM f1, gp2, 0")


def test_the_second_operand_of_loop_end_is_ignored():
    assert parse_asm("C_LOOP_END gp4, 7") == parse_asm("C_LOOP_END gp4")


def test_a_bare_number_in_the_first_position_is_a_register_index():
    assert parse_asm("M_BTMV 0, gp1, gp2") == parse_asm("M_BTMV gp0, gp1, gp2")
    assert parse_asm("M_MM gp0, gp1, gp2") == parse_asm("M_MM 0, gp1, gp2")


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("S_ADDI_INT gp1, gp0, 262144", 22, r"imm = 262144 is outside 0\.\.262143 \(18 bits\)"),
        ("S_LUI_INT gp1, 4194304", 16, r"imm = 4194304 is outside 0\.\.4194303 \(22 bits\)"),
        ("S_ADDI_INT gp1, gp0, -1", 22, r"imm = -1 is outside"),
        ("  S_ADD_INT gp16, gp0, gp0", 13, "there is no register gp16, only gp0 to gp15"),
        ("S_ADD_FP f8, f0, f0", 10, "there is no register f8, only f0 to f7"),
        ("C_SET_ADDR_REG a16, gp0, gp0", 16, "there is no register a16"),
        ("V_ADD_VV gp1, gp2, gp3, 16", 25, "mask = 16 is outside"),
        ("H_PREFETCH_M gp1, gp2, a3, 1, 16", 31, "precision = 16 is outside"),
        ("M_BTMM 1, gp1, gp2", 8, "the first operand must be 0, not 1"),
        ("S_ADD_FP f1, gp2, f3", 14, r"operand 2 of S_ADD_FP \(rs1\) must be a floating point register f0\.\.f7, not `gp2`"),
        ("S_ADD_INT gp1, 2, gp3", 16, "must be a general purpose register"),
        ("S_ADDI_INT gp1, gp0, 0x10", 22, "must be a decimal number, not `0x10`"),
        ("S_ADDI_INT gp1, gp0, x ; why", 22, "must be a decimal number, not `x`"),
        ("S_ADDI_INT gp1, gp0", 20, "needs 3 operands and has 2; missing: imm"),
        ("V_EXP_V gp1, gp2", 17, "needs 3 operands and has 2; missing: mask"),
        ("S_ADD_INT gp1,, gp2", 15, "an operand is missing"),
        ("S_ADD_INT gp1, gp2, gp3, gp4", 26, "at most 3 operands"),
        ("C_BREAK gp1", 9, "at most 0 operands"),
        ("S_MV_FP f1, f2", 1, "unknown instruction `S_MV_FP`"),
        ("s_add_int gp1, gp2, gp3", 1, "mnemonics are upper case: S_ADD_INT"),
        ("# comment", 1, "unknown instruction `#`"),
        (".word 0x123456789", 7, "is not a 32-bit word"),
    ],
)
def test_errors_name_file_line_and_column(line: str, column: int, message: str):
    with pytest.raises(AsmError, match=message) as error:
        parse_asm(f"C_BREAK\n{line}\nalso wrong", name="prog.asm")
    assert error.value.where == f"prog.asm:2:{column}"


def test_operands_the_reference_assembler_misplaces_are_warned_about():
    warnings: list[str] = []
    parse_asm("V_EXP_V gp2, gp1, 0\nM_BMM_WO gp3, 64\nV_EXP_V gp2, gp1, 16\nV_RED_SUM f1, gp1, 1", name="p", warn=warnings.append)
    assert [w.split(": ")[0] for w in warnings] == ["p:2:15", "p:3:19", "p:4:20"]
    assert warnings[0].endswith("the reference assembler would make it 4")
    assert "16 is taken for 1" in warnings[1]
    assert warnings[2].endswith("the reference assembler would make it 0")
