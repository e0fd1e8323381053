"""`plena models`: the model families that are tested end to end, and what the tests measured."""

from __future__ import annotations

import argparse
import json
from importlib.resources import files
from typing import Any

from plena_mlir.cli.console import print_json
from plena_mlir.cli.options import CommandParser, add_json_option

SUPPORT_FILE = "model_support.json"
"""Written by tools/measure_families.py, shipped in the package."""


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the command to the `plena` parser."""
    models = commands.add_parser(
        "models",
        help="list the tested model families",
        description="List the model families that are tested end to end, with the errors that were measured on a small model.",
        examples=["plena models --json"],
    )
    add_json_option(models)
    models.set_defaults(execute=_models)


def load_support() -> list[dict[str, Any]]:
    """One entry per family, as the tool wrote them."""
    return json.loads((files("plena_mlir") / SUPPORT_FILE).read_text(encoding="utf-8"))


def _models(args: argparse.Namespace) -> int:
    families = load_support()
    if args.json:
        print_json({"families": [*families]})
        return 0
    width = max(len(row["family"]) for row in families)
    titles = f"{'layers':>6} {'HF error':>9} {'golden':>8} {'formats':>8} {'bits':>6} {'cycles':>9}"
    print(f"{'family':<{width}} {titles}  what it has that Llama has not")
    for row in families:
        bits = "same" if row["bit_exact"] else "differ"
        print(
            f"{row['family']:<{width}} {row['layers']:>6} {row['hf_max_rel']:>9.1e} {row['golden_rel_rms']:>8.4f} "
            f"{row['formats_rel_rms']:>8.4f} {bits:>6} {row['cycles']:>9,}  {row['traits']}"
        )
    print("HF error: largest error of the import in float32. golden, formats: relative RMS of the machine against the golden,")
    print(
        "and of the golden against Hugging Face, which is what the number formats cost. Cycles: transactional, of the small model\n"
        "that was tested. Other models of the same parts compile too."
    )
    return 0
