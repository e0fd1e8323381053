"""Writes to registers and the scalar memories, with the rules of gp0, f0 and the strict mode (sections 4.3 to 4.5)."""

from __future__ import annotations

from plena_mlir.emulator.kernels.state import POISON_INT, WORD_MASK, Registers, Scalars
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
from plena_mlir.numerics.compile import inline_kernel, inner_kernel


@inline_kernel
def write_gp(registers: Registers, strict: Integer, rd: Integer, value: Integer) -> int:
    """gp[rd] = value mod 2^32. gp0 is an ordinary register of the machine."""
    if rd == 0 and strict:
        return STRICT_ZERO_REGISTER
    registers.gp[rd] = value & WORD_MASK
    return OK


@inline_kernel
def write_fp(registers: Registers, strict: Integer, rd: Integer, value: Real) -> int:
    """f[rd] = a value that is bf16 already."""
    if value != value and strict:
        return STRICT_POISON_FP
    registers.fp[rd] = value
    return OK


@inline_kernel
def write_alu(registers: Registers, strict: Integer, rd: Integer, value: Real) -> int:
    """f[rd] = value rounded to bf16; writes to f0 are dropped."""
    if rd == 0:
        return OK
    if rd > 7:
        return FP_REGISTER
    return write_fp(registers, strict, rd, round_register(value))


@inner_kernel
def load_int(registers: Registers, scalars: Scalars, strict: Integer, rd: Integer, index: Integer) -> int:
    """S_LD_INT."""
    if index >= scalars.integer.shape[0]:
        return INT_INDEX
    if strict and scalars.integer[index] == POISON_INT:
        return STRICT_POISON_INT
    return write_gp(registers, strict, rd, scalars.integer[index])


@inner_kernel
def store_int(registers: Registers, scalars: Scalars, rs: Integer, index: Integer) -> int:
    """S_ST_INT."""
    if index >= scalars.integer.shape[0]:
        return INT_INDEX
    scalars.integer[index] = registers.gp[rs]
    return OK


@inner_kernel
def load_fp(registers: Registers, scalars: Scalars, strict: Integer, rd: Integer, index: Integer) -> int:
    """S_LD_FP, the one instruction that writes f0."""
    if rd > 7:
        return FP_REGISTER
    if index >= scalars.fp.shape[0]:
        return FP_INDEX
    if rd == 0 and strict:
        return STRICT_ZERO_REGISTER
    return write_fp(registers, strict, rd, scalars.fp[index])


@inner_kernel
def store_fp(registers: Registers, scalars: Scalars, rs: Integer, index: Integer) -> int:
    """S_ST_FP."""
    if rs > 7:
        return FP_REGISTER
    if index >= scalars.fp.shape[0]:
        return FP_INDEX
    scalars.fp[index] = registers.fp[rs]
    return OK
