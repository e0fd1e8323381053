"""allocate-registers: physical registers everywhere, copies and spills only where they must be."""

from __future__ import annotations

from collections import Counter

import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp

from plena_mlir.dialects.plena_isa import LoopOp, PlenaIsaInstruction
from plena_mlir.dialects.plena_isa.registers import physical_index
from plena_mlir.errors import LoweringError
from plena_mlir.passes.isa.allocate_registers import AllocateRegistersPass
from plena_mlir.passes.isa.legalize_immediates import LegalizeImmediatesPass
from tests.isa_programs import apply, assembly, assert_same_bits, parse_isa
from tests.passes.isa.random_programs import RandomProgram


def allocated(text: str) -> ModuleOp:
    return apply(parse_isa(text), AllocateRegistersPass(verify=True), LegalizeImmediatesPass())


def mnemonics(module: ModuleOp) -> Counter[str]:
    return Counter(line.split()[0] for line in assembly(module))


def constants(count: int, first: int = 1000) -> str:
    return "\n".join(f"%x{n} = plena_isa.li {first + n} : !plena_isa.gp" for n in range(count))


def use(*names: str) -> str:
    """An instruction that reads up to three gp registers and has an effect."""
    a, b, c = (*names, names[-1], names[-1])[:3]
    return f"plena_isa.v_add_vv %{a}, %{b}, %{c} : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()"


def load(name: str, address: int) -> str:
    """A gp value that cannot be computed again."""
    return f"%{name} = plena_isa.s_ld_int %z, {address} : (!plena_isa.gp<gp0>) -> !plena_isa.gp"


_ZERO = "%z = plena_isa.get_gp : !plena_isa.gp<gp0>\n%f0 = plena_isa.get_fp : !plena_isa.fp<f0>\n"


def test_fifteen_values_need_no_spill_and_sixteen_do() -> None:
    def program(count: int) -> Counter[str]:
        loads = "\n".join(load(f"x{n}", n) for n in range(count))
        return mnemonics(allocated(_ZERO + loads + "\n" + "\n".join(use(f"x{n}") for n in range(count))))

    assert program(15) == {"S_LD_INT": 15, "V_ADD_VV": 15}
    assert program(16)["S_ST_INT"] > 0


def test_constants_are_computed_again_before_anything_is_stored() -> None:
    loads = "\n".join(load(f"y{n}", n) for n in range(10))
    uses = "\n".join(use(f"y{n}") for n in range(10)) + "\n" + "\n".join(use(f"x{n}") for n in range(10))
    counts = mnemonics(allocated(_ZERO + constants(10) + "\n" + loads + "\n" + uses))
    assert counts["S_ST_INT"] == 0
    assert counts["S_LD_INT"] == 10


def test_spill_words_start_behind_the_words_of_the_program() -> None:
    module = parse_isa(
        _ZERO + "\n".join(load(f"x{n}", n) for n in range(18)) + "\n" + "\n".join(use(f"x{n}") for n in range(18)) + "\n"
    )
    module.attributes["plena.int_words_used"] = IntegerAttr(700, 64)
    lines = assembly(apply(module, AllocateRegistersPass(verify=True)))
    assert {int(line.split(", ")[2]) for line in lines if line.startswith("S_ST_INT")} == {700, 701, 702}
    assert module.attributes["plena.int_words_used"] == IntegerAttr(703, 64)


def test_a_loop_carried_value_keeps_one_register_without_copies() -> None:
    module = allocated("""
        %p0 = plena_isa.li 64 : !plena_isa.gp
        %r = plena_isa.loop 5 iter_args(%p0) : (!plena_isa.gp) -> !plena_isa.gp {
        ^bb0(%c : !plena_isa.gp, %p : !plena_isa.gp):
          plena_isa.v_add_vv %p, %p, %p : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
          %q = plena_isa.s_addi_int %p, 8 : (!plena_isa.gp) -> !plena_isa.gp
          plena_isa.yield %q : !plena_isa.gp
        }""")
    assert mnemonics(module) == {"S_ADDI_INT": 2, "C_LOOP_START": 1, "V_ADD_VV": 1, "C_LOOP_END": 1}


def test_a_program_that_has_its_registers_keeps_them() -> None:
    """A loop whose counter and carried value have registers: their ties are what the program says, not conflicts to solve."""
    module = allocated("""
        %p0 = plena_isa.li 64 : !plena_isa.gp
        %r = plena_isa.loop 5 iter_args(%p0) : (!plena_isa.gp) -> !plena_isa.gp {
        ^bb0(%c : !plena_isa.gp, %p : !plena_isa.gp):
          %q = plena_isa.s_addi_int %p, 8 : (!plena_isa.gp) -> !plena_isa.gp
          plena_isa.v_add_vv %q, %p0, %p : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
          plena_isa.yield %q : !plena_isa.gp
        }""")
    before = str(module)
    AllocateRegistersPass(verify=True).apply(Context(), module)
    assert str(module) == before


def test_an_init_value_that_is_used_again_is_copied() -> None:
    module = allocated(f"""{_ZERO}
        {load("p0", 3)}
        %r = plena_isa.loop 5 iter_args(%p0) : (!plena_isa.gp) -> !plena_isa.gp {{
        ^bb0(%c : !plena_isa.gp, %p : !plena_isa.gp):
          %q = plena_isa.s_addi_int %p, 8 : (!plena_isa.gp) -> !plena_isa.gp
          {use("q")}
          plena_isa.yield %q : !plena_isa.gp
        }}
        {use("p0", "r")}""")
    assert [line for line in assembly(module) if line.endswith(", 0") and line.startswith("S_ADDI_INT")], "a copy by adding 0"


