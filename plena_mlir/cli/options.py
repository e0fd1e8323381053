"""Options that several commands share, and the argument types they use."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypedDict

from plena_mlir.case import is_case_file, load_case
from plena_mlir.errors import ModelImportError, TargetError
from plena_mlir.golden_precision import MODES, SWITCHES, GoldenPrecision, parse_golden_precision
from plena_mlir.target import Target, load_target
from plena_mlir.timing import timing_choices

DEFAULT_TARGET = "64x16x64"
DEFAULT_SEQ = 64

_SIZE = re.compile(r"(\d+)([KMGT]?)(?:iB|B)?", re.IGNORECASE)
_POWERS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


class _HelpFormatter(argparse.HelpFormatter):
    """Wraps text to the terminal, but leaves indented lines as they are: commands to copy."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n  " not in text:
            return super()._fill_text(text, width, indent)
        return "".join(f"{indent}{line}\n" for line in text.splitlines())


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line: what is wrong and where the options are described.

    Args:
        examples: command lines that its help ends with.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, formatter_class=_HelpFormatter, **options)
        if examples:
            self.epilog = "\n  ".join(("example:" if len(examples) == 1 else "examples:", *examples))

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message} ({self.prog} --help shows the options)\n")


def integer(minimum: int) -> Callable[[str], int]:
    """An argument type: a decimal integer of at least `minimum`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{value} is less than {minimum}")
        return value

    return parse


def id_list(text: str) -> tuple[int, ...]:
    """An argument type: comma-separated token ids."""
    parse = integer(0)
    return tuple(parse(item.strip()) for item in text.split(","))


def name_list(allowed: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """An argument type: comma-separated names, each one of `allowed`."""

    def parse(text: str) -> tuple[str, ...]:
        names = tuple(item.strip() for item in text.split(","))
        for name in names:
            if name not in allowed:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(allowed)}")
        return names

    return parse


def golden_switches(text: str) -> GoldenPrecision:
    """An argument type: a golden precision, by the name of its mode or by its switches."""
    try:
        return parse_golden_precision(text)
    except TargetError as error:
        raise argparse.ArgumentTypeError(error.what if error.hint is None else f"{error.what}; {error.hint}") from None


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, and nothing else, on stdout")


def add_golden_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--golden",
        metavar="MODE",
        type=golden_switches,
        help=f"what the golden imitates of the machine: {', '.join(MODES)}, or any of {','.join(SWITCHES)} (default hardware)",
    )


def add_plots_option(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--plots", metavar="DIR", type=Path, help=f"write plots to this folder: {what}")


def add_reference_encoding_option(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    parser.add_argument(
        "--reference-encoding",
        action="store_true",
        help="misplace the operands that the reference assembler misplaces, instead of correcting them with a warning",
    )


def add_timing_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timing",
        choices=timing_choices(),
        default="both",
        help="cycle models to report (default both)",
    )


def byte_size(text: str) -> int:
    """An argument type: bytes as `N[K|M|G|T][iB|B]`, where every unit is a power of 1024."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 64M or 16GiB")
    return int(match.group(1)) << _POWERS[match.group(2).upper()]


def add_hbm_size_option(parser: argparse._ActionsContainer) -> None:  # pyright: ignore[reportPrivateUsage]
    parser.add_argument("--hbm-size", metavar="N", type=byte_size, help="bytes of HBM, as N[K|M|G|T], instead of the machine's")


def add_machine_options(parser: argparse._ActionsContainer) -> None:  # pyright: ignore[reportPrivateUsage]
    """The options that say what machine to compile for."""
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument(
        "--target", metavar="T", help=f"machine: MLENxBLENxHLEN[-ocp] or a plena_settings.toml (default {DEFAULT_TARGET})"
    )
    machine.add_argument("--settings", metavar="F", help="machine: a plena_settings.toml")
    add_hbm_size_option(parser)


