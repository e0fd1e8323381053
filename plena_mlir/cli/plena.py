"""`plena`: compile, run, assemble, disassemble, emulate.

Exit status: 0 for success, 1 for a problem with the input or a broken bound, 2 for wrong usage. A problem is one line on
stderr; set PLENA_DEBUG=1 for the traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING

from plena_mlir import __version__
from plena_mlir.errors import PlenaError

if TYPE_CHECKING:
    from plena_mlir.cli.options import CommandParser

_EXAMPLES = (
    "plena run smollm2-135m --layers 2 --random-weights 0 --compare hf,golden,tile",
    "plena compile ./checkpoint --target 256x64x64 --seq 100 -o build/model",
    "plena run build/model --json",
    "plena asm program.asm -o program.mem",
)


def build_parser() -> CommandParser:
    # Imported here, because numpy and numba take half a second, in which a Ctrl-C must not print a traceback either.
    from plena_mlir.cli import ablate_command, generate_command, machine_commands, model_commands, models_command, verify_commands
    from plena_mlir.cli.options import CommandParser

    parser = CommandParser(
        prog="plena",
        description="Compile PyTorch transformers to the PLENA accelerator, and run the result.",
        examples=_EXAMPLES,
    )
    parser.add_argument("--version", action="version", version=f"plena {__version__} (xdsl {version('xdsl')})")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)
    model_commands.register(commands)
    generate_command.register(commands)
    machine_commands.register(commands)
    verify_commands.register(commands)
    ablate_command.register(commands)
    models_command.register(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in `argv` (default: the process's arguments) and return its exit status."""
    try:
        args = build_parser().parse_args(argv)
        from plena_mlir.cli.console import show_own_warnings

        show_own_warnings("plena")
        status: int = args.execute(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # The reader has what it wanted. Python would complain again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("plena: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("PLENA_DEBUG"):
            traceback.print_exc()
        print(f"plena: error: {_describe(error)}", file=sys.stderr)
        return 1


def _describe(error: Exception) -> str:
    from plena_mlir.cli.console import one_line

    if isinstance(error, PlenaError):
        return one_line(error)
    if isinstance(error, OSError) and error.strerror is not None:
        return one_line(error.strerror if error.filename is None else f"{error.filename}: {error.strerror}")
    if isinstance(error, MemoryError):
        return "out of memory"
    return f"internal error, please report it: {type(error).__name__}: {one_line(error)} (PLENA_DEBUG=1 shows where)"


if __name__ == "__main__":
    sys.exit(main())
