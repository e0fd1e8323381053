"""The vector unit (machine specification, section 4.2).

An instruction first computes its result for all lanes in float32; `finish` rounds it to bf16 and applies the mask. Every function
returns a status of `traps`.
"""

from __future__ import annotations

import numpy as np

from plena_mlir.emulator.kernels.memory import row_to_read, row_to_write
from plena_mlir.emulator.kernels.state import F32, V_MASK_REG, WORD_MASK, State
from plena_mlir.emulator.kernels.traps import FP_INDEX, INT_INDEX, OK, TOPK_POLICY, VRAM_ADDRESS
from plena_mlir.numerics.bf16 import EXP_LIMIT, Integer, Real, round_register, store_f32
from plena_mlir.numerics.compile import allocating_kernel, inline_kernel, kernel
from plena_mlir.numerics.reduce import row_max, row_sum

ADD = 0
SUB = 1
REVERSE_SUB = 2
MUL = 3
MAX = 4
MIN = 5

EXP = 0
RECIPROCAL = 1


@inline_kernel
def is_selected(mask: Integer, lane: Integer, head: Integer) -> bool:
    """Whether the mask selects the head of a lane; masks have 32 bits."""
    bit = lane // head
    return bool(bit < 32 and (mask >> bit) & 1 == 1)


@kernel
def finish(state: State, source: F32, address: Integer, masked: Integer) -> int:
    """Write the result row to `address`: rounded to bf16 where the mask selects, a copy of `source` elsewhere."""
    row = row_to_write(state.vram, address)
    if row < 0:
        return VRAM_ADDRESS
    target, result = state.vram.rows[row], state.scratch.result
    if masked:
        mask = state.registers.config[V_MASK_REG]
        for lane in range(target.shape[0]):
            chosen = result[lane] if is_selected(mask, lane, state.geometry.hlen) else source[lane]
            target[lane] = store_f32(chosen)
    else:
        for lane in range(target.shape[0]):
            target[lane] = store_f32(result[lane])
    return OK


@inline_kernel
def combine(operation: Integer, x: F32, y: F32, result: F32) -> None:
    """result = x operation y, lane by lane in float32."""
    if operation == ADD:
        for lane in range(x.shape[0]):
            result[lane] = x[lane] + y[lane]
    elif operation == SUB:
        for lane in range(x.shape[0]):
            result[lane] = x[lane] - y[lane]
    elif operation == REVERSE_SUB:
        for lane in range(x.shape[0]):
            result[lane] = y[lane] - x[lane]
    elif operation == MUL:
        for lane in range(x.shape[0]):
            result[lane] = x[lane] * y[lane]
    elif operation == MAX:
        for lane in range(x.shape[0]):
            result[lane] = y[lane] if y[lane] > x[lane] or y[lane] != y[lane] else x[lane]
    else:
        for lane in range(x.shape[0]):
            result[lane] = y[lane] if y[lane] < x[lane] or y[lane] != y[lane] else x[lane]


@kernel
def v_row_row(state: State, operation: Integer, target: Integer, x_address: Integer, y_address: Integer, masked: Integer) -> int:
    """V_ADD_VV, V_SUB_VV, V_MUL_VV."""
    x_row, y_row = row_to_read(state.vram, x_address), row_to_read(state.vram, y_address)
    if x_row < 0 or y_row < 0:
        return VRAM_ADDRESS
    x = state.vram.rows[x_row]
    combine(operation, x, state.vram.rows[y_row], state.scratch.result)
    return finish(state, x, target, masked)


@kernel
def v_row_scalar(state: State, operation: Integer, target: Integer, x_address: Integer, scalar: Real, masked: Integer) -> int:
    """V_ADD_VF, V_SUB_VF, V_MUL_VF, V_MAX_VF, V_MIN_VF."""
    x_row = row_to_read(state.vram, x_address)
    if x_row < 0:
        return VRAM_ADDRESS
    x = state.vram.rows[x_row]
    state.scratch.operand[:] = scalar
    combine(operation, x, state.scratch.operand, state.scratch.result)
    return finish(state, x, target, masked)


@inline_kernel
def bf16_index(value: Real) -> Integer:
    """The position of a bf16 value in the tables."""
    return np.int64(np.float32(value).view(np.uint32)) >> 16


@inline_kernel
def clamp_exponent(value: Real) -> Real:
    """The argument that exp really sees; NaN stays."""
    if value > EXP_LIMIT:
        return np.float32(EXP_LIMIT)
    if value < -EXP_LIMIT:
        return np.float32(-EXP_LIMIT)
    return np.float32(value)


