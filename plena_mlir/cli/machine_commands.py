"""Commands on machine code: `asm`, `disasm`, `emulate`, `image`, `targets`. None of them imports torch or transformers."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from plena_mlir.cli import emulate_command, image_command
from plena_mlir.cli.console import print_json, print_warning
from plena_mlir.cli.options import CommandParser, add_json_option, add_reference_encoding_option
from plena_mlir.errors import AsmError, EncodingError
from plena_mlir.files import write_file


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the commands to the `plena` parser."""
    asm = commands.add_parser(
        "asm",
        help="assemble text to machine code",
        description="Assemble PLENA assembly to a .mem file: one hexadecimal word per line.",
        examples=["plena asm program.asm -o program.mem"],
    )
    asm.add_argument("input", metavar="IN", type=Path, help="assembly text")
    asm.add_argument("-o", dest="output", metavar="OUT", type=Path, required=True, help="the .mem file to write")
    add_reference_encoding_option(asm)
    asm.set_defaults(execute=_asm)

    disasm = commands.add_parser(
        "disasm",
        help="disassemble machine code to text",
        description="Disassemble a .mem file to assembly text that assembles to the same words.",
        examples=["plena disasm program.mem -o program.asm"],
    )
    disasm.add_argument("input", metavar="IN", type=Path, help="a .mem file")
    disasm.add_argument("-o", dest="output", metavar="OUT", type=Path, help="the text file to write (default stdout)")
    disasm.set_defaults(execute=_disasm)

    emulate_command.register(commands)
    image_command.register(commands)

    targets = commands.add_parser(
        "targets",
        help="list targets",
        description="List the named targets. Any other legal MLENxBLENxHLEN is a name too, and each with -ocp for OCP MX numbers.",
        examples=["plena compile clm-60m --target 128x64x128 -o build/clm"],
    )
    add_json_option(targets)
    targets.set_defaults(execute=_targets)


def _asm(args: argparse.Namespace) -> int:
    from plena_mlir.backend import encode, parse_asm
    from plena_mlir.backend.mem_file import print_mem

    text = _read_text(args.input, AsmError)
    # Where the reference assembler is reproduced there is nothing to warn of.
    warn = None if args.reference_encoding else partial(print_warning, "plena")
    instructions = parse_asm(text, name=str(args.input), warn=warn)
    write_file(args.output, print_mem(encode(instructions, reference_encoding=args.reference_encoding)))
    return 0


def _disasm(args: argparse.Namespace) -> int:
    from plena_mlir.backend import disassemble
    from plena_mlir.backend.mem_file import parse_mem

    text = disassemble(parse_mem(_read_text(args.input, EncodingError), name=str(args.input)))
    if args.output is None:
        sys.stdout.write(text)
    else:
        write_file(args.output, text)
    return 0


def _targets(args: argparse.Namespace) -> int:
    from plena_mlir.target import PRESETS, load_target

    machines = [load_target(name) for name in PRESETS]
    if args.json:
        print_json({"targets": [machine.to_dict() for machine in machines]})
        return 0
    print(f"{'target':<12} {'MLEN':>5} {'BLEN':>5} {'HLEN':>5} {'broadcast':>10} {'Matrix SRAM tiles':>18}")
    for machine in machines:
        print(
            f"{machine.name:<12} {machine.mlen:>5} {machine.blen:>5} {machine.hlen:>5} {machine.broadcast:>10} "
            f"{machine.matrix_sram_tiles:>18}"
        )
    print("Any MLENxBLENxHLEN with MLEN a multiple of 8 from 8 to 512, MLEN % BLEN = MLEN % HLEN = 0 and")
    print("MLEN >= HLEN >= BLEN is a target too, and so is the path of a plena_settings.toml.")
    print("NAME-ocp is the same machine with the MX formats of the OCP specification instead of its own.")
    return 0


def _read_text(path: Path, error: type[AsmError | EncodingError]) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as bad:
        raise error(f"byte {bad.start} is not UTF-8 text", where=str(path)) from None
