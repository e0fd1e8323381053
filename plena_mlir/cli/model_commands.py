"""Commands that take a model: `compile` and `run`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from plena_mlir.case import LEVELS, is_case_file, observation_of, observation_of_bounds
from plena_mlir.cli.cases import CaseRun
from plena_mlir.cli.console import print_report, progress
from plena_mlir.cli.options import (
    CommandParser,
    add_golden_option,
    add_model_options,
    add_plots_option,
    add_timing_option,
    given_model_options,
    id_list,
    model_options,
    name_list,
)
from plena_mlir.errors import BundleError, NoWeightsError
from plena_mlir.files import check_folder, make_folder
from plena_mlir.frontend.shapes import SHAPES
from plena_mlir.golden_precision import HARDWARE
from plena_mlir.phases import Phases
from plena_mlir.report import Report
from plena_mlir.verify.bounds import broken_bounds

if TYPE_CHECKING:
    from plena_mlir.compiler import CompiledProgram, Level
    from plena_mlir.program import RunOutcome

MODEL_HELP = f"a built-in shape ({', '.join(SHAPES)}), a checkpoint folder or a case file"


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the commands to the `plena` parser."""
    compile_ = commands.add_parser(
        "compile",
        help="compile a model to a bundle",
        description="Compile a model to a folder with the program, its memory images and the IR after every pass, and tell what a "
        "run will cost. A shape without weights gives everything but the images.",
        examples=["plena compile smollm2-135m --layers 2 --random-weights 0 --target 64x4x16 -o build/smollm2"],
    )
    compile_.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    compile_.add_argument("-o", dest="output", metavar="DIR", type=Path, required=True, help="the folder to write")
    compile_.add_argument(
        "--compile-to",
        choices=("tensor", "tile", "isa", "asm"),
        default="asm",
        help="stop after this level (default asm, the whole bundle)",
    )
    compile_.add_argument(
        "--verify",
        action="store_true",
        help="check memory planning, rolled layers, transfers, the image and register allocation independently",
    )
    compile_.add_argument(
        "--verify-by-execution",
        action="store_true",
        help="run the IR before and after every pass, which must compute the same (for small models)",
    )
    add_timing_option(compile_)
    add_model_options(compile_)
    compile_.set_defaults(execute=_compile, ids=None)

    run = commands.add_parser(
        "run",
        help="run a bundle or a model, and compare it with PyTorch",
        description="Run a bundle, or compile a model and run it; compare the result with the levels above. A case file is a "
        "model, a machine and all options in one: running it repeats what it was saved from (--save-case).",
        examples=["plena run smollm2-135m --layers 2 --random-weights 0 --compare hf,golden,tile --json"],
    )
    run.add_argument("source", metavar="DIR|MODEL", help=f"a bundle (a folder with manifest.json), {MODEL_HELP}")
    run.add_argument(
        "--engine",
        choices=("fast", "interpreter"),
        default="fast",
        help="decoded machine code, or the IR op by op (default fast)",
    )
    add_timing_option(run)
    run.add_argument(
        "--compare",
        metavar="LIST",
        type=name_list(LEVELS),
        help="compare with the HF model, the hardware golden, the tile and the isa interpreter: any of hf,golden,tile,isa "
        "(default none; of a case, what it says)",
    )
    run.add_argument(
        "--save-case",
        metavar="FILE",
        type=Path,
        help="write model, seed of the weights, machine, options, and what came of the run, to one file that `plena run` repeats",
    )
    add_golden_option(run)
    add_plots_option(run, "histogram of the errors, worst elements and, with the golden, the error of every layer")
    run.add_argument("--ids", metavar="LIST", type=id_list, help="token ids, those of padding too (default: random)")
    add_model_options(run)
    run.set_defaults(execute=_run, usage_error=run.error)


