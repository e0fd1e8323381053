"""The public file forms of memories: preloads in, dumps out (machine specification, section 1.5)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plena_mlir.emulator.kernels.state import HBM_PAGE, WRITTEN
from plena_mlir.emulator.machine import Machine
from plena_mlir.errors import ImageError
from plena_mlir.files import make_folder
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


def write_dumps(machine: Machine, folder: str | Path, *, hbm: bool = False) -> list[Path]:
    """Write `mram_dump.bin`, `vram_dump.bin`, `fpsram_dump.bin` and `intsram_dump.bin`, and with `hbm` also `hbm_dump.bin`, as the
    public simulator leaves them.

    The dumps of Vector SRAM and HBM hold the whole memory; what nothing wrote is a hole where the file system has holes. A dump
    appears whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    make_folder(folder)
    state = machine.state
    row_bytes = 2 * machine.target.vlen
    dumps = {
        "mram_dump.bin": _whole(to_bits(round_bf16(state.matrix.tiles.astype(np.float32)))),
        "vram_dump.bin": (_vram_parts(machine), state.vram.rows.shape[0] * row_bytes),
        "fpsram_dump.bin": _whole(to_bits(state.scalars.fp)),
        "intsram_dump.bin": _whole(state.scalars.integer.astype("<u4")),
    }
    if hbm:
        dumps["hbm_dump.bin"] = (_hbm_parts(machine), machine.target.hbm_size)
    for name, (parts, size) in dumps.items():
        _write_sparse(folder / name, parts, size)
    return [folder / name for name in dumps]


def _whole(content: NDArray[Any]) -> tuple[Iterable[tuple[int, bytes]], int]:
    return [(0, content.tobytes())], content.nbytes


def _vram_parts(machine: Machine) -> Iterator[tuple[int, bytes]]:
    row_bytes = 2 * machine.target.vlen
    touched = np.flatnonzero(machine.state.vram.touched == WRITTEN)
    for run in np.split(touched, np.flatnonzero(np.diff(touched) != 1) + 1):
        if run.size:
            yield int(run[0]) * row_bytes, to_bits(machine.vram_rows(int(run[0]), run.size)).tobytes()


def _hbm_parts(machine: Machine) -> Iterator[tuple[int, bytes]]:
    for page in np.flatnonzero(machine.state.hbm.table >= 0).tolist():
        start = page * HBM_PAGE
        yield start, machine.read_hbm(start, min(HBM_PAGE, machine.target.hbm_size - start))


def _write_sparse(path: Path, parts: Iterable[tuple[int, bytes]], size: int) -> None:
    """A file of `size` bytes with (offset, bytes) `parts`, which takes its name when it is complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            for offset, content in parts:
                file.seek(offset)
                file.write(content)
            file.truncate(size)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
