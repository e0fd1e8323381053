"""What commands print: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout

from plena_mlir.cli.tables import print_table
from plena_mlir.report import Json, Report
from plena_mlir.verify.compare import ALLCLOSE_TOLERANCE, TOLERANCES, Comparison

WORST_SHOWN = 3
"""Elements that the table for people names for each comparison; JSON holds them all."""

_PHASE_TEXT = {
    "import": "importing",
    "lower": "lowering",
    "estimate": "counting instructions",
    "image": "writing the HBM image",
    "emulate": "emulating",
    "poison": "emulating from NaN-filled memories",
    "reference": "running PyTorch",
    "golden": "running the golden",
    "tile": "running the tile interpreter",
    "isa": "running the isa interpreter",
    "layers": "comparing the layers",
}
"""What is shown for the phases of `Phases`; anything else is shown as it is."""


def print_json(sections: Mapping[str, Json]) -> None:
    print(json.dumps(sections, indent=2, allow_nan=False))


def print_report(report: Report, *, as_json: bool) -> None:
    """The report as one JSON object, or as aligned lines for people."""
    sections = report.to_json()
    if as_json:
        print_json(sections)
        return
    compare = sections.pop("compare", None)
    notes = sections.pop("notes", None)
    sections.pop("schema")
    rows = [(path, value) for path, value in _flatten(sections)]
    width = max(len(path) for path, _ in rows)
    for path, value in rows:
        print(f"{path:<{width}}  {value:,}" if isinstance(value, int) else f"{path:<{width}}  {value}")
    if isinstance(compare, Mapping):
        _print_comparisons(report)
    for note in notes if isinstance(notes, list) else ():
        print(f"note: {note}")


def _flatten(sections: Mapping[str, Json], prefix: str = "") -> Generator[tuple[str, Json]]:
    for name, value in sections.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _print_comparisons(report: Report) -> None:
    columns = ("max_abs", "max_rel", "rel_rms", "sqnr_db", "cosine", "close_fp32", "close_bf16", "close_0.2", "elements", "bits")
    rows = [(name, *_comparison_cells(result)) for name, result in report.comparisons.items()]
    print()
    print_table("compare", columns, rows)
    worst = [
        (name, str(element.index), f"{element.actual:.6g}", f"{element.reference:.6g}", f"{element.error:.3g}")
        for name, result in report.comparisons.items()
        for element in result.worst[:WORST_SHOWN]
    ]
    if worst:
        print()
        print_table("worst elements", ("index", "actual", "reference", "error"), worst)
    (fp32_atol, fp32_rtol), (bf16_atol, bf16_rtol) = TOLERANCES
    print(
        f"\nclose_fp32, close_bf16: share within {fp32_atol:g} + {fp32_rtol:g} |reference|, "
        f"within {bf16_atol:g} + {bf16_rtol:g} |reference|; close_0.2: within {ALLCLOSE_TOLERANCE:g}"
    )


def _comparison_cells(result: Comparison) -> Sequence[str]:
    return (
        f"{result.max_abs:.3g}",
        f"{result.max_rel:.3g}",
        f"{result.rel_rms:.3g}",
        "inf" if result.sqnr_db is None else f"{result.sqnr_db:.1f}",
        f"{result.cosine:.6f}",
        *(f"{close.share:.2%}" for close in result.allclose),
        f"{result.allclose_0_2:.2%}",
        f"{result.elements:,}",
        "exact" if result.bit_exact else "differ",
    )


@contextmanager
def progress() -> Generator[Callable[[str], None] | None]:
    """A listener for `Phases` that shows the phase and its time on stderr; None if stderr is not a terminal.

    While it lasts, whatever a library prints goes to stderr too, so that stdout holds the result alone.
    """
    with redirect_stdout(sys.stderr):
        if not sys.stderr.isatty():
            yield None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task("starting", total=None)

            def listen(phase: str) -> None:
                bars.update(task, description=_PHASE_TEXT.get(phase, phase))

            yield listen


def show_own_warnings(prog: str) -> None:
    """Warnings of plena-mlir become one line on stderr each; those of the libraries under it are not the user's concern."""

    def show(message: Warning | str, category: type[Warning], *_: object) -> None:
        if category.__module__.split(".")[0] == "plena_mlir":
            print_warning(prog, message)

    warnings.simplefilter("default")
    warnings.showwarning = show  # pyright: ignore[reportAttributeAccessIssue]
    # transformers and Hugging Face Hub log through their own handlers; no command touches the network.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ["HF_HUB_OFFLINE"] = "1"


def print_warning(prog: str, message: object) -> None:
    print(f"{prog}: warning: {one_line(message)}", file=sys.stderr)


def one_line(message: object) -> str:
    return " ".join(str(message).split())