def _compile(args: argparse.Namespace) -> int:
    from plena_mlir.bundle import MANIFEST
    from plena_mlir.compiler import compile_hf_model

    check_folder(args.output, marker=MANIFEST)
    with progress() as listener:
        phases = Phases(listener)
        program = compile_hf_model(
            args.model,
            **model_options(args, args.model),
            compile_to=args.compile_to,
            keep_ir=True,
            verify=args.verify,
            verify_by_execution=args.verify_by_execution,
            phases=phases,
        )
        program.save(args.output)
        report = program.estimate(timing=args.timing, phases=phases) if args.compile_to == "asm" else program.report
    print_report(report, as_json=args.json)
    return 0


def _run(args: argparse.Namespace) -> int:
    case = CaseRun.of(args)
    if args.golden is not None and "golden" not in args.compare:
        args.usage_error("argument --golden: nothing is compared with the golden without --compare golden")
    if args.plots is not None and not args.compare:
        args.usage_error("argument --plots: there is nothing to plot without --compare")
    if args.plots is not None:
        check_folder(args.plots)
    try:
        report = _run_program(args)
    except Exception as error:
        case.came_to(observation_of(error))
        raise
    print_report(report, as_json=args.json)
    broken = broken_bounds(
        report.comparisons,
        layers=report.model.layers if report.model is not None else 0,
        hardware_golden=args.golden is None or args.golden == HARDWARE,
        routing=report.routing,
    )
    case.came_to(observation_of_bounds(broken))
    for sentence in broken:
        print(f"plena: error: {sentence}", file=sys.stderr)
    return 1 if broken else 0


def _run_program(args: argparse.Namespace) -> Report:
    with progress() as listener:
        phases = Phases(listener)
        program = open_program(args, phases)
        outcome = program.run(
            engine=args.engine,
            timing=args.timing,
            compare=args.compare,
            input_ids=args.ids,
            golden_precision=args.golden,
            phases=phases,
        )
        if args.plots is not None:
            _plot(program, outcome, args.plots, phases)
    return outcome.report


def _plot(program: CompiledProgram, outcome: RunOutcome, folder: Path, phases: Phases) -> None:
    from plena_mlir.verify.layer_errors import layer_errors
    from plena_mlir.verify.plots import plot_histogram, plot_layers, plot_worst

    make_folder(folder)
    plot_histogram(outcome.compared, folder)
    plot_worst(outcome.report.comparisons, folder)
    if "golden_vs_emulator" in outcome.compared:
        with phases.phase("layers"):
            plot_layers(layer_errors(program, outcome), folder)


def open_program(args: argparse.Namespace, phases: Phases, compile_to: Level = "asm", *, keep_ir: bool = False) -> CompiledProgram:
    """The bundle at `args.source`, or the model of that name compiled with the options on the command line.

    Args:
        compile_to: the last level that is needed of a model.
        keep_ir: keep the IR of a model after every pass.
    """
    return _bundle_program(args) if _is_bundle(args.source) else _model_program(args, phases, compile_to, keep_ir=keep_ir)


def _is_bundle(source: str) -> bool:
    return (Path(source) / "manifest.json").is_file()


def _model_program(args: argparse.Namespace, phases: Phases, compile_to: Level, *, keep_ir: bool) -> CompiledProgram:
    from plena_mlir.compiler import compile_hf_model

    options = model_options(args, args.source)
    if options["random_weights"] is None and (args.source in SHAPES or Path(args.source).is_file()):
        raise NoWeightsError("this model", where=args.source)
    return compile_hf_model(
        args.source, **options, compile_to=compile_to, keep_ir=keep_ir, verify=is_case_file(args.source), phases=phases
    )


def _bundle_program(args: argparse.Namespace) -> CompiledProgram:
    """The bundle at `args.source`, unless the command line asks for something else than was compiled."""
    from plena_mlir.compiler import load_bundle
    from plena_mlir.target import load_target

    given = given_model_options(args)
    if given:
        raise BundleError(
            f"{', '.join(given)} cannot change a compiled bundle",
            where=args.source,
            hint="compile the model again with these options",
        )
    program = load_bundle(args.source)
    machine = args.target or args.settings
    if machine is not None and load_target(machine).hash != program.target.hash:
        raise BundleError(
            f"the bundle was compiled for target {program.target.name}, and {machine} is another machine",
            where=args.source,
            hint="leave the option out, or compile the model again",
        )
    return program
