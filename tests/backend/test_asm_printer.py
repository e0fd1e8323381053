"""From allocated IR to assembly, and from assembly to flat IR."""

from __future__ import annotations

import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.test import Test as TestDialect
from xdsl.parser import Parser

from plena_mlir.backend import asm_to_module, encode, parse_asm, print_asm
from plena_mlir.dialects.plena_isa import GpType, LoopOp, PlenaIsa, SAddiIntOp
from plena_mlir.errors import EncodingError


def parse(text: str) -> ModuleOp:
    ctx = Context()
    for dialect in (Builtin, TestDialect, PlenaIsa):
        ctx.load_dialect(dialect)
    module = Parser(ctx, text).parse_module()
    module.verify()
    return module


NESTED = """
%z = plena_isa.get_gp : !plena_isa.gp<gp0>
%f = plena_isa.get_fp : !plena_isa.fp<f0>
%p = plena_isa.s_lui_int 3 : () -> !plena_isa.gp<gp1>
%x = plena_isa.s_ld_int %z, 7 : (!plena_isa.gp<gp0>) -> !plena_isa.gp<gp4>
%r = plena_isa.loop 5 iter_args(%p) extra(%x) : (!plena_isa.gp<gp1>, !plena_isa.gp<gp4>) -> !plena_isa.gp<gp1> {
^bb0(%c : !plena_isa.gp<gp2>, %q : !plena_isa.gp<gp1>):
  plena_isa.loop 3 {
  ^bb1(%d : !plena_isa.gp<gp3>):
    plena_isa.v_sub_vf %q, %q, %f, 1, 0 : (!plena_isa.gp<gp1>, !plena_isa.gp<gp1>, !plena_isa.fp<f0>) -> ()
  }
  %n = plena_isa.s_addi_int %q, 64 : (!plena_isa.gp<gp1>) -> !plena_isa.gp<gp1> loc("model.layers.0")
  plena_isa.yield %n : !plena_isa.gp<gp1>
}
"""

NESTED_ASM = """\
S_LUI_INT gp1, 3
S_LD_INT gp4, gp0, 7
C_LOOP_START gp2, 5
S_ADD_INT gp2, gp2, gp4
S_ADDI_INT gp4, gp0, 0
C_LOOP_START gp3, 3
V_SUB_VF gp1, gp1, f0, 1, 0
C_LOOP_END gp3
S_ADDI_INT gp1, gp1, 64
C_LOOP_END gp2
"""


def test_structured_loops_print_start_and_end():
    assert print_asm(parse(NESTED)) == NESTED_ASM


def test_comments_give_the_module_path():
    lines = print_asm(parse(NESTED), comments=True).splitlines()
    assert lines[8] == "S_ADDI_INT gp1, gp1, 64 ; model.layers.0"
    assert lines[9] == "C_LOOP_END gp2"


def test_a_module_encodes_like_its_text():
    assert encode(parse(NESTED)) == encode(parse_asm(NESTED_ASM))


def test_foreign_assembly_becomes_a_flat_module_and_back():
    module = asm_to_module(NESTED_ASM)
    module.verify()
    assert not any(isinstance(op, LoopOp) for op in module.walk())
    assert print_asm(module) == NESTED_ASM
    # The module is ordinary IR: it prints, parses and is the same program.
    assert print_asm(parse(str(module))) == NESTED_ASM


def test_a_word_becomes_the_instruction_that_encodes_to_it_or_stays_a_word():
    assert print_asm(asm_to_module(".word 0x00040493")) == "V_EXP_V gp2, gp1, 1\n"
    # Bit 14 is ignored by V_EXP_V, f12 does not exist, rd of M_BMM is refused, 0x3F is no opcode.
    words = ".word 0x00004493\n.word 0x0003000E\n.word 0x00008444\n.word 0x0000003F\n"
    module = asm_to_module(words)
    module.verify()
    assert print_asm(module) == words
    assert print_asm(parse(str(module))) == words
    assert encode(module) == encode(parse_asm(words))


def test_shifted_mask_flags_mean_what_the_reference_assembler_made_of_them():
    text = "V_EXP_V gp2, gp1, 16\n"
    assert print_asm(asm_to_module(text)) == "V_EXP_V gp2, gp1, 1\n"
    assert encode(parse_asm(text)) == encode(parse_asm(text), reference_encoding=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%0 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp", r"which is no physical register \(run allocate-registers"),
        ("%0 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp<vgp0>", "no physical register"),
        ("plena_isa.loop 3 {\n^bb0(%c : !plena_isa.gp):\n}", "no physical register"),
        ("%0 = plena_isa.li 3 : !plena_isa.gp<gp1>", r"`plena_isa.li 3` has no assembly form \(run legalize-immediates"),
        ('"test.op"() : () -> ()', "`test.op` is not an instruction"),
        (
            "%z = plena_isa.get_gp : !plena_isa.gp<gp0>\n"
            "%r = plena_isa.loop 2 iter_args(%z) : (!plena_isa.gp<gp0>) -> !plena_isa.gp {\n"
            "^bb0(%c : !plena_isa.gp<gp1>, %p : !plena_isa.gp):\n  plena_isa.yield %p : !plena_isa.gp\n}",
            "no physical register",
        ),
    ],
)
def test_what_is_no_assembly_is_refused(text: str, message: str):
    with pytest.raises(EncodingError, match=message):
        print_asm(parse(text))


def test_errors_name_the_module_path():
    with pytest.raises(EncodingError, match=r"^model\.norm: "):
        print_asm(parse('%0 = plena_isa.li 3 : !plena_isa.gp<gp1> loc("model.norm")'))


def test_printing_visits_each_operation_once(monkeypatch: pytest.MonkeyPatch):
    visits = 0
    original = SAddiIntOp.assembly_operands

    def counted(op: SAddiIntOp):
        nonlocal visits
        visits += 1
        return original(op)

    monkeypatch.setattr(SAddiIntOp, "assembly_operands", counted)
    text = "".join(f"S_ADDI_INT gp{i % 16}, gp0, {i}\n" for i in range(2000))
    assert print_asm(asm_to_module(text)) == text
    assert visits == 2000


def test_register_names_in_a_flat_module_are_made_once():
    module = asm_to_module("S_ADD_INT gp1, gp2, gp2\nS_ADD_INT gp2, gp1, gp1\n")
    assert sum(op.name == "plena_isa.get_gp" for op in module.walk()) == 2
    assert {result.type for op in module.walk() for result in op.results} == {GpType.from_index(1), GpType.from_index(2)}
