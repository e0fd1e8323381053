"""`plena emulate`: run the public file forms as the public simulator does, and assembly text too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from plena_mlir.backend.asm_encoder import encode
from plena_mlir.backend.asm_parser import parse_asm
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
    reference_encoding: bool = False,
    warn: Callable[[str], None] | None = None,
) -> RunResult:
    """Run the machine code in `opcode` on memories loaded from files, all other memory zero.

    Args:
        opcode: a `.mem` file, or assembly in an `.asm` file.
        reference_encoding: for assembly, encode it as the reference assembler does.
        warn: for assembly, called with a message for each operand that the reference assembler misplaces and this one does not.

    The other options are those of `run_program`.

    Raises:
        AsmError: the assembly is malformed.
        EncodingError: the machine code is malformed, or is to be encoded as the reference assembler does.
        ImageError: a file cannot be read or does not fit its memory.
        Trap: the program did what the machine forbids.
    """
    try:
        text = Path(opcode).read_text(encoding="utf-8")
    except OSError as error:
        raise EncodingError(f"cannot read the machine code: {error.strerror}", where=str(opcode)) from error
    except UnicodeDecodeError as error:
        raise EncodingError(f"cannot read the machine code: byte {error.start} is not UTF-8 text", where=str(opcode)) from error
    if Path(opcode).suffix == ".asm":
        instructions = parse_asm(text, name=str(opcode), warn=None if reference_encoding else warn)
        words = encode(instructions, reference_encoding=reference_encoding)
        locations = locations or [instruction.location or None for instruction in instructions]
    elif reference_encoding:
        raise EncodingError("machine code is encoded already", where=str(opcode), hint="the reference encoding is for .asm files")
    else:
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
