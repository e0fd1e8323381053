"""The public file forms of memories: preloads in, dumps out (machine specification, section 1.5)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plena_mlir.emulator.kernels.state import WRITTEN
from plena_mlir.emulator.machine import Machine
from plena_mlir.errors import ImageError
from plena_mlir.numerics import from_bits, round_bf16, to_bits


def _read(path: str | Path, what: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read the {what} file: {error.strerror}", where=str(path)) from error


def read_fpsram(path: str | Path) -> NDArray[np.float32]:
    """The values of an FP SRAM file: IEEE half, little endian; a trailing odd byte is ignored.

    Raises:
        ImageError: the file cannot be read.
    """
    data = _read(path, "FP SRAM")
    return np.frombuffer(data, "<f2", len(data) // 2).astype(np.float32)


def read_intsram(path: str | Path) -> NDArray[np.uint32]:
    """The words of an INT SRAM file: u32, little endian; trailing odd bytes are ignored.

    Raises:
        ImageError: the file cannot be read.
    """
    data = _read(path, "INT SRAM")
    return np.frombuffer(data, "<u4", len(data) // 4).astype(np.uint32)


def read_vram(path: str | Path, vlen: int) -> NDArray[np.float32]:
    """The rows [n, vlen] of a Vector SRAM file: raw bf16; a partial last row is padded with zeros.

    Raises:
        ImageError: the file cannot be read.
    """
    data = _read(path, "Vector SRAM")
    bits = np.frombuffer(data, "<u2", len(data) // 2)
    rows = np.zeros((-(-bits.size // vlen), vlen), np.uint16)
    rows.reshape(-1)[: bits.size] = bits
    return from_bits(rows)


def write_dumps(machine: Machine, folder: str | Path) -> list[Path]:
    """Write `mram_dump.bin`, `vram_dump.bin`, `fpsram_dump.bin` and `intsram_dump.bin`, as the public simulator leaves them.

    The Vector SRAM dump holds all rows; those that nothing wrote are holes where the file system has them.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = machine.state
    contents = {
        "mram_dump.bin": to_bits(round_bf16(state.matrix.tiles.astype(np.float32))),
        "fpsram_dump.bin": to_bits(state.scalars.fp),
        "intsram_dump.bin": state.scalars.integer.astype("<u4"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content.tobytes())
    with (folder / "vram_dump.bin").open("wb") as file:
        row_bytes = 2 * machine.target.vlen
        touched = np.flatnonzero(state.vram.touched == WRITTEN)
        for run in np.split(touched, np.flatnonzero(np.diff(touched) != 1) + 1):
            if run.size:
                file.seek(int(run[0]) * row_bytes)
                file.write(to_bits(machine.vram_rows(int(run[0]), run.size)).tobytes())
        file.truncate(state.vram.rows.shape[0] * row_bytes)
    return [folder / name for name in ("mram_dump.bin", "vram_dump.bin", "fpsram_dump.bin", "intsram_dump.bin")]
