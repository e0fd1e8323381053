"""Addressing of the Vector SRAM and of the sparse HBM (machine specification, sections 1.3 and 4.6)."""

from __future__ import annotations

from plena_mlir.emulator.kernels.state import FILLED, HBM_PAGE, HBM_PAGE_BITS, U8, UNTOUCHED, WRITTEN, Hbm, Vram
from plena_mlir.numerics.bf16 import Integer
from plena_mlir.numerics.compile import inline_kernel, inner_kernel


@inner_kernel
def fill_row(vram: Vram, row: Integer) -> None:
    """Give a row that nothing wrote the initial content of the memory."""
    for lane in range(vram.rows.shape[1]):
        vram.rows[row, lane] = vram.fill
    vram.touched[row] = FILLED


@inline_kernel
def row_to_write(vram: Vram, address: Integer) -> int:
    """The row at an element address, about to be overwritten as a whole; -1 for an illegal address."""
    width = vram.rows.shape[1]
    row = address // width
    if row * width != address or row >= vram.rows.shape[0]:
        return -1
    vram.touched[row] = WRITTEN
    return row


@inline_kernel
def row_to_read(vram: Vram, address: Integer) -> int:
    """The row at an element address, with its content in place; -1 for an illegal address."""
    width = vram.rows.shape[1]
    row = address // width
    if row * width != address or row >= vram.rows.shape[0]:
        return -1
    if vram.touched[row] == UNTOUCHED:
        fill_row(vram, row)
    return row


@inline_kernel
def rows_to_read(vram: Vram, address: Integer, count: Integer) -> int:
    """The first of `count` consecutive rows, all with their content in place; -1 for an illegal address."""
    width = vram.rows.shape[1]
    first = address // width
    if first * width != address or first + count > vram.rows.shape[0]:
        return -1
    for row in range(first, first + count):
        if vram.touched[row] == UNTOUCHED:
            fill_row(vram, row)
    return first


@inline_kernel
def past_end(hbm: Hbm, address: Integer, count: Integer) -> bool:
    """Whether any of `count` bytes lies past the end; addresses from 2^63 up appear negative."""
    return bool(address < 0 or address + count > hbm.size)


@inner_kernel
def read_bytes(hbm: Hbm, address: Integer, out: U8, count: Integer) -> None:
    """out[:count] = the bytes at `address`; those past the end are 0."""
    done = 0
    while done < count:
        here = address + done
        if here < 0 or here >= hbm.size:
            out[done:count] = 0
            return
        inside = here & (HBM_PAGE - 1)
        amount = min(count - done, HBM_PAGE - inside, hbm.size - here)
        page = hbm.table[here >> HBM_PAGE_BITS]
        if page < 0:
            for index in range(amount):
                out[done + index] = hbm.fill
        else:
            for index in range(amount):
                out[done + index] = hbm.pool[page, inside + index]
        done += amount


@inner_kernel
def write_bytes(hbm: Hbm, address: Integer, data: U8, count: Integer) -> None:
    """Write data[:count] at `address`. The caller has checked the range and that the pool has pages left."""
    done = 0
    while done < count:
        here = address + done
        inside = here & (HBM_PAGE - 1)
        amount = min(count - done, HBM_PAGE - inside)
        page = hbm.table[here >> HBM_PAGE_BITS]
        if page < 0:
            page = hbm.used[0]
            hbm.used[0] += 1
            hbm.table[here >> HBM_PAGE_BITS] = page
            hbm.pool[page, :] = hbm.fill
        for index in range(amount):
            hbm.pool[page, inside + index] = data[done + index]
        done += amount
