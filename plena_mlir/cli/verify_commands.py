"""Commands that find out whether, and where, a program computes something else than it should."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from plena_mlir.cli.console import print_json, print_report, progress
from plena_mlir.cli.model_commands import MODEL_HELP, open_program
from plena_mlir.cli.options import CommandParser, add_model_options
from plena_mlir.phases import Phases
from plena_mlir.verify.bounds import broken_bounds
from plena_mlir.verify.stage_checks import ISOLATED_REL_RMS, StageCheck, check_program


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the commands to the `plena` parser."""
    check = commands.add_parser(
        "check",
        help="check a bundle or a model against every level above the machine",
        description="Compare a program with Hugging Face, the golden and the tile interpreter; with --stages, every stage of it.",
        epilog="example: plena check build/smollm2 --stages",
    )
    check.add_argument("source", metavar="DIR|MODEL", help=f"a bundle (a folder with manifest.json), {MODEL_HELP}")
    check.add_argument(
        "--stages",
        action="store_true",
        help="compare every stage, alone (fed with the machine's own inputs) and accumulated, instead of the result",
    )
    add_model_options(check)
    check.set_defaults(execute=_check, ids=None)


def _check(args: argparse.Namespace) -> int:
    with progress() as listener:
        phases = Phases(listener)
        program = open_program(args, phases)
        report = None if args.stages else program.run(compare=("hf", "golden", "tile"), phases=phases).report
        checks = check_program(program) if args.stages else ()
    if report is None:
        return _print_stages(checks, as_json=args.json)
    print_report(report, as_json=args.json)
    broken = broken_bounds(report.comparisons, layers=report.model.layers if report.model is not None else 0)
    for sentence in broken:
        print(f"plena: error: {sentence}", file=sys.stderr)
    return 1 if broken else 0


def _print_stages(checks: Sequence[StageCheck], *, as_json: bool) -> int:
    failed = [check for check in checks if not check.passed]
    if as_json:
        print_json({"bound": ISOLATED_REL_RMS, "passed": not failed, "stages": [check.to_json() for check in checks]})
    else:
        width = max(len(check.stage) for check in checks)
        print(f"{'stage':<{width}}  {'isolated':>9}  {'accumul.':>9}  {'max_abs':>9}  {'cosine':>9}  {'elements':>9}")
        for check in checks:
            print(f"{check.stage:<{width}}  {_row(check)}")
    for check in failed:
        print(f"plena: error: {check.stage}: {check.failure}", file=sys.stderr)
    return 1 if failed else 0


def _row(check: StageCheck) -> str:
    if check.isolated is None or check.accumulated is None:
        return check.problem or "not compared"
    alone, along = check.isolated, check.accumulated
    mark = "" if check.passed else "  <--"
    return f"{alone.rel_rms:9.3g}  {along.rel_rms:9.3g}  {alone.max_abs:9.3g}  {alone.cosine:9.6f}  {alone.elements:9,}{mark}"
