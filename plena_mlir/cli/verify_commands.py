"""Commands that find out whether, and where, a program computes something else than it should."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plena_mlir.cli.console import print_json, print_report, progress
from plena_mlir.cli.model_commands import MODEL_HELP, open_program
from plena_mlir.cli.options import CommandParser, add_json_option, add_model_options
from plena_mlir.phases import Phases
from plena_mlir.verify.bounds import broken_bounds

if TYPE_CHECKING:
    from plena_mlir.verify.bisect import Divergence
    from plena_mlir.verify.stage_checks import StageCheck


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

    bisect = commands.add_parser(
        "bisect",
        help="find the first pass, stage and instruction that compute something else",
        description="Execute the IR of every pass of one bundle, or of two of the same model, and name where values first differ.",
        epilog="example: plena bisect build/model      plena bisect build/before build/after",
    )
    bisect.add_argument("bundle", metavar="A", type=Path, help="a bundle")
    bisect.add_argument("other", metavar="B", type=Path, nargs="?", help="another bundle of the model (default: the levels of A)")
    add_json_option(bisect)
    bisect.set_defaults(execute=_bisect)


def _check(args: argparse.Namespace) -> int:
    from plena_mlir.verify.stage_checks import check_program

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
    from plena_mlir.verify.stage_checks import ISOLATED_REL_RMS

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


def _bisect(args: argparse.Namespace) -> int:
    from plena_mlir.compiler import load_bundle
    from plena_mlir.verify.bisect import bisect_levels, bisect_programs, passes_of_bundle

    with progress():
        program, passes = load_bundle(args.bundle), passes_of_bundle(args.bundle)
        if args.other is None:
            found = bisect_levels(program, passes)
        else:
            found = bisect_programs(program, load_bundle(args.other), passes, passes_of_bundle(args.other))
    if args.json:
        print_json({"divergence": None if found is None else found.to_json()})
    elif found is None:
        print("no divergence")
    else:
        _print_divergence(found)
    return 0 if found is None else 1


def _print_divergence(found: Divergence) -> None:
    rows = [("pass", found.pass_name or "none"), ("reason", found.reason)]
    if found.stage is not None:
        rows += [("stage", found.stage), ("place", f"row and feature {found.place}, in tile {found.tile}")]
        rows += [("expected", f"{found.expected:.9g}"), ("actual", f"{found.actual:.9g}")]
    if found.instruction is not None:
        at = found.instruction
        rows.append(("instruction", f"pc {at.pc}, the {at.executed:,}th to run: {at.text}"))
    for name, value in rows:
        print(f"{name:<12} {value}")


def _row(check: StageCheck) -> str:
    if check.isolated is None or check.accumulated is None:
        return check.problem or "not compared"
    alone, along = check.isolated, check.accumulated
    mark = "" if check.passed else "  <--"
    return f"{alone.rel_rms:9.3g}  {along.rel_rms:9.3g}  {alone.max_abs:9.3g}  {alone.cosine:9.6f}  {alone.elements:9,}{mark}"
