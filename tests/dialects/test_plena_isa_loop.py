"""The structured hardware loop."""

from __future__ import annotations

import pytest
from xdsl.context import Context
from xdsl.dialects import test
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.ir import Block
from xdsl.parser import Parser
from xdsl.utils.exceptions import ParseError, VerifyException

from plena_mlir.dialects.plena_isa import GP, GpType, LoopOp, PlenaIsa, SAddiIntOp, YieldOp


def parse(text: str) -> ModuleOp:
    ctx = Context()
    for dialect in (Builtin, test.Test, PlenaIsa):
        ctx.load_dialect(dialect)
    module = Parser(ctx, text).parse_module()
    module.verify()
    return module


def first_loop(module: ModuleOp) -> LoopOp:
    return next(op for op in module.walk() if isinstance(op, LoopOp))


def test_built_loop_ties_init_argument_yield_and_result():
    start, extra = test.TestOp(result_types=[GP, GP]).results
    body = Block(arg_types=[GP, GP])
    step = SAddiIntOp(body.args[1], 64)
    body.add_ops([step, YieldOp(step.rd)])
    loop = LoopOp(5, [start], [body], extra)
    loop.verify()
    assert loop.trips.value.data == 5
    assert loop.counter is body.args[0]
    assert loop.carried == (body.args[1],)
    assert loop.tied_groups() == ((start, body.args[1], step.rd, loop.res[0]),)
    assert loop.extra is extra


def test_a_loop_may_carry_nothing_and_needs_no_yield():
    module = parse("plena_isa.loop 4194303 {\n^bb0(%c : !plena_isa.gp):\n}")
    assert isinstance(first_loop(module).body.block.last_op, YieldOp)
    assert "yield" not in str(module)


def test_an_init_value_may_stay_in_the_zero_register_until_allocation():
    module = parse(
        "%z = plena_isa.get_gp : !plena_isa.gp<gp0>\n"
        "%r = plena_isa.loop 2 iter_args(%z) : (!plena_isa.gp<gp0>) -> !plena_isa.gp {\n"
        "^bb0(%c : !plena_isa.gp, %p : !plena_isa.gp):\n"
        "  plena_isa.yield %p : !plena_isa.gp\n}"
    )
    assert first_loop(module).res[0].type == GpType.unallocated()


BODY = "{{\n^bb0(%c : {counter}, %p : {argument}):\n  plena_isa.yield %p : {argument}\n}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plena_isa.loop 0 {\n^bb0(%c : !plena_isa.gp):\n}", "trip count 0 is outside 1..4194303"),
        ("plena_isa.loop 4194304 {\n^bb0(%c : !plena_isa.gp):\n}", "trip count 4194304 is outside"),
        ("plena_isa.loop 2 {\n^bb0(%c : !plena_isa.fp):\n}", "must be the !plena_isa.gp loop counter"),
        ("plena_isa.loop 2 {\n^bb0:\n}", "must be the !plena_isa.gp loop counter"),
        (
            '%i = "test.op"() : () -> !plena_isa.fp\n%r = plena_isa.loop 2 iter_args(%i) : (!plena_isa.fp) -> !plena_isa.gp '
            + BODY.format(counter="!plena_isa.gp", argument="!plena_isa.gp"),
            "loop-carried value 0 changes its register type",
        ),
        (
            '%i = "test.op"() : () -> !plena_isa.gp<gp1>\n'
            "%r = plena_isa.loop 2 iter_args(%i) : (!plena_isa.gp<gp1>) -> !plena_isa.gp<gp2> "
            + BODY.format(counter="!plena_isa.gp<gp3>", argument="!plena_isa.gp<gp1>"),
            "must stay in one register",
        ),
        (
            '%i = "test.op"() : () -> !plena_isa.gp\nplena_isa.loop 2 iter_args(%i) : (!plena_isa.gp) -> () '
            + BODY.format(counter="!plena_isa.gp", argument="!plena_isa.gp"),
            "must be as many",
        ),
    ],
)
def test_invalid_loops_are_refused(text: str, message: str):
    with pytest.raises((ParseError, VerifyException), match=message):
        parse(text)