@kernel
def v_unary(state: State, operation: Integer, target: Integer, x_address: Integer, masked: Integer) -> int:
    """V_EXP_V and V_RECI_V; the lanes V_EXP_V leaves out come back clamped."""
    x_row = row_to_read(state.vram, x_address)
    if x_row < 0:
        return VRAM_ADDRESS
    x, result = state.vram.rows[x_row], state.scratch.result
    if operation == RECIPROCAL:
        for lane in range(x.shape[0]):
            result[lane] = state.tables.reciprocal[bf16_index(x[lane])]
        return finish(state, x, target, masked)
    operand = state.scratch.operand
    for lane in range(x.shape[0]):
        operand[lane] = clamp_exponent(x[lane])
        result[lane] = state.tables.exp[bf16_index(operand[lane])]
    return finish(state, operand, target, masked)


@kernel
def v_total(state: State, x_address: Integer, masked: Integer, total: F32) -> int:
    """The float32 row total of V_RED_SUM into total[0].

    Masked, every lane of a selected head counts as the sum of that head.
    """
    x_row = row_to_read(state.vram, x_address)
    if x_row < 0:
        return VRAM_ADDRESS
    x = state.vram.rows[x_row]
    if not masked:
        total[0] = row_sum(x)
        return OK
    head, mask = state.geometry.hlen, state.registers.config[V_MASK_REG]
    operand = state.scratch.operand
    for lane in range(x.shape[0]):
        operand[lane] = x[lane]
    for first in range(0, x.shape[0], head):
        if is_selected(mask, first, head):
            operand[first : first + head] = row_sum(x[first : first + head])
    total[0] = row_sum(operand)
    return OK


@kernel
def v_largest(state: State, x_address: Integer, largest: F32) -> int:
    """The row maximum of V_RED_MAX into largest[0]; the mask has no effect."""
    x_row = row_to_read(state.vram, x_address)
    if x_row < 0:
        return VRAM_ADDRESS
    largest[0] = row_max(state.vram.rows[x_row])
    return OK


@kernel
def v_shift(state: State, target: Integer, x_address: Integer, shift: Integer) -> int:
    """V_SHFT_V: toward higher lanes, zeros from below."""
    x_row = row_to_read(state.vram, x_address)
    if x_row < 0:
        return VRAM_ADDRESS
    x, result = state.vram.rows[x_row], state.scratch.result
    for lane in range(x.shape[0]):
        result[lane] = x[lane - shift] if lane >= shift else np.float32(0.0)
    return finish(state, x, target, 0)


@kernel
def s_map_v_fp(state: State, target: Integer, index: Integer) -> int:
    """S_MAP_V_FP: VLEN entries of the FP SRAM become a row."""
    width = state.vram.rows.shape[1]
    if index + width > state.scalars.fp.shape[0]:
        return FP_INDEX
    for lane in range(width):
        state.scratch.result[lane] = state.scalars.fp[index + lane]
    return finish(state, state.scratch.result, target, 0)


@inline_kernel
def order_key(value: Real) -> Integer:
    """An integer that orders float32 values totally: NaN counts as minus infinity, +0 is above -0."""
    bits = np.int64(np.float32(-np.inf if value != value else value).view(np.uint32))
    return bits if bits < 0x80000000 else 0x7FFFFFFF - bits


@allocating_kernel
def v_topk(state: State, weight_index: Integer, x_address: Integer, position_index: Integer, policy: Integer) -> int:
    """V_TOPK: the largest k of n lanes, best first; their softmax weights to FP SRAM, their positions to INT SRAM."""
    if policy > 1:
        return TOPK_POLICY
    count, chosen = (128, 8) if policy else (32, 4)
    width = state.vram.rows.shape[1]
    values = np.empty(count, np.float32)
    for first in range(0, count, width):
        row = row_to_read(state.vram, (x_address + first) & WORD_MASK)
        if row < 0:
            return VRAM_ADDRESS
        amount = min(width, count - first)
        values[first : first + amount] = state.vram.rows[row, :amount]
    if weight_index + chosen > state.scalars.fp.shape[0]:
        return FP_INDEX
    if position_index + chosen > state.scalars.integer.shape[0]:
        return INT_INDEX
    taken = np.zeros(count, np.bool_)
    weights = np.empty(chosen, np.float32)
    largest = np.float32(0.0)
    total = np.float32(0.0)
    for rank in range(chosen):
        best = -1
        for lane in range(count):
            if not taken[lane] and (best < 0 or order_key(values[lane]) > order_key(values[best])):
                best = lane
        taken[best] = True
        value = np.float32(-np.inf) if values[best] != values[best] else values[best]
        if rank == 0:
            largest = value
        weights[rank] = np.float32(np.exp(np.float64(value - largest)))
        total += weights[rank]
        state.scalars.integer[position_index + rank] = best
    usable = total > 0.0 and total < np.inf
    for rank in range(chosen):
        state.scalars.fp[weight_index + rank] = round_register(weights[rank] / total) if usable else np.float32(0.0)
    return OK
