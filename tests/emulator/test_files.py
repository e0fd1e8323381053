"""The public file forms, and `emulate` on them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from plena_mlir.backend import encode, parse_asm
from plena_mlir.backend.mem_file import print_mem
from plena_mlir.emulator import emulate, write_dumps
from plena_mlir.emulator.files import read_fpsram, read_intsram, read_vram
from plena_mlir.errors import EncodingError, ImageError
from plena_mlir.numerics import to_bits
from tests.emulator.programs import TINY, hbm_tile, load_tile_asm, random_rows, run_asm, stored

TARGET = dataclasses.replace(TINY, vector_sram_rows=64, matrix_sram_rows=16)


def test_fpsram_passes_through_half(tmp_path: Path):
    path = tmp_path / "fpsram.bin"
    path.write_bytes(np.array([1.0, 1e-6, 65504], "<f2").tobytes() + b"x")
    assert read_fpsram(path).tolist() == [1.0, float(np.float16(1e-6)), 65504.0]
    result = run_asm("", fpsram=read_fpsram(path))
    assert result.machine.state.scalars.fp[2] == 65536.0


def test_intsram_ignores_trailing_bytes_but_not_too_many_words(tmp_path: Path):
    path = tmp_path / "intsram.bin"
    path.write_bytes(np.array([1, 0xFFFFFFFF], "<u4").tobytes() + b"abc")
    assert read_intsram(path).tolist() == [1, 0xFFFFFFFF]
    path.write_bytes(bytes(4 * 1025))
    with pytest.raises(ImageError, match="1025 entries do not fit in the INT SRAM of 1024"):
        run_asm("", intsram=read_intsram(path))


def test_vram_pads_its_last_row_and_drops_excess_rows(tmp_path: Path):
    path = tmp_path / "vram.bin"
    path.write_bytes(to_bits(np.arange(1.0, 11.0, dtype=np.float32)).tobytes())
    assert read_vram(path, 8).tolist() == [[1, 2, 3, 4, 5, 6, 7, 8], [9, 10, 0, 0, 0, 0, 0, 0]]
    path.write_bytes(to_bits(np.ones(66 * 8, np.float32)).tobytes())
    assert run_asm("", TARGET, vram=read_vram(path, 8)).machine.vram_rows(0, 64).all()


def test_dumps_hold_whole_memories(tmp_path: Path):
    x = random_rows(3, 8)
    w = random_rows(8, 8, 1)
    program = load_tile_asm() + "S_ADDI_INT gp2, gp0, 32\nV_ADD_VV gp2, gp0, gp0\nS_ST_INT gp2, gp0, 5"
    result = run_asm(program, TARGET, vram=x, hbm=hbm_tile(w), fpsram=np.array([1.5]))
    assert [path.name for path in write_dumps(result.machine, tmp_path)] == [
        "mram_dump.bin",
        "vram_dump.bin",
        "fpsram_dump.bin",
        "intsram_dump.bin",
    ]
    vram = np.fromfile(tmp_path / "vram_dump.bin", "<u2").reshape(64, 8)
    expected = np.zeros((64, 8), np.float32)
    expected[:3], expected[4] = x, x[0] + x[0]
    np.testing.assert_array_equal(vram, to_bits(expected))
    mram = np.fromfile(tmp_path / "mram_dump.bin", "<u2").reshape(2, 8, 8)
    np.testing.assert_array_equal(mram[0], to_bits(stored(w)))
    assert not mram[1].any()
    assert np.fromfile(tmp_path / "fpsram_dump.bin", "<u2").tolist()[:2] == [0x3FC0, 0]
    assert np.fromfile(tmp_path / "intsram_dump.bin", "<u4").tolist()[5] == 32


def test_emulate_runs_files(tmp_path: Path):
    (tmp_path / "p.mem").write_text(print_mem(encode(parse_asm("S_LD_FP f1, gp0, 1\nS_ST_FP f1, gp0, 0\nS_LD_INT gp1, gp0, 0"))))
    (tmp_path / "hbm.bin").write_bytes(b"abc")
    (tmp_path / "fpsram.bin").write_bytes(np.array([0, 2.5], "<f2").tobytes())
    (tmp_path / "intsram.bin").write_bytes(np.array([7], "<u4").tobytes())
    result = emulate(
        tmp_path / "p.mem",
        TARGET,
        hbm=tmp_path / "hbm.bin",
        fpsram=tmp_path / "fpsram.bin",
        intsram=tmp_path / "intsram.bin",
    )
    assert result.machine.state.scalars.fp[0] == 2.5
    assert result.machine.state.registers.gp[1] == 7
    assert result.machine.read_hbm(0, 4) == b"abc\0"
    assert result.cycles == 3


@pytest.mark.parametrize("missing", ["p.mem", "hbm.bin", "fpsram.bin"])
def test_missing_file_is_named(missing: str, tmp_path: Path):
    files = {name: tmp_path / name for name in ("p.mem", "hbm.bin", "fpsram.bin")}
    for path in files.values():
        path.write_bytes(b"")
    files[missing].unlink()
    with pytest.raises((EncodingError, ImageError), match=missing):
        emulate(files["p.mem"], TARGET, hbm=files["hbm.bin"], fpsram=files["fpsram.bin"])


def test_file_longer_than_hbm_is_refused(tmp_path: Path):
    target = dataclasses.replace(TARGET, hbm_size=128)
    for name in ("p.mem", "fpsram.bin"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "hbm.bin").write_bytes(bytes(129))
    with pytest.raises(ImageError, match="reaches byte 129"):
        emulate(tmp_path / "p.mem", target, hbm=tmp_path / "hbm.bin", fpsram=tmp_path / "fpsram.bin")
