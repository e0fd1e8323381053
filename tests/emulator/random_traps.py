"""Statements that stop the machine, one for each reason it has (machine specification, sections 1.3, 4 and 6)."""

from __future__ import annotations

from random import Random

from plena_mlir.target import Target


def random_trap(random: Random, target: Target) -> list[str]:
    """Instructions of which one traps, whatever the registers hold, on a machine with little memory."""
    length, block, head = target.mlen, target.blen, target.hlen
    rows, tile = target.vector_sram_rows, target.tile_elements
    end = target.matrix_sram_tiles * tile

    def load(register: int, value: int) -> list[str]:
        return [f"S_LUI_INT gp{register}, {value >> 12}", f"S_ADDI_INT gp{register}, gp{register}, {value & 0xFFF}"]

    def with_registers(text: str, **values: int) -> list[str]:
        """`text` with gp8 to gp15 at these values and, if not told, at 0."""
        held = {f"gp{index}": 0 for index in range(8, 12)} | values
        return [line for name, value in held.items() for line in load(int(name[2:]), value)] + [text]

    past_hbm = [*load(8, 1), *load(9, 0), "C_SET_ADDR_REG a5, gp8, gp9", "C_SET_SCALE_REG gp9"]
    sources = ("V_ADD_VV gp9, {0}, gp9", "V_EXP_V gp9, {0}, 1", "V_RED_SUM f1, {0}", "V_SHFT_V gp9, {0}, gp9", "M_MM 0, gp9, {0}")
    choices = [
        # Rows that are none, as source and as destination.
        with_registers(random.choice(sources).format("gp8"), gp8=random.choice((1, length - 1, rows * length, 1 << 31))),
        with_registers("V_MUL_VF gp8, gp9, f3", gp8=random.choice((1, rows * length))),
        with_registers("M_BMM_WO gp8, 0", gp8=rows * length),
        with_registers("M_BMV_WO gp8, 1"),
        with_registers("H_PREFETCH_V gp8, gp9, a0, 0, 0", gp8=rows * length),
        # Tiles and offsets in them.
        with_registers(random.choice(("M_MM 0, gp8, gp9", "M_TMM 0, gp9, gp8", "M_BTMM 0, gp8, gp9", "M_MV 0, gp8, gp9")), gp8=end),
        with_registers(random.choice(("M_MM 0, gp8, gp9", "M_TMM 0, gp9, gp8")), gp8=1),
        with_registers(random.choice(("M_BMM 0, gp8, gp9", "M_BTMM 0, gp8, gp9", "M_BTMV gp9, gp8, gp9")), gp8=length),
        with_registers("M_MV 0, gp8, gp9", gp8=length),
        with_registers("M_TMV 0, gp8, gp9", gp8=1),
        with_registers("H_PREFETCH_M gp8, gp9, a0, 0, 0", gp8=random.choice((1, end))),
        with_registers("M_BMV gp8, gp8, gp8"),
        # Scalar memories and registers.
        with_registers(random.choice(("S_LD_INT gp3, gp8, 24", "S_ST_INT gp3, gp8, 24")), gp8=1000),
        with_registers(random.choice(("S_LD_FP f3, gp8, 24", "S_ST_FP f3, gp8, 24")), gp8=1000),
        with_registers(f"S_MAP_V_FP gp9, gp8, {1025 - length}"),
        with_registers("V_TOPK gp8, gp9, gp9, 2"),
        with_registers(random.choice(("V_TOPK gp8, gp9, gp9, 0", "V_TOPK gp9, gp9, gp8, 0")), gp8=1021),
        # S_ADD_FP f12, f0, f0 and V_ADD_VF gp8, gp8, f9.
        with_registers(random.choice((".word 0x00000317", ".word 0x0002620E"))),
        # HBM.
        [*past_hbm, *load(8, 0), "H_STORE_V gp8, gp8, a5, 0, 0"],
        # Control; the last two are no instructions, and M_BMM with rd = 1, which stops the program before it starts.
        ["C_LOOP_START gp5, 0"],
        ["C_LOOP_END gp5"],
        ["C_BREAK"],
        ["C_LOOP_START gp5, 2", "C_BREAK", "C_LOOP_END gp5"],
        [random.choice(("V_PS_V gp8, gp8, gp8", "C_HADAMARD_TRANSFORM gp8, gp8, gp8", ".word 0x00000000", ".word 0xFFFFFFFF"))],
        [".word 0x00000043"],
    ]
    if block > 1:
        choices.append(with_registers(random.choice(("M_MM_WO gp8, gp0, 1", "M_MV_WO gp8, 1"))))
        choices.append(with_registers("M_MV 0, gp8, gp9", gp8=1))
        choices.append(with_registers("M_MM 0, gp8, gp9", gp8=length))
    if head > 1:
        choices.append(with_registers("M_BTMM 0, gp8, gp9", gp8=1))
    if target.max_loop_instructions < 1000:
        choices.append(["C_LOOP_START gp5, 1", "C_LOOP_START gp6, 4194303", "C_LOOP_END gp6", "C_LOOP_END gp5"])
    return random.choice(choices)