def test_carried_values_may_change_places() -> None:
    module = allocated(f"""{_ZERO}
        {load("a0", 0)}
        {load("b0", 1)}
        %ra, %rb = plena_isa.loop 3 iter_args(%a0, %b0) : (!plena_isa.gp, !plena_isa.gp) -> (!plena_isa.gp, !plena_isa.gp) {{
        ^bb0(%c : !plena_isa.gp, %a : !plena_isa.gp, %b : !plena_isa.gp):
          {use("a", "b")}
          plena_isa.yield %b, %a : !plena_isa.gp, !plena_isa.gp
        }}
        {use("ra", "rb")}""")
    assert mnemonics(module)["S_ADDI_INT"] >= 2


def test_reductions_write_the_register_they_read() -> None:
    module = allocated(f"""{_ZERO}
        %a = plena_isa.s_ld_fp %z, 1 : (!plena_isa.gp<gp0>) -> !plena_isa.fp
        %b = plena_isa.v_red_sum %a, %z : (!plena_isa.fp, !plena_isa.gp<gp0>) -> !plena_isa.fp
        %c = plena_isa.v_red_sum %f0, %z : (!plena_isa.fp<f0>, !plena_isa.gp<gp0>) -> !plena_isa.fp
        %d = plena_isa.s_add_fp %b, %c : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
        %e = plena_isa.s_add_fp %d, %a : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
        plena_isa.s_st_fp %e, %z, 2 : (!plena_isa.fp, !plena_isa.gp<gp0>) -> ()""")
    counts = mnemonics(module)
    assert counts["S_MAX_FP"] == 2, "a is used again, and f0 must stay zero"
    assert "V_RED_SUM f0" not in "\n".join(assembly(module))


def test_the_counters_of_deep_nests_share_a_register() -> None:
    depth = 20
    opening = "".join(f"plena_isa.loop 2 {{ ^bb{n}(%c{n} : !plena_isa.gp):\n" for n in range(depth))
    module = allocated(
        _ZERO
        + opening
        + use("z").replace("!plena_isa.gp,", "!plena_isa.gp<gp0>,").replace("!plena_isa.gp)", "!plena_isa.gp<gp0>)")
        + "\n}" * depth
    )
    counters = {physical_index(op.counter) for op in module.walk() if isinstance(op, LoopOp)}
    assert len(counters) <= 15
    assert mnemonics(module)["S_ST_INT"] >= depth - 15


def test_nine_address_registers_are_set_again_where_they_are_used() -> None:
    sets = "\n".join(
        f"%l{n} = plena_isa.li {4096 * n} : !plena_isa.gp\n"
        f"%a{n} = plena_isa.c_set_addr_reg %z, %l{n} : (!plena_isa.gp<gp0>, !plena_isa.gp) -> !plena_isa.addr"
        for n in range(1, 12)
    )
    loads = "\n".join(
        f"plena_isa.h_prefetch_v %z, %z, %a{n}, 0, 0 : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.addr) -> ()"
        for n in range(1, 12)
    )
    module = allocated(_ZERO + sets + f"\nplena_isa.loop 4 {{ ^bb0(%c : !plena_isa.gp):\n{loads}\n}}")
    used = {physical_index(op.results[0]) for op in module.walk() if op.name == "plena_isa.c_set_addr_reg"}
    assert used <= set(range(8))
    assert mnemonics(module)["C_SET_ADDR_REG"] < 7 + 2 * 5


def test_an_address_that_cannot_be_set_again_is_an_error_when_registers_run_out() -> None:
    sets = "\n".join(
        f"{load(f'l{n}', n)}\n%a{n} = plena_isa.c_set_addr_reg %z, %l{n} : (!plena_isa.gp<gp0>, !plena_isa.gp) -> !plena_isa.addr"
        for n in range(9)
    )
    loads = "\n".join(
        f"plena_isa.h_prefetch_v %z, %z, %a{n}, 0, 0 : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.addr) -> ()"
        for n in range(9)
    )
    with pytest.raises(LoweringError, match="the machine has 8"):
        allocated(_ZERO + sets + "\n" + loads)


def test_no_room_to_spill_is_an_error() -> None:
    module = parse_isa(_ZERO + "\n".join(load(f"x{n}", n) for n in range(16)) + "\n" + "\n".join(use(f"x{n}") for n in range(16)))
    module.attributes["plena.int_words_used"] = IntegerAttr(1024, 64)
    with pytest.raises(LoweringError, match="all 1024 words of the INT SRAM are used"):
        apply(module, AllocateRegistersPass())


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int) -> None:
    random = RandomProgram(seed, 3, 6, 6)
    lowered = assert_same_bits(random.program, ids=random.ids)
    for op in lowered.walk():
        if isinstance(op, PlenaIsaInstruction):
            assert all(physical_index(value) is not None for value in (*op.operands, *op.results))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 130))
def test_random_programs_with_far_too_few_registers(seed: int) -> None:
    random = RandomProgram(seed, 5, 9, 10)
    assert_same_bits(random.program, ids=random.ids, every_pass=False)
