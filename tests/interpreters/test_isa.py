"""plena_isa executed operation by operation: structured loops, allocated and virtual registers."""

import dataclasses

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.interpreter import Interpreter, PythonValues
from xdsl.ir import Operation
from xdsl.parser import Parser

from plena_mlir.backend import encode
from plena_mlir.dialects.plena import set_target
from plena_mlir.dialects.plena_isa import PlenaIsa
from plena_mlir.emulator import run_program
from plena_mlir.errors import ExecutionError, LoweringError, Trap
from plena_mlir.interpreters.isa import run_isa
from plena_mlir.target import load_target

TARGET = load_target("8x4x4")

ALLOCATED = """
%zero = plena_isa.get_gp : !plena_isa.gp<gp0>
%sum = plena_isa.s_addi_int %zero, 5 : (!plena_isa.gp<gp0>) -> !plena_isa.gp<gp1>
%r = plena_isa.loop 3 iter_args(%sum) : (!plena_isa.gp<gp1>) -> !plena_isa.gp<gp1> {
^bb0(%outer : !plena_isa.gp<gp2>, %s : !plena_isa.gp<gp1>):
  %t = plena_isa.loop 2 iter_args(%s) : (!plena_isa.gp<gp1>) -> !plena_isa.gp<gp1> {
  ^bb0(%inner : !plena_isa.gp<gp3>, %u : !plena_isa.gp<gp1>):
    %v = plena_isa.s_add_int %u, %outer : (!plena_isa.gp<gp1>, !plena_isa.gp<gp2>) -> !plena_isa.gp<gp1>
    %w = plena_isa.s_add_int %v, %inner : (!plena_isa.gp<gp1>, !plena_isa.gp<gp3>) -> !plena_isa.gp<gp1>
    plena_isa.yield %w : !plena_isa.gp<gp1>
  }
  plena_isa.yield %t : !plena_isa.gp<gp1>
}
plena_isa.s_st_int %r, %zero, 9 : (!plena_isa.gp<gp1>, !plena_isa.gp<gp0>) -> ()
"""
EXPECTED = 5 + 2 * (3 + 2 + 1) + 3 * (2 + 1)


def virtual(text: str) -> str:
    """The same module before register allocation; the zero register keeps its name."""
    for index in range(1, 4):
        text = text.replace(f"<gp{index}>", "")
    return text


def parse(text: str) -> ModuleOp:
    context = Context()
    context.load_dialect(Builtin)
    context.load_dialect(PlenaIsa)
    module = Parser(context, text).parse_module()
    module.verify()
    return module


def test_allocated_loops_run_like_their_machine_code():
    module = parse(ALLOCATED)
    result, engine = run_isa(module, TARGET), run_program(encode(module), TARGET)
    assert result.machine.state.scalars.integer[9] == EXPECTED
    assert result.words.tolist() == engine.words.tolist()
    assert result.counts.tolist() == engine.counts.tolist()
    np.testing.assert_array_equal(result.machine.state.registers.gp, engine.machine.state.registers.gp)
    np.testing.assert_array_equal(result.machine.state.scalars.integer, engine.machine.state.scalars.integer)


def test_virtual_registers_give_the_same_result():
    result = run_isa(parse(virtual(ALLOCATED)), TARGET)
    assert result.machine.state.scalars.integer[9] == EXPECTED
    assert not result.machine.state.registers.gp.any()


def test_wrong_allocation_gives_a_wrong_answer():
    clobbering = ALLOCATED.replace("gp3", "gp2")
    result = run_isa(parse(clobbering), TARGET, strict=True)
    assert result.machine.state.scalars.integer[9] != EXPECTED


