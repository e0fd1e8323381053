"""`plena emulate`: run the public file forms as the public simulator does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from plena_mlir.backend.mem_file import parse_mem
from plena_mlir.emulator.engine import DEFAULT_MAX_INSTRUCTIONS, Progress, run_program
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
    strict: bool = False,
    max_instructions: int = DEFAULT_MAX_INSTRUCTIONS,
    timing: str = "transactional",
    locations: Sequence[str | None] | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run the machine code in `opcode` on memories loaded from files, all other memory zero.

    The options are those of `run_program`.

    Raises:
        EncodingError: the machine code is malformed.
        ImageError: a file cannot be read or does not fit its memory.
        Trap: the program did what the machine forbids.
    """
    try:
        text = Path(opcode).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EncodingError(f"cannot read the machine code: {error}", where=str(opcode)) from error
    words = parse_mem(text, name=str(opcode))
    if locations is not None and len(locations) != len(words):
        raise EncodingError(f"{len(words)} words, but {len(locations)} instructions in the text", where=str(opcode))
    return run_program(
        words,
        target,
        hbm=hbm,
        fpsram=read_fpsram(fpsram),
        intsram=None if intsram is None else read_intsram(intsram),
        vram=None if vram is None else read_vram(vram, target.vlen),
        strict=strict,
        max_instructions=max_instructions,
        timing=timing,
        locations=locations,
        progress=progress,
    )
