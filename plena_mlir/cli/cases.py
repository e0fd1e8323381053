"""Case files on the command line: `plena run --save-case FILE` writes one, and any command that takes a model reads one."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from plena_mlir.case import LEVELS, Case, Observation, is_case_file, load_case, save_case
from plena_mlir.cli.options import model_options
from plena_mlir.errors import BundleError, ModelImportError
from plena_mlir.golden_precision import HARDWARE, parse_golden_precision


@dataclass(frozen=True)
class CaseRun:
    """The cases that one `plena run` has to do with.

    Attributes:
        opened: what the command runs, if that is a case file.
        new: what `--save-case` asks for.
    """

    opened: Case | None
    new: Case | None
    source: str
    file: Path | None

    @staticmethod
    def of(args: argparse.Namespace) -> CaseRun:
        """The cases of a command line, of which whatever it leaves open is set as the case file says.

        Raises:
            BundleError, ModelImportError: what is to be saved is no case.
        """
        if args.save_case is not None and not args.save_case.parent.is_dir():
            raise BundleError("no such folder for the case file", where=str(args.save_case.parent))
        opened = load_case(args.source) if is_case_file(args.source) else None
        if opened is not None:
            args.ids = opened.input_ids if args.ids is None else args.ids
            args.compare = opened.compare if args.compare is None else args.compare
            if args.golden is None and "golden" in args.compare:
                args.golden = parse_golden_precision(opened.golden)
        if args.compare is None:
            args.compare = ()
        return CaseRun(opened, None if args.save_case is None else _case_of(args), args.source, args.save_case)

    def came_to(self, observed: Observation) -> None:
        """Save the new case with what came of it, and tell whether the case that was opened still comes to the same."""
        if self.new is not None and self.file is not None:
            save_case(self.file, self.new, observed)
        before = None if self.opened is None else self.opened.observed
        if before is not None:
            same = "again" if (observed.status, observed.kind) == (before.status, before.kind) else f"and now {observed.summary}"
            print(f"plena: note: {self.source} {before.summary} when it was saved, {same}", file=sys.stderr)


def _case_of(args: argparse.Namespace) -> Case:
    """The case that a command line describes."""
    from plena_mlir.frontend.configurations import config_fields

    if (Path(args.source) / "manifest.json").is_file():
        raise BundleError("a bundle is no case", where=args.source, hint="save the case from the model it was compiled from")
    options = model_options(args, args.source)
    seed = options["random_weights"]
    if seed is None:
        raise ModelImportError("a case file holds no weights", where=args.source, hint="give --random-weights SEED")
    return Case(
        model=config_fields(args.source),
        target=options["target"],
        seq_len=options["seq_len"],
        random_weights=seed,
        num_layers=options["num_layers"],
        scope=options["scope"],
        output=options["output"],
        attention=options["attention"],
        batch=options["batch"],
        lengths=options["lengths"],
        padding_side=options["padding_side"],
        logits=options["logits"],
        strategy=options["strategy"],
        input_ids=args.ids,
        compare=args.compare or LEVELS,
        golden=HARDWARE.name if args.golden is None else args.golden.name,
    )
