"""hoist-invariants: what leaves a loop, what becomes one, what stays."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp

from plena_mlir.dialects.plena_isa import LoopOp
from plena_mlir.passes.isa.fp_constants import PRELOAD_ATTRIBUTE, FpConstants
from plena_mlir.passes.isa.hoist_invariants import HoistInvariantsPass
from tests.isa_programs import apply, parse_isa


def names(module: ModuleOp) -> tuple[list[str], list[str]]:
    """Operation names outside of loops, and inside."""
    outside = [op.name.removeprefix("plena_isa.") for op in module.body.ops]
    inside = [op.name.removeprefix("plena_isa.") for op in module.walk() if isinstance(op.parent_op(), LoopOp)]
    return outside, inside


def hoisted(text: str, constants: FpConstants | None = None) -> tuple[list[str], list[str]]:
    module = parse_isa(text)
    if constants is not None:
        module.attributes[PRELOAD_ATTRIBUTE] = constants.attribute()
    return names(apply(module, HoistInvariantsPass()))


def test_constants_and_what_follows_from_them_leave_all_loops() -> None:
    outside, inside = hoisted("""
        plena_isa.loop 2 {
        ^bb0(%c : !plena_isa.gp):
          plena_isa.loop 3 {
          ^bb1(%d : !plena_isa.gp):
            %x = plena_isa.li 8 : !plena_isa.gp
            %y = plena_isa.s_addi_int %x, 8 : (!plena_isa.gp) -> !plena_isa.gp
            plena_isa.v_add_vv %y, %x, %x : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
          }
        }""")
    assert outside == ["li", "s_addi_int", "loop"]
    assert inside == ["loop", "yield", "v_add_vv", "yield"] or inside == ["loop", "v_add_vv", "yield", "yield"]


def test_equal_values_become_one_up_to_the_next_loop() -> None:
    loop = """
        plena_isa.loop 2 {
        ^bb0(%c : !plena_isa.gp):
          %x = plena_isa.li 8 : !plena_isa.gp
          %y = plena_isa.li 8 : !plena_isa.gp
          plena_isa.v_add_vv %x, %x, %y : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
        }"""
    assert hoisted(loop + loop)[0] == ["li", "loop", "li", "loop"]


def test_outer_loops_keep_constants_that_have_no_register_outside() -> None:
    constants = "".join(f"%x{n} = plena_isa.li {n} : !plena_isa.gp\n" for n in range(1, 21))
    uses = "".join(
        f"plena_isa.v_add_vv %x{n}, %x{n}, %x{n} : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()\n" for n in range(1, 21)
    )
    inner = "plena_isa.loop 2 { ^bb1(%d : !plena_isa.gp): }"
    outside, inside = hoisted(f"plena_isa.loop 2 {{ ^bb0(%c : !plena_isa.gp):\n{constants}{uses}{inner}\n}}")
    # The counter takes one of the 15 registers; every value in the body adds to the pressure before it moves.
    assert outside.count("li") + inside.count("li") == 20
    assert inside.count("li") > 0


def test_what_depends_on_the_loop_stays() -> None:
    outside, inside = hoisted("""
        %p0 = plena_isa.li 0 : !plena_isa.gp
        %r = plena_isa.loop 2 iter_args(%p0) : (!plena_isa.gp) -> !plena_isa.gp {
        ^bb0(%c : !plena_isa.gp, %p : !plena_isa.gp):
          %q = plena_isa.s_addi_int %p, 8 : (!plena_isa.gp) -> !plena_isa.gp
          plena_isa.v_add_vv %q, %q, %p : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()
          plena_isa.yield %q : !plena_isa.gp
        }""")
    assert outside == ["li", "loop"]
    assert inside == ["s_addi_int", "v_add_vv", "yield"]


def test_only_words_that_nobody_writes_are_loaded_in_front_of_the_loop() -> None:
    constants = FpConstants(first_word=2, capacity=1024)
    constants.word_of(0.5)
    outside, inside = hoisted(
        """
        %z = plena_isa.get_gp : !plena_isa.gp<gp0>
        plena_isa.loop 2 {
        ^bb0(%c : !plena_isa.gp):
          %x = plena_isa.s_ld_fp %z, 1 : (!plena_isa.gp<gp0>) -> !plena_isa.fp
          %y = plena_isa.s_ld_fp %z, 2 : (!plena_isa.gp<gp0>) -> !plena_isa.fp
          %s = plena_isa.s_add_fp %x, %y : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
          plena_isa.s_st_fp %s, %z, 1 : (!plena_isa.fp, !plena_isa.gp<gp0>) -> ()
        }""",
        constants,
    )
    assert outside == ["get_gp", "s_ld_fp", "loop"]
    assert inside == ["s_ld_fp", "s_add_fp", "s_st_fp", "yield"]
