"""Writes to registers and the scalar memories, with the rules of gp0, f0 and the strict mode (sections 4.3 to 4.5)."""

from __future__ import annotations

from plena_mlir.emulator.kernels.state import POISON_INT, WORD_MASK, State
from plena_mlir.emulator.kernels.traps import (
    FP_INDEX,
    FP_REGISTER,
    INT_INDEX,
    OK,
    STRICT_POISON_FP,
    STRICT_POISON_INT,
    STRICT_ZERO_REGISTER,
)
from plena_mlir.numerics.bf16 import Integer, Real, round_register
from plena_mlir.numerics.compile import inline_kernel, kernel


@inline_kernel
def write_gp(state: State, rd: Integer, value: Integer) -> int:
    """gp[rd] = value mod 2^32. gp0 is an ordinary register of the machine."""
    if rd == 0 and state.geometry.strict:
        return STRICT_ZERO_REGISTER
    state.registers.gp[rd] = value & WORD_MASK
    return OK


@inline_kernel
def write_fp(state: State, rd: Integer, value: Real) -> int:
    """f[rd] = a value that is bf16 already."""
    if value != value and state.geometry.strict:
        return STRICT_POISON_FP
    state.registers.fp[rd] = value
    return OK


@inline_kernel
def write_alu(state: State, rd: Integer, value: Real) -> int:
    """f[rd] = value rounded to bf16; writes to f0 are dropped."""
    if rd == 0:
        return OK
    if rd > 7:
        return FP_REGISTER
    return write_fp(state, rd, round_register(value))


@inline_kernel
def write_reduced(state: State, rd: Integer, status: int, value: Real) -> int:
    """f[rd] = the value of a reduction that ended with `status`."""
    return write_fp(state, rd, value) if status == OK else status


@kernel
def load_int(state: State, rd: Integer, index: Integer) -> int:
    """S_LD_INT."""
    if index >= state.scalars.integer.shape[0]:
        return INT_INDEX
    if state.geometry.strict and state.scalars.integer[index] == POISON_INT:
        return STRICT_POISON_INT
    return write_gp(state, rd, state.scalars.integer[index])


@kernel
def store_int(state: State, rs: Integer, index: Integer) -> int:
    """S_ST_INT."""
    if index >= state.scalars.integer.shape[0]:
        return INT_INDEX
    state.scalars.integer[index] = state.registers.gp[rs]
    return OK


@kernel
def load_fp(state: State, rd: Integer, index: Integer) -> int:
    """S_LD_FP, the one instruction that writes f0."""
    if rd > 7:
        return FP_REGISTER
    if index >= state.scalars.fp.shape[0]:
        return FP_INDEX
    if rd == 0 and state.geometry.strict:
        return STRICT_ZERO_REGISTER
    return write_fp(state, rd, state.scalars.fp[index])


@kernel
def store_fp(state: State, rs: Integer, index: Integer) -> int:
    """S_ST_FP."""
    if rs > 7:
        return FP_REGISTER
    if index >= state.scalars.fp.shape[0]:
        return FP_INDEX
    state.scalars.fp[index] = state.registers.fp[rs]
    return OK
