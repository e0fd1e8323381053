"""A machine takes the memory that its program touches, whatever the sizes of its memories."""

from __future__ import annotations

import resource
from pathlib import Path

from plena_mlir.backend import encode, parse_asm
from plena_mlir.backend.hbm_image import load_image
from plena_mlir.emulator import load_machine, run_program
from plena_mlir.target import load_target

TARGET = load_target("64x16x64")
"""HBM of 16 GiB, Vector SRAM of 1 GiB as the emulator holds it."""


def resident_bytes() -> int:
    """Memory of this process that exists."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_memories_of_gigabytes_take_megabytes():
    assert TARGET.hbm_size == 16 << 30
    # The last row of the Vector SRAM, and the 4 KiB and 512 scale bytes at 15 GiB.
    program = encode(
        parse_asm(
            "S_LUI_INT gp1, 65535\nS_ADDI_INT gp1, gp1, 4032\nV_ADD_VV gp1, gp1, gp1\n"
            "S_ADDI_INT gp2, gp0, 3\nS_LUI_INT gp3, 786432\nC_SET_ADDR_REG a1, gp2, gp3\nS_ADDI_INT gp4, gp0, 4096\n"
            "C_SET_SCALE_REG gp4\nH_STORE_V gp0, gp0, a1, 0, 0\nH_PREFETCH_M gp0, gp0, a1, 0, 0"
        )
    )
    run_program(program, TARGET)
    before = resident_bytes()
    result = run_program(program, TARGET)
    assert result.machine.state.hbm.used[0] == 1
    assert resident_bytes() - before < 32 << 20


def test_a_sparse_image_of_gigabytes_loads_what_it_holds(tmp_path: Path):
    path = tmp_path / "hbm.bin"
    with path.open("wb") as file:
        file.truncate(12 << 30)
        file.seek(9 << 30)
        file.write(b"abc")
    before = resident_bytes()
    machine = load_machine(TARGET, hbm=load_image(path))
    assert machine.read_hbm(9 << 30, 4) == b"abc\0"
    assert resident_bytes() - before < 32 << 20
