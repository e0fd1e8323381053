"""One instruction on the machine: decode the word, execute it (machine specification, sections 2 and 4).

Loop instructions are not here, since they decide what runs next: see `branch`.
"""

from __future__ import annotations

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.matrix import m_bmm, m_bmm_wo, m_bmv_wo, m_btmv, m_mm, m_mm_wo, m_mv, m_mv_wo
from plena_mlir.emulator.kernels.scalar import load_fp, load_int, store_fp, store_int, write_alu, write_gp, write_reduced
from plena_mlir.emulator.kernels.state import (
    SCALE_REG,
    STREAM_M_KV,
    STREAM_M_WEIGHT,
    STREAM_V_ACT,
    STREAM_V_KV,
    STRIDE_REG,
    V_MASK_REG,
    WORD_MASK,
    State,
)
from plena_mlir.emulator.kernels.transfer import h_prefetch_m, h_prefetch_v, h_store_v
from plena_mlir.emulator.kernels.traps import BATCHED_RD, BMV, FP_REGISTER, INVALID, OK
from plena_mlir.emulator.kernels.vector import (
    ADD,
    EXP,
    MAX,
    MIN,
    MUL,
    RECIPROCAL,
    REVERSE_SUB,
    SUB,
    bf16_index,
    clamp_exponent,
    s_map_v_fp,
    v_largest,
    v_row_row,
    v_row_scalar,
    v_shift,
    v_topk,
    v_total,
    v_unary,
)
from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import inline_kernel
from plena_mlir.numerics.reduce import add_to_register, max_with_register


