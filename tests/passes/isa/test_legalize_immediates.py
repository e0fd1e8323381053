"""legalize-immediates: constants by the instructions of the machine."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.backend.asm_encoder import encode
from plena_mlir.dialects.plena_isa import SAddiIntOp, SLuiIntOp
from plena_mlir.emulator import run_program
from plena_mlir.passes.isa.legalize_immediates import LegalizeImmediatesPass
from plena_mlir.target import load_target
from tests.isa_programs import apply, assembly, parse_isa

_VALUES = [0, 1, 2**18 - 1, 2**18, 2**18 + 4096, 12345678, 2**31, 2**32 - 4096, 2**32 - 1]


@pytest.mark.parametrize("value", _VALUES)
def test_the_register_holds_the_constant(value: int) -> None:
    module = parse_isa(f"""
        %z = plena_isa.get_gp : !plena_isa.gp<gp0>
        %x = plena_isa.li {value} : !plena_isa.gp<gp3>
        plena_isa.s_st_int %x, %z, 5 : (!plena_isa.gp<gp3>, !plena_isa.gp<gp0>) -> ()""")
    lowered = apply(module, LegalizeImmediatesPass())
    result = run_program(encode(lowered), load_target("8x4x4"), timing="none")
    assert np.asarray(result.machine.state.scalars.integer)[5] == value


def test_no_instruction_adds_zero() -> None:
    module = parse_isa("%x = plena_isa.li 4096000 : !plena_isa.gp<gp1>")
    assert assembly(apply(module, LegalizeImmediatesPass())) == ["S_LUI_INT gp1, 1000"]


def test_virtual_registers_stay_in_ssa_form() -> None:
    module = parse_isa("""
        %x = plena_isa.li 300000 : !plena_isa.gp
        plena_isa.s_st_int %x, %x, 0 : (!plena_isa.gp, !plena_isa.gp) -> ()""")
    *_, upper, lower, store = apply(module, LegalizeImmediatesPass()).body.ops
    assert isinstance(upper, SLuiIntOp)
    assert isinstance(lower, SAddiIntOp)
    assert lower.rs1 is upper.rd
    assert list(store.operands) == [lower.rd, lower.rd]
