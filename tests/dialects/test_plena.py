"""The target attribute and the module paths of operations."""

from __future__ import annotations

import pytest
from xdsl.context import Context
from xdsl.dialects import test
from xdsl.dialects.builtin import Builtin, FusedLoc, ModuleOp, NoneAttr, UnknownLoc
from xdsl.ir import Block, Region
from xdsl.parser import Parser
from xdsl.utils.exceptions import VerifyException

from plena_mlir.dialects.plena import (
    Plena,
    add_note,
    carry_location,
    main_function,
    module_path,
    name_location,
    notes_of,
    set_target,
    target_of,
)
from plena_mlir.errors import LoweringError
from plena_mlir.target import load_target


def parse(text: str) -> ModuleOp:
    ctx = Context()
    ctx.load_dialect(Builtin)
    ctx.load_dialect(Plena)
    return Parser(ctx, text).parse_module()


@pytest.mark.parametrize("name", ["8x4x4", "64x16x64"])
def test_a_target_survives_printing_and_parsing(name: str):
    module = ModuleOp([])
    set_target(module, load_target(name))
    parsed = parse(str(module))
    assert target_of(parsed) == load_target(name)
    assert target_of(parsed).hash == load_target(name).hash


def test_a_module_without_target_says_what_to_do():
    with pytest.raises(LoweringError, match=r"plena-opt --target"):
        target_of(ModuleOp([]))


def test_a_module_without_a_program_says_so():
    with pytest.raises(LoweringError, match="no function @main"):
        main_function(ModuleOp([]))


def test_notes_follow_each_other():
    module = ModuleOp([])
    assert notes_of(module) == ()
    add_note(module)
    assert not module.attributes
    add_note(module, "one")
    add_note(module, "two", "three")
    assert notes_of(parse(str(module))) == ("one", "two", "three")


@pytest.mark.parametrize(("old", "new"), [("blen = 4", "blen = 3"), ("mlen = 8", "mlem = 8"), ("mlen = 8 : i64", 'mlen = "8"')])
def test_an_impossible_target_is_refused(old: str, new: str):
    module = ModuleOp([])
    set_target(module, load_target("8x4x4"))
    text = str(module)
    assert old in text
    with pytest.raises(VerifyException):
        parse(text.replace(old, new, 1))


def test_module_path_reads_names_out_of_any_location():
    op = test.TestOp()
    assert module_path(op) == ""
    op.location = name_location("model.norm")
    assert module_path(op) == "model.norm"
    op.location = FusedLoc([name_location("a"), UnknownLoc(), name_location("b"), name_location("a")], NoneAttr())
    assert module_path(op) == "a, b"


def test_carry_location_reaches_nested_operations_and_keeps_their_own():
    old, inner, own = test.TestOp(), test.TestOp(), test.TestOp()
    old.location = name_location("new")
    own.location = name_location("own")
    outer = test.TestOp(regions=[Region(Block([inner, own]))])
    carry_location(outer, old)
    assert [module_path(op) for op in (outer, inner, own)] == ["new", "new", "own"]
