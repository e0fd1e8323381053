"""Commands that find out whether, and where, a program computes something else than it should."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plena_mlir.cli.console import print_json, print_report, progress
from plena_mlir.cli.model_commands import MODEL_HELP, open_program
from plena_mlir.cli.options import CommandParser, add_model_options
from plena_mlir.phases import Phases
from plena_mlir.verify.bounds import broken_bounds

if TYPE_CHECKING:
    from plena_mlir.verify.locate import Divergence
    from plena_mlir.verify.stage_checks import StageCheck


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the commands to the `plena` parser."""
    check = commands.add_parser(
        "check",
        help="check a bundle or a model against every level above the machine",
        description="Compare a program with Hugging Face, the golden and the tile interpreter; with --stages, every stage of it.",
        examples=["plena check build/smollm2 --stages"],
    )
    check.add_argument("source", metavar="DIR|MODEL", help=f"a bundle (a folder with manifest.json), {MODEL_HELP}")
    check.add_argument(
        "--stages",
        action="store_true",
        help="compare every stage instead of the result: alone (fed with the machine's own inputs), accumulated, and how much of "
        "that the differences of the stages alone lead to expect",
    )
    add_model_options(check)
    check.set_defaults(execute=_check, ids=None)

    bisect = commands.add_parser(
        "bisect",
        help="find the first pass, op and instruction that compute something else",
        description="Execute the IR after every pass of one bundle, or of two of one model, and name where values first differ: "
        "the pass, the op and its module path, the tile, the instruction and both values.",
        examples=[
            "plena bisect build/model",
            "plena bisect build/before build/after",
            "plena bisect build/model --levels hardware emulator",
            "plena bisect build/model --switch strategy=micro,broadcast",
        ],
    )
    bisect.add_argument("source", metavar="A", help=f"a bundle (a folder with manifest.json), {MODEL_HELP}")
    bisect.add_argument("other", metavar="B", type=Path, nargs="?", help="another bundle of the model (default: the passes of A)")
    between = bisect.add_mutually_exclusive_group()
    between.add_argument(
        "--levels",
        nargs=2,
        metavar=("X", "Y"),
        help="compare two levels of A stage by stage: each is tile, emulator, or a precision of the golden (hardware, fp32, ...)",
    )
    between.add_argument(
        "--switch",
        type=_switch,
        metavar="NAME=X,Y",
        help="compare A compiled with a switch in two positions: strategy=X,Y or golden=X,Y or pass=NAME (with it and without)",
    )
    add_model_options(bisect)
    bisect.set_defaults(execute=_bisect, usage_error=bisect.error, ids=None)


def _switch(text: str) -> tuple[str, tuple[str, ...]]:
    """An argument type: NAME=X,Y; a setting that holds commas itself is separated from the other by a slash."""
    name, equals, values = text.partition("=")
    if not equals or not values:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=X,Y or pass=NAME")
    return name, tuple(values.split("/" if "/" in values else ","))


def _check(args: argparse.Namespace) -> int:
    from plena_mlir.verify.amplification import expect_accumulated
    from plena_mlir.verify.stage_checks import check_program

    with progress() as listener:
        phases = Phases(listener)
        program = open_program(args, phases)
        report = None if args.stages else program.run(compare=("hf", "golden", "tile"), phases=phases).report
        checks = expect_accumulated(program, check_program(program)) if args.stages else ()
    if report is None:
        return _print_stages(checks, as_json=args.json)
    print_report(report, as_json=args.json)
    layers = report.model.layers if report.model is not None else 0
    broken = broken_bounds(report.comparisons, layers=layers, routing=report.routing)
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
        print(
            f"{'stage':<{width}}  {'isolated':>9}  {'accumul.':>9}  {'expected':>9}  {'max_abs':>9}  {'cosine':>9}  {'elements':>9}"
        )
        for check in checks:
            print(f"{check.stage:<{width}}  {_row(check)}")
    for check in failed:
        print(f"plena: error: {check.stage}: {check.failure}", file=sys.stderr)
    return 1 if failed else 0


def _bisect(args: argparse.Namespace) -> int:
    if args.other is not None and (args.levels or args.switch):
        args.usage_error("argument B: --levels and --switch are about one program")
    with progress() as listener:
        found = _divergence(args, Phases(listener))
    if args.json:
        print_json({"divergence": None if found is None else found.to_json()})
    elif found is None:
        print("no divergence")
    else:
        _print_divergence(found)
    return 0 if found is None else 1


def _divergence(args: argparse.Namespace, phases: Phases) -> Divergence | None:
    from plena_mlir.compiler import load_bundle
    from plena_mlir.verify.bisect import bisect_levels, bisect_two_levels, passes_of, passes_of_bundle
    from plena_mlir.verify.bisect_programs import bisect_programs, bisect_switch

    program = open_program(args, phases, keep_ir=True)
    if args.levels:
        return bisect_two_levels(program, *args.levels)
    if args.switch:
        return bisect_switch(program, *args.switch)
    passes = passes_of(program) if program.passes else passes_of_bundle(Path(args.source))
    if args.other is None:
        return bisect_levels(program, passes)
    return bisect_programs(program, load_bundle(args.other), passes, passes_of_bundle(args.other))


def _print_divergence(found: Divergence) -> None:
    rows = [("pass", found.pass_name or "none"), ("reason", found.reason)]
    if found.stage is not None:
        rows += [("module", found.module_path or "none"), ("stage", found.stage), ("op", found.op or "none")]
    if found.place is not None:
        part = found.stage is not None and found.stage.endswith(("/scores", "/probabilities"))
        kind = "row and feature" if len(found.place) == 2 else "head, query and key" if part else "element"
        rows.append(("place", f"{kind} {found.place}" + ("" if found.tile is None else f", in tile {found.tile}")))
        rows += [("expected", f"{found.expected:.9g}"), ("actual", f"{found.actual:.9g}")]
    if found.instruction is not None:
        at = found.instruction
        left = "" if at.wrote or found.place is None else " (it left this value as it was)"
        rows.append(("instruction", f"pc {at.pc}, the {at.executed:,}th to run: {at.text}{left}"))
    for name, value in rows:
        print(f"{name:<12} {value}")


def _row(check: StageCheck) -> str:
    if check.isolated is None or check.accumulated is None:
        return check.problem or ("zero everywhere on both sides" if check.zero else "not compared")
    alone, along = check.isolated, check.accumulated
    mark = "" if check.passed else "  <--"
    expected = "" if check.expected is None else f"{check.expected:.3g}"
    relative = f"{alone.rel_rms:9.3g}  {along.rel_rms:9.3g}  {expected:>9}"
    return f"{relative}  {alone.max_abs:9.3g}  {alone.cosine:9.6f}  {alone.elements:9,}{mark}"
