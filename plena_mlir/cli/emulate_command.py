"""`plena emulate`, the public simulator's command line (machine specification, section 1.5).

Imports neither torch nor transformers.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from plena_mlir.cli.console import print_report, print_warning, progress
from plena_mlir.cli.options import (
    CommandParser,
    add_hbm_size_option,
    add_json_option,
    add_reference_encoding_option,
    add_timing_option,
    integer,
)
from plena_mlir.errors import AsmError
from plena_mlir.files import write_file
from plena_mlir.report import Report, with_execution

if TYPE_CHECKING:
    from plena_mlir.emulator import RunResult

LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "off")


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the command to the `plena` parser."""
    emulate = commands.add_parser(
        "emulate",
        help="run machine code on the emulator",
        description="Run a program from the files of the public PLENA simulator, and leave its dumps.",
        examples=["plena emulate --opcode program.mem --hbm hbm.bin --fpsram fpsram.bin --settings settings.toml"],
    )
    emulate.add_argument(
        "--opcode", metavar="F", type=Path, required=True, help="machine code, a .mem file; or assembly, a .asm file"
    )
    emulate.add_argument("--hbm", metavar="F", type=Path, required=True, help="raw bytes of HBM from address 0")
    emulate.add_argument("--fpsram", metavar="F", type=Path, required=True, help="FP SRAM, IEEE half little endian")
    emulate.add_argument("--intsram", metavar="F", type=Path, help="INT SRAM, u32 little endian")
    emulate.add_argument("--vram", metavar="F", type=Path, help="Vector SRAM rows from row 0, bf16 little endian")
    add_hbm_size_option(emulate)
    emulate.add_argument(
        "--settings",
        metavar="F",
        type=Path,
        help="the machine (default $PLENA_SETTINGS_TOML, then ../plena_settings.toml, then a built-in one with a warning)",
    )
    emulate.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="debug also dumps the HBM (default info)")
    emulate.add_argument("--log-file", metavar="F", type=Path, help="where the log lines go (default stderr)")
    emulate.add_argument("--stage-profile-asm", metavar="F", type=Path, help="the program's text, whose comments name stages")
    emulate.add_argument("--stage-profile-out", metavar="F", type=Path, help="instructions and cycles of each stage, as JSON")
    emulate.add_argument("--dump-dir", metavar="D", type=Path, default=Path(), help="folder of the dumps (default this one)")
    emulate.add_argument("--no-dumps", action="store_true", help="write no dumps")
    emulate.add_argument("--strict", action="store_true", help="also stop where the hardware goes on but no sound program may")
    emulate.add_argument("--max-instructions", metavar="N", type=integer(1), help="stop a program that executes more")
    add_reference_encoding_option(emulate)
    add_timing_option(emulate)
    add_json_option(emulate)
    emulate.set_defaults(execute=_emulate, usage_error=emulate.error)


def _emulate(args: argparse.Namespace) -> int:
    from plena_mlir.emulator import emulate, write_dumps
    from plena_mlir.emulator.engine import DEFAULT_MAX_INSTRUCTIONS
    from plena_mlir.emulator.settings_lookup import find_target

    if args.stage_profile_out is not None and args.stage_profile_asm is None and args.opcode.suffix != ".asm":
        args.usage_error("argument --stage-profile-out: machine code names no stages; give --stage-profile-asm too")
    target = find_target(args.settings)
    if args.hbm_size is not None:
        target = replace(target, hbm_size=args.hbm_size)
    stages = None if args.stage_profile_asm is None else _stages(args.stage_profile_asm)
    with progress() as listener:
        result = emulate(
            args.opcode,
            target,
            hbm=args.hbm,
            fpsram=args.fpsram,
            intsram=args.intsram,
            vram=args.vram,
            strict=args.strict,
            max_instructions=args.max_instructions or DEFAULT_MAX_INSTRUCTIONS,
            timing=args.timing,
            locations=stages,
            reference_encoding=args.reference_encoding,
            warn=partial(print_warning, "plena"),
            progress=None if listener is None else lambda count: listener(f"emulating, {count:,} instructions"),
        )
    if not args.no_dumps:
        write_dumps(result.machine, args.dump_dir, hbm=args.log_level in ("trace", "debug"))
    if LOG_LEVELS.index(args.log_level) <= LOG_LEVELS.index("info"):
        _log(result, args.log_file)
    if args.stage_profile_out is not None:
        _write_stages(result, args.stage_profile_out)
    report = Report(target=target.name, static_instructions=result.words.size)
    print_report(with_execution(report, result), as_json=args.json)
    return 0


def _log(result: RunResult, path: Path | None) -> None:
    """The lines that scripts around the public simulator look for; one cycle is 1 ns."""
    traffic = result.hbm_bytes
    cycles = result.cycles
    lines = [] if cycles is None else [f"Simulation completed. Latency {cycles}.000ns"]
    lines.append(f"HBM Statistics - Bytes read: {traffic['read']} | Bytes written: {traffic['written']}")
    text = "".join(f"{line}\n" for line in lines)
    if path is None:
        sys.stderr.write(text)
    else:
        write_file(path, text)


def _stages(path: Path) -> list[str]:
    """The stage of each instruction: the comment on its line, or else the last comment on a line of its own."""
    from plena_mlir.backend import parse_asm

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise AsmError(f"byte {error.start} is not UTF-8 text", where=str(path)) from None
    instructions = parse_asm(text, name=str(path))
    comments = {
        number: line.strip().lstrip(";/").strip()
        for number, line in enumerate(text.splitlines(), start=1)
        if line.strip().startswith((";", "//"))
    }
    stages: list[str] = []
    stage, read = "", 0
    for instruction in instructions:
        for number in range(read + 1, instruction.line):
            stage = comments.get(number, stage)
        read = instruction.line
        stages.append(instruction.location or stage)
    return stages


def _write_stages(result: RunResult, path: Path) -> None:
    from plena_mlir.emulator import attribute

    stages = [asdict(share) for share in attribute(result, "location")]
    write_file(path, json.dumps({"schema": "plena.stages/1", "stages": stages}, indent=2) + "\n")
