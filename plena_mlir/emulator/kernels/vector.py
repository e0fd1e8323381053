"""The vector unit (machine specification, section 4.2).

An instruction first computes its result for all lanes in float32; `finish` applies the mask and rounds to bf16. `mask` selects
heads of `head` lanes by its bits, or is ALL_LANES. Every function returns a status of `traps`.
"""

from __future__ import annotations

import numpy as np

from plena_mlir.emulator.kernels import opcodes as op
from plena_mlir.emulator.kernels.memory import row_to_read, row_to_write, rows_to_read
from plena_mlir.emulator.kernels.state import F32, Scalars, Unary, Vram
from plena_mlir.emulator.kernels.traps import FP_INDEX, INT_INDEX, OK, STRICT_POISON_TOPK, TOPK_POLICY, VRAM_ADDRESS
from plena_mlir.numerics.bf16 import EXP_LIMIT, Integer, Real, round_register, store_f32
from plena_mlir.numerics.compile import inline_kernel, inner_kernel
from plena_mlir.numerics.reduce import row_max, row_sum

ALL_LANES = -1
"""The mask of an instruction without mask flag."""


@inline_kernel
def is_selected(mask: Integer, index: Integer) -> bool:
    """Whether a mask selects head `index`; the mask register has 32 bits."""
    return bool(index < 32 and (mask >> index) & 1 == 1)


@inner_kernel
def store_result(vram: Vram, address: Integer) -> int:
    """Write the result row to `address`, rounded to bf16."""
    row = row_to_write(vram, address)
    if row < 0:
        return VRAM_ADDRESS
    target, result = vram.rows[row], vram.result
    for lane in range(target.shape[0]):
        target[lane] = store_f32(result[lane])
    return OK