@pytest.mark.parametrize("allocated", [True, False])
@pytest.mark.parametrize("extra", [0, 4])
def test_extra_trips_at_run_time(allocated: bool, extra: int):
    text = """
    %zero = plena_isa.get_gp : !plena_isa.gp<gp0>
    %x = plena_isa.s_ld_int %zero, 0 : (!plena_isa.gp<gp0>) -> !plena_isa.gp<gp1>
    %i = plena_isa.li 100 : !plena_isa.gp<gp2>
    %r = plena_isa.loop 2 iter_args(%i) extra(%x) : (!plena_isa.gp<gp2>, !plena_isa.gp<gp1>) -> !plena_isa.gp<gp2> {
    ^bb0(%c : !plena_isa.gp<gp3>, %j : !plena_isa.gp<gp2>):
      %k = plena_isa.s_addi_int %j, 1 : (!plena_isa.gp<gp2>) -> !plena_isa.gp<gp2>
      plena_isa.yield %k : !plena_isa.gp<gp2>
    }
    plena_isa.s_st_int %r, %zero, 1 : (!plena_isa.gp<gp2>, !plena_isa.gp<gp0>) -> ()
    """
    result = run_isa(parse(text if allocated else virtual(text)), TARGET, intsram=np.array([extra]))
    assert result.machine.state.scalars.integer[1] == 102 + extra


def test_tied_virtual_registers_accumulate():
    text = """
    %zero = plena_isa.get_gp : !plena_isa.gp<gp0>
    %f = plena_isa.s_ld_fp %zero, 0 : (!plena_isa.gp<gp0>) -> !plena_isa.fp
    %g = plena_isa.v_red_sum %f, %zero, 0 : (!plena_isa.fp, !plena_isa.gp<gp0>) -> !plena_isa.fp
    %h = plena_isa.v_red_max %g, %zero, 0 : (!plena_isa.fp, !plena_isa.gp<gp0>) -> !plena_isa.fp
    %s = plena_isa.s_add_fp %g, %h : (!plena_isa.fp, !plena_isa.fp) -> !plena_isa.fp
    plena_isa.s_st_fp %s, %zero, 1 : (!plena_isa.fp, !plena_isa.gp<gp0>) -> ()
    """
    row = np.array([[1, 2, 3, 4, 5, 6, 7, 50]], np.float32)
    result = run_isa(parse(text), TARGET, vram=row, fpsram=np.array([10.0]))
    assert result.machine.state.scalars.fp[1] == 88 + 88
    assert not result.machine.state.registers.fp.any()


def test_address_registers_may_be_virtual():
    text = """
    %zero = plena_isa.get_gp : !plena_isa.gp<gp0>
    %low = plena_isa.li 256 : !plena_isa.gp
    %a = plena_isa.c_set_addr_reg %zero, %low : (!plena_isa.gp<gp0>, !plena_isa.gp) -> !plena_isa.addr
    plena_isa.h_store_v %zero, %zero, %a, 0, 0 : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.addr) -> ()
    """
    result = run_isa(parse(text), TARGET, vram=np.full((4, 8), 0.5, np.float32))
    assert result.machine.read_hbm(256 + 4, 32)[4:28] == bytes([0x38] * 24)


def test_trap_names_the_place_in_program_order():
    with pytest.raises(Trap) as trap:
        run_isa(parse(ALLOCATED.replace("%zero, 9 :", "%zero, 2000 :")), TARGET)
    assert trap.value.pc == 7
    assert "INT SRAM index" in str(trap.value)


def test_loop_limit_holds_in_structured_loops():
    target = dataclasses.replace(TARGET, max_loop_instructions=1000)
    run_isa(parse(ALLOCATED.replace("loop 2", "loop 332")), target)
    with pytest.raises(Trap, match="MAX_LOOP_INSTRUCTIONS"):
        run_isa(parse(ALLOCATED.replace("loop 2", "loop 333")), target)


def test_listeners_see_every_operation():
    names: list[str] = []

    class Names(Interpreter.Listener):
        def will_interpret_op(self, op: Operation, args: PythonValues) -> None:
            names.append(op.name)

    run_isa(parse(ALLOCATED), TARGET, listeners=[Names()])
    assert names.count("plena_isa.s_add_int") == 2 * 3 * 2
    assert names.count("plena_isa.loop") == 1 + 3


def test_target_comes_from_the_module():
    module = parse(ALLOCATED)
    with pytest.raises(LoweringError, match="target"):
        run_isa(module)
    set_target(module, TARGET)
    assert run_isa(module).machine.target == TARGET


def test_foreign_operations_are_refused():
    with pytest.raises(ExecutionError, match="not an operation of the machine"):
        run_isa(parse("%x = builtin.unrealized_conversion_cast to i32"), TARGET)