def add_layers_option(parser: argparse._ActionsContainer) -> None:  # pyright: ignore[reportPrivateUsage]
    parser.add_argument("--layers", metavar="N", type=integer(1), help="decoder layers, from the first (default all)")


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that takes a model.

    Each defaults to None, so that a command which also takes a bundle can tell what was asked for; `model_options` fills in
    the defaults.
    """
    group = parser.add_argument_group("model options")
    add_machine_options(group)
    group.add_argument("--seq", metavar="N", type=integer(1), help=f"sequence length (default {DEFAULT_SEQ})")
    add_layers_option(group)
    group.add_argument(
        "--scope",
        choices=("model", "decoder"),
        help="token ids to logits, or hidden states to the final norm's output (default model)",
    )
    group.add_argument("--random-weights", metavar="SEED", type=integer(0), help="random weights, the same for a seed everywhere")
    group.add_argument(
        "--output-name",
        metavar="NAME",
        help="the model output to compute: logits, last_hidden_state, pooler_output, sentence_embedding (default its first)",
    )
    group.add_argument(
        "--attention", choices=("bidirectional",), help="let every token see all others (default as the model has it)"
    )
    group.add_argument("--batch", metavar="N", type=integer(1), help="sequences in one run (default 1)")
    group.add_argument(
        "--lengths", metavar="LIST", type=id_list, help="tokens of each sequence, comma-separated; the rest of --seq is padding"
    )
    group.add_argument("--padding-side", choices=("left", "right"), help="where shorter sequences are padded (default right)")
    group.add_argument("--logits", choices=("all", "last"), help="logits of all positions or of the last (default all)")
    add_json_option(parser)


class ModelOptions(TypedDict):
    """The model options as keyword arguments of `compile_hf_model`."""

    target: Target
    seq_len: int
    num_layers: int | None
    scope: Literal["model", "decoder"]
    random_weights: int | None
    output: str | None
    attention: Literal["bidirectional"] | None
    batch: int | None
    lengths: tuple[int, ...] | None
    padding_side: Literal["left", "right"]
    logits: Literal["all", "last"]
    strategy: Literal["auto", "micro", "broadcast"]


def machine_of(args: argparse.Namespace, default: Target | None = None) -> Target:
    """The machine that the command line names, or else `default`, with the HBM that it asks for."""
    named = args.target or args.settings
    target = default if default is not None and named is None else load_target(named or DEFAULT_TARGET)
    return target if args.hbm_size is None else replace(target, hbm_size=args.hbm_size)


def model_options(args: argparse.Namespace, source: str) -> ModelOptions:
    """The model options of the command line; what it leaves open is as in the case file `source`, or by default."""
    case = load_case(source) if is_case_file(source) else None

    def chosen(name: str, otherwise: Any = None) -> Any:
        given = getattr(args, "output_name" if name == "output" else name)
        return given if given is not None else otherwise if case is None else getattr(case, name)

    batch, lengths = chosen("batch"), chosen("lengths")
    seq_len = args.seq or (DEFAULT_SEQ if case is None else case.seq_len)
    if args.ids is not None:
        seq_len = _length_for_ids(args.ids, args.seq, len(lengths or ()) or batch or 1)
    return {
        "target": machine_of(args, None if case is None else case.target),
        "seq_len": seq_len,
        "num_layers": args.layers or (None if case is None else case.num_layers),
        "scope": chosen("scope", "model"),
        "random_weights": chosen("random_weights"),
        "output": chosen("output"),
        "attention": chosen("attention"),
        "batch": batch,
        "lengths": lengths,
        "padding_side": chosen("padding_side", "right"),
        "logits": chosen("logits", "all"),
        "strategy": "auto" if case is None else case.strategy,
    }


def _length_for_ids(ids: Sequence[int], seq: int | None, sequences: int) -> int:
    """The sequence length that token ids for so many sequences make, which is `seq` if that is given."""
    if len(ids) % sequences or (seq is not None and seq * sequences != len(ids)):
        rows = "" if seq is None else f" of {seq}"
        what = f"a sequence{rows}" if sequences == 1 else f"{sequences} sequences{rows}, padding included"
        raise ModelImportError(f"--ids gives {len(ids)} token ids for {what}")
    return len(ids) // sequences


def given_model_options(args: argparse.Namespace) -> list[str]:
    """The model options on the command line, apart from the machine's, as they are spelled there."""
    names = (
        "hbm_size",
        "seq",
        "layers",
        "scope",
        "random_weights",
        "output_name",
        "attention",
        "batch",
        "lengths",
        "padding_side",
        "logits",
    )
    return [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]
