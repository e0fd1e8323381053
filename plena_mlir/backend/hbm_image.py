"""What HBM starts with, and its file form `hbm.bin` (machine specification, section 1.5)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.errors import ImageError

U8: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class HbmImage:
    """The bytes that HBM starts with; what no segment covers is zero.

    Attributes:
        segments: (byte address, bytes), in ascending order, without overlap.
    """

    segments: tuple[tuple[int, U8], ...]

    @property
    def end(self) -> int:
        """The address behind the last byte, which is the size of the file."""
        return max((address + data.size for address, data in self.segments), default=0)

    def read(self, address: int, count: int) -> U8:
        """`count` bytes from `address` on, zero where no segment lies."""
        result = np.zeros(count, np.uint8)
        for start, data in self.segments:
            first, last = max(start, address), min(start + data.size, address + count)
            if first < last:
                result[first - address : last - address] = data[first - start : last - start]
        return result

    def save(self, path: str | Path) -> None:
        """Write `hbm.bin`, byte 0 first, with holes where the file system has them."""
        with Path(path).open("wb") as file:
            for address, data in self.segments:
                file.seek(address)
                file.write(data.data)
            file.truncate(self.end)


def load_image(path: str | Path) -> HbmImage:
    """Read an `hbm.bin`; the holes of a sparse file are skipped.

    Raises:
        ImageError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            segments: list[tuple[int, U8]] = []
            for start, stop in _data_ranges(file.fileno(), size):
                file.seek(start)
                segments.append((start, np.fromfile(file, np.uint8, stop - start)))
    except OSError as error:
        raise ImageError(f"cannot read the HBM image: {error.strerror}", where=str(path)) from error
    return HbmImage(tuple(segments))


def _data_ranges(descriptor: int, size: int) -> Iterator[tuple[int, int]]:
    """The parts of a file that are no holes."""
    position = 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, position
