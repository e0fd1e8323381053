"""`plena emulate`: run the public file forms as the public simulator does."""

from __future__ import annotations

from pathlib import Path

from plena_mlir.backend.mem_file import parse_mem
from plena_mlir.emulator.engine import Progress, run_program
from plena_mlir.emulator.files import read_fpsram, read_intsram, read_vram
from plena_mlir.emulator.result import RunResult
from plena_mlir.errors import EncodingError
from plena_mlir.target import Target


def emulate(
    opcode: str | Path,
    target: Target,
    *,
    hbm: str | Path,
    fpsram: str | Path,
    intsram: str | Path | None = None,
    vram: str | Path | None = None,
    timing: str = "transactional",
    progress: Progress | None = None,
) -> RunResult:
    """Run the machine code in `opcode` on memories loaded from files, all other memory zero.

    Raises:
        EncodingError: the machine code is malformed.
        ImageError: a file cannot be read or does not fit its memory.
        Trap: the program did what the machine forbids.
    """
    try:
        text = Path(opcode).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EncodingError(f"cannot read the machine code: {error}", where=str(opcode)) from error
    return run_program(
        parse_mem(text, name=str(opcode)),
        target,
        hbm=hbm,
        fpsram=read_fpsram(fpsram),
        intsram=None if intsram is None else read_intsram(intsram),
        vram=None if vram is None else read_vram(vram, target.vlen),
        timing=timing,
        progress=progress,
    )
