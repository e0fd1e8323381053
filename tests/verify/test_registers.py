"""The validator of register allocation: it accepts what the allocator does, and nothing that computes something else."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation

from plena_mlir.dialects.plena_isa import GetGpOp, GpType, LiOp, LoopOp, PlenaIsaInstruction, SAddiIntOp, SLdIntOp, SStIntOp
from plena_mlir.dialects.plena_isa.abstract_ops import ui18
from plena_mlir.dialects.plena_isa.registers import physical_index
from plena_mlir.errors import LoweringError, PlenaError
from plena_mlir.passes.isa.allocate_registers import AllocateRegistersPass
from plena_mlir.passes.isa.legalize_immediates import LegalizeImmediatesPass
from plena_mlir.passes.isa.rematerialisation import Rematerialisation
from plena_mlir.passes.pipelines import isa_passes
from plena_mlir.verify.registers import SpillArea, check_registers
from tests.isa_programs import Execution, apply, parse_isa, place_buffers
from tests.passes.isa.random_programs import IDS, RandomProgram

_ZERO = "%z = plena_isa.get_gp : !plena_isa.gp<gp0>\n"
_FREE = SpillArea(100, 100, range(0))


def check(virtual: str, allocated: str) -> None:
    check_registers(parse_isa(_ZERO + virtual), parse_isa(_ZERO + allocated), _FREE)


_STORE = "plena_isa.s_st_int %{value}, %z, 1 : ({type}, !plena_isa.gp<gp0>) -> ()"


def stored(value: str, register: str = "") -> str:
    return _STORE.format(value=value, type=f"!plena_isa.gp{register}")


def test_constants_may_be_computed_again() -> None:
    check(
        f"%x = plena_isa.li 5 : !plena_isa.gp\n{stored('x')}\n{stored('x')}",
        f"%x = plena_isa.li 5 : !plena_isa.gp<gp1>\n{stored('x', '<gp1>')}\n"
        f"%y = plena_isa.li 5 : !plena_isa.gp<gp1>\n{stored('y', '<gp1>')}",
    )


@pytest.mark.parametrize(
    ("allocated", "message"),
    [
        (f"%x = plena_isa.li 6 : !plena_isa.gp<gp1>\n{stored('x', '<gp1>')}", "reads another value as operand 0"),
        (f"%x = plena_isa.get_gp : !plena_isa.gp<gp1>\n{stored('x', '<gp1>')}", "reads another value as operand 0"),
        ("%x = plena_isa.li 5 : !plena_isa.gp<gp1>", "is missing"),
        (f"%x = plena_isa.li 5 : !plena_isa.gp<gp1>\n{stored('x', '<gp1>')}\n{stored('x', '<gp1>')}", "is where nothing should be"),
        (f"%x = plena_isa.li 5 : !plena_isa.gp<gp1>\n{stored('x', '<gp1>').replace(', 1 :', ', 2 :')}", "other literals"),
        (f"%x = plena_isa.li 5 : !plena_isa.gp<gp0>\n{stored('x', '<gp0>')}", "must stay zero"),
    ],
)
def test_differences_are_named(allocated: str, message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        check(f"%x = plena_isa.li 5 : !plena_isa.gp\n{stored('x')}", allocated)


def test_a_counter_must_be_back_at_the_end_of_its_loop() -> None:
    virtual = f"plena_isa.loop 3 {{ ^bb0(%c : !plena_isa.gp):\n%x = plena_isa.li 5 : !plena_isa.gp\n{stored('x')}\n}}"
    allocated = virtual.replace("gp):", "gp<gp1>):").replace("5 : !plena_isa.gp", "5 : !plena_isa.gp<gp1>")
    with pytest.raises(LoweringError, match="ends without its counter"):
        check(virtual, allocated.replace(stored("x"), stored("x", "<gp1>")))


def test_a_value_does_not_survive_a_loop_that_overwrites_its_register() -> None:
    virtual = f"""
        %x = plena_isa.s_ld_int %z, 7 : (!plena_isa.gp<gp0>) -> !plena_isa.gp
        plena_isa.loop 3 {{ ^bb0(%c : !plena_isa.gp):
          {stored("x")}
          %y = plena_isa.li 5 : !plena_isa.gp
          {stored("y")}
        }}"""
    allocated = virtual.replace("!plena_isa.gp\n", "!plena_isa.gp<gp2>\n").replace("gp):", "gp<gp1>):")
    with pytest.raises(LoweringError, match="reads another value"):
        check(virtual, allocated.replace("(!plena_isa.gp,", "(!plena_isa.gp<gp2>,"))


def counting_loops(count: int, registers: bool) -> str:
    """A loop that carries `count` values, all of them 0 at first, each of which an inner loop counts up by another step."""

    def gp(number: int) -> str:
        return f"!plena_isa.gp<gp{number}>" if registers else "!plena_isa.gp"

    types = [gp(number + 1) for number in range(count)]
    outer, inner = gp(count + 1), gp(count + 2)
    lines = [f"%i{n} = plena_isa.li 0 : {types[n]}" for n in range(count)]
    results = ", ".join(f"%r{n}" for n in range(count))
    arguments = ", ".join(f"%a{n} : {types[n]}" for n in range(count))
    signature = f"({', '.join(types)}) -> ({', '.join(types)})"
    lines += [
        f"{results} = plena_isa.loop 3 iter_args({', '.join(f'%i{n}' for n in range(count))}) : {signature} {{",
        f"^bb0(%c : {outer}, {arguments}):",
    ]
    for n, register in enumerate(types):
        lines += [
            f"%b{n} = plena_isa.loop 2 iter_args(%a{n}) : ({register}) -> {register} {{ ^bb0(%d{n} : {inner}, %e{n} : {register}):",
            f"%f{n} = plena_isa.s_addi_int %e{n}, {n + 1} : ({register}) -> {register}",
            f"plena_isa.yield %f{n} : {register}",
            "}",
        ]
    lines += [f"plena_isa.yield {', '.join(f'%b{n}' for n in range(count))} : {', '.join(types)}", "}"]
    lines += [_STORE.format(value=f"r{n}", type=types[n]) for n in range(count)]
    return "\n".join(lines)


def test_values_that_start_alike_are_told_apart_however_many() -> None:
    virtual, allocated = counting_loops(12, registers=False), counting_loops(12, registers=True)
    check(virtual, allocated)
    with pytest.raises(LoweringError, match="reads another value"):
        check(virtual, allocated.replace("%e11, 12", "%e11, 11"))


# --- mutants: whatever changes the output must be noticed -------------------------------------------------------------------------


def other_register(op: Operation, random: Random) -> bool:
    """Let one operand name another gp register."""
    numbers = [n for n, value in enumerate(op.operands) if isinstance(value.type, GpType) and physical_index(value) != 0]
    block = op.parent_block()
    if not numbers or block is None or isinstance(op, LoopOp) or op.name == "plena_isa.yield":
        return False
    wrong = GetGpOp(GpType.from_index(random.randrange(1, 16)))
    block.insert_op_before(wrong, op)
    op.operands[random.choice(numbers)] = wrong.rd
    return True


def other_word(op: Operation, random: Random) -> bool:
    """Let a load or store of an integer access another word."""
    if not isinstance(op, SLdIntOp | SStIntOp):
        return False
    op.imm = op.imm.__class__(IDS + random.randrange(8), ui18)
    return True


def erased(op: Operation, random: Random) -> bool:
    """Drop an instruction; its readers find what the register holds anyway."""
    if not isinstance(op, PlenaIsaInstruction | LiOp) or any(not isinstance(result.type, GpType) for result in op.results):
        return False
    for result in op.results:
        block = op.parent_block()
        assert block is not None
        assert isinstance(result.type, GpType)
        stale = GetGpOp(result.type)
        block.insert_op_before(stale, op)
        result.replace_all_uses_with(stale.rd)
    op.detach()
    op.erase()
    return True


def other_constant(op: Operation, random: Random) -> bool:
    """Change an immediate of address arithmetic."""
    if not isinstance(op, SAddiIntOp):
        return False
    op.imm = op.imm.__class__(op.imm.value.data ^ 8, ui18)
    return True


@pytest.mark.parametrize("mutate", [other_register, other_word, erased, other_constant])
@pytest.mark.parametrize("seed", [26])
def test_no_mutant_with_another_output_passes(seed: int, mutate: Callable[[Operation, Random], bool]) -> None:
    made = RandomProgram(seed, 3, 6, 6)
    module = made.program.finish()
    place_buffers(module)
    execution = Execution(made.program, module, made.ids)
    before = len(isa_passes()) - 3
    virtual = apply(module.clone(), *isa_passes()[:before])
    allocated = apply(virtual.clone(), AllocateRegistersPass())
    constants = Rematerialisation.constant_words_of(virtual)
    area = SpillArea(IDS, constants.stop, constants)
    check_registers(virtual, allocated, area)
    expected = execution.expected(0.0)
    random, caught, different = Random(seed), 0, 0
    ops = len(list(allocated.walk()))
    for _ in range(20):
        mutant = allocated.clone()
        chosen = list(mutant.walk())[random.randrange(1, ops)]
        if not mutate(chosen, random):
            continue
        changed = output_differs(execution, mutant, expected)
        different += changed
        try:
            check_registers(virtual, mutant, area)
        except LoweringError:
            caught += 1
        else:
            assert not changed, f"{mutate.__name__} of {chosen.name} changes the output"
    assert caught >= different > 0


def output_differs(execution: Execution, mutant: ModuleOp, expected: object) -> bool:
    try:
        # Not strict: a stray load whose value nobody uses changes nothing.
        actual = execution.engine(apply(mutant.clone(), LegalizeImmediatesPass()), 0.0, strict=False)
    except PlenaError:
        return True
    return not np.array_equal(actual, np.asarray(expected))
