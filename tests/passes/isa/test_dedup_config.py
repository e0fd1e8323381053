"""dedup-config: which writes of configuration registers stay, and where."""

from __future__ import annotations

from collections.abc import Iterator

from xdsl.ir import Block

from plena_mlir.passes.isa.dedup_config import DedupConfigPass
from tests.isa_programs import apply, parse_isa

_HEAD = """
    %z = plena_isa.get_gp : !plena_isa.gp<gp0>
    %a = plena_isa.get_addr : !plena_isa.addr<a0>
    %one = plena_isa.li 64 : !plena_isa.gp
    %two = plena_isa.li 128 : !plena_isa.gp
"""
_LOAD = "plena_isa.h_prefetch_v %z, %z, %a, 0, 0 : (!plena_isa.gp<gp0>, !plena_isa.gp<gp0>, !plena_isa.addr<a0>) -> ()"
_STRIDED = _LOAD.replace(", 0, 0", ", 1, 0")


def scale(value: str) -> str:
    return f"plena_isa.c_set_scale_reg %{value} : (!plena_isa.gp) -> ()"


def stride(value: str) -> str:
    return f"plena_isa.c_set_stride_reg %{value} : (!plena_isa.gp) -> ()"


def outline(*lines: str) -> list[str]:
    """What is left of a program: operation names without the dialect in textual order, constants left out."""
    module = apply(parse_isa(_HEAD + "\n".join(lines)), DedupConfigPass())
    return [name for name in names_in(module.body.block) if name not in ("li", "get_gp", "get_addr")]


def names_in(block: Block) -> Iterator[str]:
    for op in block.ops:
        yield op.name.removeprefix("plena_isa.")
        for region in op.regions:
            yield from names_in(region.block)


def test_a_repeated_value_is_written_once() -> None:
    assert outline(scale("one"), _LOAD, scale("one"), _LOAD, scale("two"), _LOAD) == [
        "c_set_scale_reg",
        "h_prefetch_v",
        "h_prefetch_v",
        "c_set_scale_reg",
        "h_prefetch_v",
    ]


def test_registers_are_independent() -> None:
    assert outline(scale("one"), stride("one"), _STRIDED, scale("one"), stride("two"), _STRIDED) == [
        "c_set_scale_reg",
        "c_set_stride_reg",
        "h_prefetch_v",
        "c_set_stride_reg",
        "h_prefetch_v",
    ]


def test_the_only_value_of_a_loop_moves_in_front_of_it() -> None:
    assert outline("plena_isa.loop 3 {", "^bb0(%c : !plena_isa.gp):", scale("one"), _LOAD, scale("one"), _LOAD, "}") == [
        "c_set_scale_reg",
        "loop",
        "h_prefetch_v",
        "h_prefetch_v",
        "yield",
    ]


def test_the_only_value_of_nested_loops_moves_in_front_of_the_outer_one() -> None:
    inner = ["plena_isa.loop 2 {", "^bb0(%d : !plena_isa.gp):", scale("one"), _LOAD, "}"]
    assert (
        outline(scale("one"), _LOAD, "plena_isa.loop 3 {", "^bb0(%c : !plena_isa.gp):", *inner, "}").count("c_set_scale_reg") == 1
    )


def test_alternating_values_stay_in_the_loop() -> None:
    left = outline(scale("one"), "plena_isa.loop 3 {", "^bb0(%c : !plena_isa.gp):", scale("one"), _LOAD, scale("two"), _LOAD, "}")
    assert left[0] == "c_set_scale_reg"
    assert left[2:] == ["c_set_scale_reg", "h_prefetch_v", "c_set_scale_reg", "h_prefetch_v", "yield"]


def test_a_value_that_is_read_before_it_is_written_stays_behind_the_read() -> None:
    left = outline(scale("two"), "plena_isa.loop 3 {", "^bb0(%c : !plena_isa.gp):", _LOAD, scale("one"), _LOAD, "}")
    assert left == ["c_set_scale_reg", "loop", "h_prefetch_v", "c_set_scale_reg", "h_prefetch_v", "yield"]


def test_after_a_loop_the_register_holds_what_the_body_left() -> None:
    left = outline(
        "plena_isa.loop 3 {", "^bb0(%c : !plena_isa.gp):", scale("one"), _LOAD, scale("two"), _LOAD, "}", scale("two"), _LOAD
    )
    assert left[-2:] == ["yield", "h_prefetch_v"]