@inner_kernel
def finish(vram: Vram, source: F32, address: Integer, mask: Integer, head: Integer) -> int:
    """Write the result row to `address`: rounded to bf16 where the mask selects, a copy of `source` elsewhere."""
    if mask == ALL_LANES:
        return store_result(vram, address)
    row = row_to_write(vram, address)
    if row < 0:
        return VRAM_ADDRESS
    target = vram.rows[row]
    for index in range(target.shape[0] // head):
        if is_selected(mask, index):
            for lane in range(index * head, (index + 1) * head):
                target[lane] = store_f32(vram.result[lane])
        else:
            for lane in range(index * head, (index + 1) * head):
                target[lane] = store_f32(source[lane])
    return OK


@inline_kernel
def combine(word: Integer, x: F32, y: F32, result: F32) -> None:
    """result = x operation y, lane by lane in float32, for the instruction `word`."""
    code = word & op.OPCODE_MASK
    if code == op.V_ADD_VV or code == op.V_ADD_VF:
        for lane in range(x.shape[0]):
            result[lane] = x[lane] + y[lane]
    elif code == op.V_SUB_VF and (word >> op.FUNCT1_SHIFT) & op.FIELD_MASK:
        for lane in range(x.shape[0]):
            result[lane] = y[lane] - x[lane]
    elif code == op.V_SUB_VV or code == op.V_SUB_VF:
        for lane in range(x.shape[0]):
            result[lane] = x[lane] - y[lane]
    elif code == op.V_MUL_VV or code == op.V_MUL_VF:
        for lane in range(x.shape[0]):
            result[lane] = x[lane] * y[lane]
    elif code == op.V_MAX_VF:
        for lane in range(x.shape[0]):
            result[lane] = y[lane] if y[lane] > x[lane] or y[lane] != y[lane] else x[lane]
    else:
        for lane in range(x.shape[0]):
            result[lane] = y[lane] if y[lane] < x[lane] or y[lane] != y[lane] else x[lane]


@inner_kernel
def v_row_row(vram: Vram, word: Integer, target: Integer, x_at: Integer, y_at: Integer, mask: Integer, head: Integer) -> int:
    """V_ADD_VV, V_SUB_VV, V_MUL_VV."""
    x_row, y_row = row_to_read(vram, x_at), row_to_read(vram, y_at)
    if x_row < 0 or y_row < 0:
        return VRAM_ADDRESS
    x = vram.rows[x_row]
    combine(word, x, vram.rows[y_row], vram.result)
    return finish(vram, x, target, mask, head)


@inner_kernel
def v_row_scalar(vram: Vram, word: Integer, target: Integer, x_at: Integer, y: Real, mask: Integer, head: Integer) -> int:
    """V_ADD_VF, V_SUB_VF, V_MUL_VF, V_MAX_VF, V_MIN_VF."""
    x_row = row_to_read(vram, x_at)
    if x_row < 0:
        return VRAM_ADDRESS
    x = vram.rows[x_row]
    vram.operand[:] = y
    combine(word, x, vram.operand, vram.result)
    return finish(vram, x, target, mask, head)


@inline_kernel
def bf16_index(value: Real) -> Integer:
    """The position of a bf16 value in the unary tables."""
    return np.int64(np.float32(value).view(np.uint32)) >> 16


@inline_kernel
def clamp_exponent(value: Real) -> Real:
    """The argument that exp really sees; NaN stays."""
    if value > EXP_LIMIT:
        return np.float32(EXP_LIMIT)
    if value < -EXP_LIMIT:
        return np.float32(-EXP_LIMIT)
    return np.float32(value)


@inner_kernel
def v_exp(vram: Vram, unary: Unary, target: Integer, x_at: Integer, mask: Integer, head: Integer) -> int:
    """V_EXP_V; the lanes that the mask leaves out come back clamped."""
    x_row = row_to_read(vram, x_at)
    if x_row < 0:
        return VRAM_ADDRESS
    x, clamped = vram.rows[x_row], vram.operand
    for lane in range(x.shape[0]):
        clamped[lane] = clamp_exponent(x[lane])
        vram.result[lane] = unary.exp[bf16_index(clamped[lane])]
    return finish(vram, clamped, target, mask, head)


@inner_kernel
def v_reciprocal(vram: Vram, unary: Unary, target: Integer, x_at: Integer, mask: Integer, head: Integer) -> int:
    """V_RECI_V."""
    x_row = row_to_read(vram, x_at)
    if x_row < 0:
        return VRAM_ADDRESS
    x = vram.rows[x_row]
    for lane in range(x.shape[0]):
        vram.result[lane] = unary.reciprocal[bf16_index(x[lane])]
    return finish(vram, x, target, mask, head)


@inner_kernel
def v_total(vram: Vram, x_at: Integer, mask: Integer, head: Integer) -> int:
    """The float32 row total of V_RED_SUM into result[0].

    Masked, every lane of a selected head counts as the sum of that head.
    """
    x_row = row_to_read(vram, x_at)
    if x_row < 0:
        return VRAM_ADDRESS
    x = vram.rows[x_row]
    if mask == ALL_LANES:
        vram.result[0] = row_sum(x)
        return OK
    for index in range(x.shape[0] // head):
        first = index * head
        selected = is_selected(mask, index)
        slice_sum = row_sum(x[first : first + head]) if selected else np.float32(0.0)
        for lane in range(first, first + head):
            vram.operand[lane] = slice_sum if selected else x[lane]
    vram.result[0] = row_sum(vram.operand)
    return OK


@inner_kernel
def v_largest(vram: Vram, x_at: Integer) -> int:
    """The row maximum of V_RED_MAX into result[0]; the mask has no effect."""
    x_row = row_to_read(vram, x_at)
    if x_row < 0:
        return VRAM_ADDRESS
    vram.result[0] = row_max(vram.rows[x_row])
    return OK


@inner_kernel
def v_shift(vram: Vram, target: Integer, x_at: Integer, shift: Integer) -> int:
    """V_SHFT_V: toward higher lanes, zeros from below."""
    x_row = row_to_read(vram, x_at)
    if x_row < 0:
        return VRAM_ADDRESS
    x = vram.rows[x_row]
    for lane in range(x.shape[0]):
        vram.result[lane] = x[lane - shift] if lane >= shift else np.float32(0.0)
    return store_result(vram, target)


@inner_kernel
def s_map_v_fp(vram: Vram, scalars: Scalars, target: Integer, index: Integer) -> int:
    """S_MAP_V_FP: VLEN entries of the FP SRAM become a row."""
    width = vram.rows.shape[1]
    if index + width > scalars.fp.shape[0]:
        return FP_INDEX
    for lane in range(width):
        vram.result[lane] = scalars.fp[index + lane]
    return store_result(vram, target)


@inline_kernel
def order_key(value: Real) -> Integer:
    """An integer that orders float32 values totally, with +0 above -0."""
    bits = np.int64(np.float32(value).view(np.uint32))
    return bits if bits < 0x80000000 else 0x7FFFFFFF - bits


@inline_kernel
def ranked_value(value: Real) -> Real:
    """What a lane counts as in V_TOPK: NaN as minus infinity."""
    if value != value:
        return np.float32(-np.inf)
    return np.float32(value)


@inner_kernel
def v_topk(
    vram: Vram, scalars: Scalars, strict: Integer, weight_index: Integer, x_at: Integer, position_index: Integer, policy: Integer
) -> int:
    """V_TOPK: the largest k of n lanes, best first; their softmax weights to FP SRAM, their positions to INT SRAM."""
    if policy > 1:
        return TOPK_POLICY
    count, chosen = (128, 8) if policy else (32, 4)
    width = vram.rows.shape[1]
    first = rows_to_read(vram, x_at, (count + width - 1) // width)
    if first < 0:
        return VRAM_ADDRESS
    fp, integer = scalars.fp, scalars.integer
    if weight_index + chosen > fp.shape[0]:
        return FP_INDEX
    if position_index + chosen > integer.shape[0]:
        return INT_INDEX
    weights = vram.result
    largest, total = np.float32(0.0), np.float32(0.0)
    before_key, before_lane = 1 << 40, -1
    for rank in range(chosen):
        # The best of those that come after the previous one: smaller, or equal and further right.
        best_key, best, value = -(1 << 40), -1, np.float32(0.0)
        for start in range(0, count, width):
            row = vram.rows[first + start // width]
            for lane in range(min(width, count - start)):
                if strict and row[lane] != row[lane]:
                    return STRICT_POISON_TOPK
                lane_value = ranked_value(row[lane])
                key = order_key(lane_value)
                comes_after = key < before_key or (key == before_key and start + lane > before_lane)
                if comes_after and key > best_key:
                    best_key, best, value = key, start + lane, lane_value
        before_key, before_lane = best_key, best
        if rank == 0:
            largest = value
        weights[rank] = np.float32(np.exp(np.float64(value - largest)))
        total += weights[rank]
        integer[position_index + rank] = best
    usable = total > 0.0 and total < np.inf
    for rank in range(chosen):
        fp[weight_index + rank] = round_register(weights[rank] / total) if usable else np.float32(0.0)
    return OK