@inline_kernel
def step(word: Integer, state: State) -> int:
    """Execute one instruction word that is not a loop instruction; returns a status of `traps`."""
    code = word & op.OPCODE_MASK
    rd = (word >> op.RD_SHIFT) & op.FIELD_MASK
    rs1 = (word >> op.RS1_SHIFT) & op.FIELD_MASK
    rs2 = (word >> op.RS2_SHIFT) & op.FIELD_MASK
    rs3 = (word >> op.RS3_SHIFT) & op.FIELD_MASK
    imm18 = word >> op.IMM18_SHIFT
    geometry, registers, vram, matrix = state.geometry, state.registers, state.vram, state.matrix
    gp, fp = registers.gp, registers.fp

    # Integer arithmetic and configuration.
    if code == op.S_ADDI_INT:
        return write_gp(state, rd, gp[rs1] + imm18)
    if code == op.S_ADD_INT:
        return write_gp(state, rd, gp[rs1] + gp[rs2])
    if code == op.S_SUB_INT:
        return write_gp(state, rd, gp[rs1] - gp[rs2])
    if code == op.S_MUL_INT:
        return write_gp(state, rd, gp[rs1] * gp[rs2])
    if code == op.S_LUI_INT:
        return write_gp(state, rd, (word >> op.IMM22_SHIFT) << 12)
    if code == op.S_LD_INT:
        return load_int(state, rd, (gp[rs1] + imm18) & WORD_MASK)
    if code == op.S_ST_INT:
        return store_int(state, rd, (gp[rs1] + imm18) & WORD_MASK)
    if code == op.C_SET_ADDR_REG:
        registers.addr[rd] = (gp[rs1] << 32) | gp[rs2]
        return OK
    if code == op.C_SET_SCALE_REG:
        registers.config[SCALE_REG] = gp[rd]
        return OK
    if code == op.C_SET_STRIDE_REG:
        registers.config[STRIDE_REG] = gp[rd]
        return OK
    if code == op.C_SET_V_MASK_REG:
        registers.config[V_MASK_REG] = gp[rd]
        return OK

    # Scalar floating point.
    if code == op.S_LD_FP:
        return load_fp(state, rd, (gp[rs1] + imm18) & WORD_MASK)
    if code == op.S_ST_FP:
        return store_fp(state, rd, (gp[rs1] + imm18) & WORD_MASK)
    if code == op.S_ADD_FP or code == op.S_SUB_FP or code == op.S_MUL_FP or code == op.S_MAX_FP:
        if rs1 > 7 or rs2 > 7:
            return FP_REGISTER
        if code == op.S_ADD_FP:
            return write_alu(state, rd, fp[rs1] + fp[rs2])
        if code == op.S_SUB_FP:
            return write_alu(state, rd, fp[rs1] - fp[rs2])
        if code == op.S_MUL_FP:
            return write_alu(state, rd, fp[rs1] * fp[rs2])
        return write_alu(state, rd, fp[rs2] if fp[rs2] > fp[rs1] else fp[rs1])
    if code == op.S_EXP_FP or code == op.S_RECI_FP or code == op.S_SQRT_FP:
        if rs1 > 7:
            return FP_REGISTER
        if code == op.S_EXP_FP:
            return write_alu(state, rd, state.tables.exp[bf16_index(clamp_exponent(fp[rs1]))])
        if code == op.S_RECI_FP:
            return write_alu(state, rd, state.tables.reciprocal[bf16_index(fp[rs1])])
        return write_alu(state, rd, state.tables.sqrt[bf16_index(fp[rs1])])
    if code == op.S_MAP_V_FP:
        return s_map_v_fp(state, gp[rd], (gp[rs1] + imm18) & WORD_MASK)

    # The vector unit.
    if code == op.V_ADD_VV:
        return v_row_row(state, ADD, gp[rd], gp[rs1], gp[rs2], rs3)
    if code == op.V_SUB_VV:
        return v_row_row(state, SUB, gp[rd], gp[rs1], gp[rs2], rs3)
    if code == op.V_MUL_VV:
        return v_row_row(state, MUL, gp[rd], gp[rs1], gp[rs2], rs3)
    if code == op.V_SHFT_V:
        return v_shift(state, gp[rd], gp[rs1], gp[rs2])
    if code == op.V_EXP_V:
        return v_unary(state, EXP, gp[rd], gp[rs1], rs3)
    if code == op.V_RECI_V:
        return v_unary(state, RECIPROCAL, gp[rd], gp[rs1], rs3)
    if code == op.V_ADD_VF or code == op.V_SUB_VF or code == op.V_MUL_VF or code == op.V_MAX_VF or code == op.V_MIN_VF:
        if rs2 > 7:
            return FP_REGISTER
        operation = ADD
        if code == op.V_SUB_VF:
            operation = REVERSE_SUB if (word >> op.FUNCT1_SHIFT) & op.FIELD_MASK else SUB
        elif code == op.V_MUL_VF:
            operation = MUL
        elif code == op.V_MAX_VF:
            operation = MAX
        elif code == op.V_MIN_VF:
            operation = MIN
        return v_row_scalar(state, operation, gp[rd], gp[rs1], fp[rs2], rs3)
    if code == op.V_RED_SUM or code == op.V_RED_MAX:
        if rd == 0:
            return OK
        if rd > 7:
            return FP_REGISTER
        value = state.scratch.result
        if code == op.V_RED_SUM:
            return write_reduced(state, rd, v_total(state, gp[rs1], rs3, value), add_to_register(fp[rd], value[0]))
        return write_reduced(state, rd, v_largest(state, gp[rs1], value), max_with_register(fp[rd], value[0]))
    if code == op.V_TOPK:
        return v_topk(state, gp[rd], gp[rs1], gp[rs2], rs3)

    # The matrix unit.
    if code == op.M_MM:
        return m_mm(geometry, vram, matrix, gp[rs1], gp[rs2], False)
    if code == op.M_TMM:
        return m_mm(geometry, vram, matrix, gp[rs2], gp[rs1], True)
    if code == op.M_MM_WO:
        return m_mm_wo(geometry, vram, matrix, (gp[rd] + imm18) & WORD_MASK, 1 if rs1 == 0 else gp[rs1])
    if code == op.M_BMM or code == op.M_BTMM:
        if rd != 0:
            return BATCHED_RD
        return m_bmm(geometry, vram, matrix, gp[rs1], gp[rs2], code == op.M_BTMM)
    if code == op.M_BMM_WO:
        return m_bmm_wo(geometry, vram, matrix, (gp[rd] + imm18) & WORD_MASK)
    if code == op.M_MV or code == op.M_TMV:
        return m_mv(geometry, vram, matrix, gp[rs1], gp[rs2], code == op.M_TMV)
    if code == op.M_MV_WO:
        return m_mv_wo(geometry, vram, matrix, (gp[rd] + imm18) & WORD_MASK)
    if code == op.M_BTMV:
        return m_btmv(geometry, vram, matrix, (gp[rs1] + gp[rd]) & WORD_MASK, gp[rs2])
    if code == op.M_BMV_WO:
        return m_bmv_wo(geometry, vram, matrix, (gp[rd] + imm18) & WORD_MASK)
    if code == op.M_BMV:
        return BMV

    # HBM.
    if code == op.H_PREFETCH_M or code == op.H_PREFETCH_V or code == op.H_STORE_V:
        other = (word >> op.FUNCT1_SHIFT) & op.FIELD_MASK
        if code == op.H_PREFETCH_M:
            return h_prefetch_m(state, gp[rd], gp[rs1], rs2, rs3, STREAM_M_KV if other else STREAM_M_WEIGHT)
        stream = STREAM_V_KV if other else STREAM_V_ACT
        if code == op.H_PREFETCH_V:
            return h_prefetch_v(state, gp[rd], gp[rs1], rs2, rs3, stream)
        return h_store_v(state, gp[rd], gp[rs1], rs2, rs3, stream)
    return INVALID
