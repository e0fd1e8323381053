"""One instruction on the machine: decode the word, execute it (machine specification, sections 2 and 4).

Loop instructions are not here, since they decide what runs next: see `branch`.
"""

from __future__ import annotations

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.matrix import m_bmm, m_bmm_wo, m_bmv_wo, m_btmv, m_mm, m_mm_wo, m_mv, m_mv_wo
from plena_mlir.emulator.kernels.scalar import load_fp, load_int, store_fp, store_int, write_alu, write_fp, write_gp
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
from plena_mlir.emulator.kernels.transfer import h_prefetch_m, h_prefetch_v, h_store_v, row_step, transfer_addresses
from plena_mlir.emulator.kernels.traps import BATCHED_RD, BMV, FP_REGISTER, INVALID, OK, STRICT_POISON_FP
from plena_mlir.emulator.kernels.vector import (
    ALL_LANES,
    bf16_index,
    clamp_exponent,
    s_map_v_fp,
    v_exp,
    v_largest,
    v_reciprocal,
    v_row_row,
    v_row_scalar,
    v_shift,
    v_topk,
    v_total,
)
from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import merged_kernel
from plena_mlir.numerics.reduce import add_to_register, max_with_register


@merged_kernel
def step(word: Integer, state: State) -> int:
    """Execute one instruction word that is not a loop instruction; returns a status of `traps`."""
    code = word & op.OPCODE_MASK
    rd = (word >> op.RD_SHIFT) & op.FIELD_MASK
    rs1 = (word >> op.RS1_SHIFT) & op.FIELD_MASK
    rs2 = (word >> op.RS2_SHIFT) & op.FIELD_MASK
    rs3 = (word >> op.RS3_SHIFT) & op.FIELD_MASK
    imm18 = word >> op.IMM18_SHIFT
    geometry, registers, scalars = state.geometry, state.registers, state.scalars
    vram, matrix, hbm = state.vram, state.matrix, state.hbm
    gp, fp, strict = registers.gp, registers.fp, geometry.strict

    # Integer arithmetic and configuration.
    if code == op.S_ADDI_INT:
        return write_gp(registers, strict, rd, gp[rs1] + imm18)
    if code == op.S_ADD_INT:
        return write_gp(registers, strict, rd, gp[rs1] + gp[rs2])
    if code == op.S_SUB_INT:
        return write_gp(registers, strict, rd, gp[rs1] - gp[rs2])
    if code == op.S_MUL_INT:
        return write_gp(registers, strict, rd, gp[rs1] * gp[rs2])
    if code == op.S_LUI_INT:
        return write_gp(registers, strict, rd, (word >> op.IMM22_SHIFT) << 12)
    if code == op.S_LD_INT:
        return load_int(registers, scalars, strict, rd, (gp[rs1] + imm18) & WORD_MASK)
    if code == op.S_ST_INT:
        return store_int(registers, scalars, rd, (gp[rs1] + imm18) & WORD_MASK)
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
        return load_fp(registers, scalars, strict, rd, (gp[rs1] + imm18) & WORD_MASK)
    if code == op.S_ST_FP:
        return store_fp(registers, scalars, rd, (gp[rs1] + imm18) & WORD_MASK)
    if code == op.S_ADD_FP or code == op.S_SUB_FP or code == op.S_MUL_FP or code == op.S_MAX_FP:
        if rs1 > 7 or rs2 > 7:
            return FP_REGISTER
        x, y = fp[rs1], fp[rs2]
        if code == op.S_ADD_FP:
            x += y
        elif code == op.S_SUB_FP:
            x -= y
        elif code == op.S_MUL_FP:
            x *= y
        elif y > x:
            x = y
        return write_alu(registers, strict, rd, x)
    if code == op.S_EXP_FP or code == op.S_RECI_FP or code == op.S_SQRT_FP:
        if rs1 > 7:
            return FP_REGISTER
        if code == op.S_EXP_FP:
            x = state.unary.exp[bf16_index(clamp_exponent(fp[rs1]))]
        elif code == op.S_RECI_FP:
            x = state.unary.reciprocal[bf16_index(fp[rs1])]
        else:
            x = state.unary.sqrt[bf16_index(fp[rs1])]
        return write_alu(registers, strict, rd, x)
    if code == op.S_MAP_V_FP:
        return s_map_v_fp(vram, scalars, gp[rd], (gp[rs1] + imm18) & WORD_MASK)

    # The vector unit.
    mask = registers.config[V_MASK_REG] if rs3 else ALL_LANES
    if code == op.V_ADD_VV or code == op.V_SUB_VV or code == op.V_MUL_VV:
        return v_row_row(vram, word, gp[rd], gp[rs1], gp[rs2], mask, geometry.hlen)
    if code == op.V_ADD_VF or code == op.V_SUB_VF or code == op.V_MUL_VF or code == op.V_MAX_VF or code == op.V_MIN_VF:
        if rs2 > 7:
            return FP_REGISTER
        return v_row_scalar(vram, word, gp[rd], gp[rs1], fp[rs2], mask, geometry.hlen)
    if code == op.V_EXP_V:
        return v_exp(vram, state.unary, gp[rd], gp[rs1], mask, geometry.hlen)
    if code == op.V_RECI_V:
        return v_reciprocal(vram, state.unary, gp[rd], gp[rs1], mask, geometry.hlen)
    if code == op.V_RED_SUM or code == op.V_RED_MAX:
        if rd == 0:
            return OK
        if rd > 7:
            return FP_REGISTER
        if code == op.V_RED_SUM:
            status = v_total(vram, gp[rs1], mask, geometry.hlen)
            value = add_to_register(fp[rd], vram.result[0])
        else:
            status = v_largest(vram, gp[rs1])
            # The register would ignore a NaN, and its content depend on who wrote the row.
            if strict and vram.result[0] != vram.result[0]:
                status = STRICT_POISON_FP
            value = max_with_register(fp[rd], vram.result[0])
        return write_fp(registers, strict, rd, value) if status == OK else status
    if code == op.V_SHFT_V:
        return v_shift(vram, gp[rd], gp[rs1], gp[rs2])
    if code == op.V_TOPK:
        return v_topk(vram, scalars, strict, gp[rd], gp[rs1], gp[rs2], rs3)

    # The matrix unit.
    if code == op.M_MM or code == op.M_TMM:
        transposed = code == op.M_TMM
        weights_at, rows_at = (gp[rs2], gp[rs1]) if transposed else (gp[rs1], gp[rs2])
        return m_mm(geometry, vram, matrix, weights_at, rows_at, transposed)
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
        elements, scales = transfer_addresses(registers, word)
        stride = row_step(geometry, registers, word)
        if code == op.H_PREFETCH_M:
            stream = STREAM_M_KV if other else STREAM_M_WEIGHT
            return h_prefetch_m(geometry, hbm, matrix, gp[rd], elements, scales, stride, stream)
        stream = STREAM_V_KV if other else STREAM_V_ACT
        if code == op.H_PREFETCH_V:
            return h_prefetch_v(geometry, hbm, vram, gp[rd], elements, scales, stride, stream)
        return h_store_v(geometry, hbm, vram, gp[rd], elements, scales, stride, stream)
    return INVALID
