"""The matrix unit against products written out in numpy."""

import numpy as np
import pytest

from plena_mlir.errors import Trap
from plena_mlir.numerics import round_bf16
from plena_mlir.target import Target, load_target
from tests.emulator.programs import TINY, f32_product, hbm_tile, load_tile_asm, random_rows, run_asm, stored

TARGETS = [load_target(name) for name in ("8x4x4", "16x4x16", "16x8x8", "24x2x6", "16x16x16")]
WEIGHTS_SEED = 7


def setup(target: Target, rows: int) -> tuple[np.ndarray, np.ndarray, dict[str, object]]:
    """The rows in Vector SRAM, the tile in HBM, and the memories that hold them."""
    x = random_rows(rows, target.mlen)
    w = random_rows(target.mlen, target.mlen, WEIGHTS_SEED)
    return x, stored(w), {"vram": x, "hbm": hbm_tile(w), "target": target}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("mnemonic", ["M_MM", "M_TMM"])
def test_micro_tile_products_accumulate_over_steps(target: Target, mnemonic: str):
    length, block = target.mlen, target.blen
    x, tile, memories = setup(target, 2 * block)
    column = block * (length // block - 1)
    operands = "gp2, gp3" if mnemonic == "M_MM" else "gp3, gp2"
    result = run_asm(
        load_tile_asm(target)
        + f"S_ADDI_INT gp2, gp0, {column * length}\n{mnemonic} 0, {operands}\n"
        + f"S_ADDI_INT gp3, gp0, {block * length}\n{mnemonic} 0, {operands}\n"
        + f"S_ADDI_INT gp4, gp0, {2 * block * length}\nM_MM_WO gp4, gp0, {column}\n"
        # The second write-out shows that the first cleared the accumulator.
        + f"S_ADDI_INT gp5, gp0, 2\nM_MM_WO gp4, gp5, {length * block}\n",
        **memories,
    )
    weights = (tile if mnemonic == "M_MM" else tile.T)[:, column : column + block]
    first, second = f32_product(x[:block], weights), f32_product(x[block:], weights)
    out = result.machine.vram_rows(2 * block, block)
    np.testing.assert_array_equal(out[:, column:], round_bf16(first + second))
    assert not out[:, :column].any()
    strided = result.machine.vram_rows(3 * block, 2 * block)
    assert not strided.any()
    touched = result.machine.state.vram.touched[3 * block : 5 * block]
    assert touched.tolist() == [2, 0] * block


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_transposed_broadcast_product_of_contiguous_heads(target: Target):
    length, head, heads = target.mlen, target.hlen, target.broadcast
    x, tile, memories = setup(target, length)
    first = length - head
    result = run_asm(
        load_tile_asm(target)
        + f"S_ADDI_INT gp2, gp0, {first}\nM_BTMM 0, gp2, gp0\nM_BTMM 0, gp2, gp0\n"
        + f"S_ADDI_INT gp3, gp0, {length * length}\nM_BMM_WO gp3, 0\n",
        **memories,
    )
    for b in range(heads):
        part = f32_product(x[:, b * head : (b + 1) * head], tile[:, first : first + head].T) * np.float32(0.25)
        np.testing.assert_array_equal(result.machine.vram_rows(length * (1 + b), length), round_bf16(part + part))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_broadcast_product_of_interleaved_heads(target: Target):
    length, head, heads = target.mlen, target.hlen, target.broadcast
    x, tile, memories = setup(target, length)
    first = length - head
    result = run_asm(
        load_tile_asm(target)
        + f"S_ADDI_INT gp2, gp0, {first}\nM_BMM 0, gp2, gp0\n"
        + f"S_ADDI_INT gp3, gp0, {length * length}\nM_BMM_WO gp3, {length}\n",
        **memories,
    )
    for b in range(heads):
        part = f32_product(x[:, b::heads], tile[first : first + head]) * np.float32(0.25)
        np.testing.assert_array_equal(result.machine.vram_rows(length * (1 + b) + 1, length), round_bf16(part))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_broadcast_vector_product_adds_its_two_addresses(target: Target):
    length, head, heads = target.mlen, target.hlen, target.broadcast
    x, tile, memories = setup(target, 1)
    first = length - head
    result = run_asm(
        load_tile_asm(target)
        + f"S_ADDI_INT gp2, gp0, {first}\nM_BTMV gp2, gp0, gp0\nM_BTMV 0, gp2, gp0\n"
        + f"S_ADDI_INT gp3, gp0, {length}\nM_BMV_WO gp3, 0\n",
        **memories,
    )
    out = result.machine.vram_rows(1, heads)
    for b in range(heads):
        part = f32_product(x[:, b * head : (b + 1) * head], tile[:, first : first + head].T)[0] * np.float32(0.25)
        np.testing.assert_array_equal(out[b], round_bf16(part + part))


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_vector_products(target: Target):
    length, block = target.mlen, target.blen
    x, tile, memories = setup(target, 1)
    result = run_asm(
        load_tile_asm(target)
        + f"S_ADDI_INT gp2, gp0, {length - block}\nM_MV 0, gp2, gp0\n"
        + f"S_ADDI_INT gp3, gp0, {length}\nM_MV_WO gp3, {length - block}\nM_TMV 0, gp0, gp0\nM_MV_WO gp3, {length}\n",
        **memories,
    )
    out = result.machine.vram_rows(1, 2)
    np.testing.assert_array_equal(out[0, length - block :], round_bf16(f32_product(x, tile[:, length - block :])[0]))
    np.testing.assert_array_equal(out[1, :block], round_bf16(f32_product(x, tile[:block].T)[0]))


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("S_ADDI_INT gp2, gp0, 4\nM_MM 0, gp2, gp0", "multiple of BLEN"),
        ("S_ADDI_INT gp2, gp0, 8\nM_MM 0, gp2, gp0", "multiple of BLEN"),
        ("S_LUI_INT gp2, 64\nM_MM 0, gp2, gp0", "past the last tile"),
        ("S_ADDI_INT gp2, gp0, 8\nM_MV 0, gp2, gp0", "below MLEN"),
        ("S_ADDI_INT gp2, gp0, 4\nM_TMV 0, gp2, gp0", "base of a tile"),
        ("S_ADDI_INT gp2, gp0, 2\nM_BTMM 0, gp2, gp0", "multiple of HLEN"),
        ("S_ADDI_INT gp2, gp0, 8\nM_BMM 0, gp2, gp0", "below MLEN"),
        ("S_ADDI_INT gp2, gp0, 4\nM_MM 0, gp0, gp2", "multiple of VLEN"),
        ("M_MM_WO gp0, gp0, 2", "write-out lane"),
        ("M_MV_WO gp0, 2", "write-out lane"),
        ("M_BMM_WO gp0, 4", "multiple of VLEN"),
        ("M_BMV_WO gp0, 4", "multiple of VLEN"),
        ("S_LUI_INT gp2, 8192\nM_MM 0, gp0, gp2", "past the last row"),
        ("M_BMV gp0, gp0, gp0", "always traps"),
    ],
)
def test_illegal_address_traps(program: str, reason: str):
    with pytest.raises(Trap, match=reason):
        run_asm(program, TINY)
