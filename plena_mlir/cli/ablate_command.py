"""`plena ablate`: which part of the machine's arithmetic causes how much of its difference from float32."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from plena_mlir.cli.console import print_json, progress
from plena_mlir.cli.model_commands import MODEL_HELP, open_program
from plena_mlir.cli.options import CommandParser, add_model_options, add_plots_option
from plena_mlir.cli.tables import print_table
from plena_mlir.files import check_folder, make_folder
from plena_mlir.phases import Phases

if TYPE_CHECKING:
    from plena_mlir.verify.ablation import Ablation, Waterfall

_DESCRIPTION = """\
Turn on the switches of the golden (weights, kv, activations, intermediates, accumulation) in every possible order, and tell what
each adds to the gap, the relative RMS difference from float32 over all elements of the output. The deltas, means over all orders,
add up to the whole gap; so do the forward and the backward order, whose difference shows how the switches interact.
"""


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the command to the `plena` parser."""
    ablate = commands.add_parser(
        "ablate",
        help="tell which part of the machine's arithmetic costs how much accuracy",
        description=_DESCRIPTION,
        examples=["plena ablate clm-60m --layers 5 --random-weights 0 --target 64x16x64 --seq 64"],
    )
    ablate.add_argument("source", metavar="DIR|MODEL", help=f"a bundle (a folder with manifest.json), {MODEL_HELP}")
    ablate.add_argument(
        "--emulator",
        action="store_true",
        help="go on to the emulated machine: the last step is what its order of rounding and adding makes of the hardware golden",
    )
    add_plots_option(ablate, "the waterfall, and the steps at the output of every layer")
    add_model_options(ablate)
    ablate.set_defaults(execute=_ablate, ids=None)


def _ablate(args: argparse.Namespace) -> int:
    from plena_mlir.verify.ablation import ablate

    if args.plots is not None:
        check_folder(args.plots)
    with progress() as listener:
        phases = Phases(listener)
        program = open_program(args, phases, compile_to="asm" if args.emulator else "tensor")
        found = ablate(program, emulator=args.emulator, phases=phases)
        if args.plots is not None:
            _plot(found, args.plots)
    if args.json:
        print_json({"target": program.target.name, **found.to_json()})
    else:
        _print(found)
    return 0


def _plot(found: Ablation, folder: Path) -> None:
    from plena_mlir.verify.plots import plot_ablated_layers, plot_waterfall

    make_folder(folder)
    plot_waterfall(found, folder)
    if found.layers:
        plot_ablated_layers(found, folder)


def _print(found: Ablation) -> None:
    output = found.output
    rows = [
        (step.name, *(f"{value:+.5f}" for value in (step.delta, step.forward, step.backward, step.alone)), f"{step.share:.1%}")
        for step in output.steps
    ]
    sums = [sum(getattr(step, column) for step in output.steps) for column in ("delta", "forward", "backward", "alone")]
    rows.append(("total", *(f"{value:+.5f}" for value in sums), f"{sum(step.share for step in output.steps):.1%}"))
    print_table("step", ("delta", "forward", "backward", "alone", "share"), rows, emphasised=(len(rows) - 1,))
    if found.layers:
        print()
        print_table("layer output", ("gap", *(step.name for step in _first(found).steps), "cause"), _layer_rows(found))
    cause = output.cause
    print(
        f"\ncause: {cause.name}, {cause.share:.1%} of the squared gap; total gap {output.total_gap:.5g}, "
        f"interaction {output.interaction:+.5g} (what the gaps alone add up to beyond the total)"
    )


def _first(found: Ablation) -> Waterfall:
    return next(iter(found.layers.values()))


def _layer_rows(found: Ablation) -> list[tuple[str, ...]]:
    return [
        (layer, f"{waterfall.total_gap:.5f}", *(f"{step.delta:+.5f}" for step in waterfall.steps), waterfall.cause.name)
        for layer, waterfall in found.layers.items()
    ]
