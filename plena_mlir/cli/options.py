"""Options that several commands share, and the argument types they use."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Literal, NoReturn, TypedDict

from plena_mlir.timing import timing_choices

DEFAULT_TARGET = "64x16x64"
DEFAULT_SEQ = 64


class CommandParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line: what is wrong and where the options are described."""

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


def add_json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object, and nothing else, on stdout")


def add_timing_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timing",
        choices=timing_choices(),
        default="both",
        help="cycle models to report (default both)",
    )


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that takes a model.

    Each defaults to None, so that a command which also takes a bundle can tell what was asked for; `model_options` fills in
    the defaults.
    """
    group = parser.add_argument_group("model options")
    machine = group.add_mutually_exclusive_group()
    machine.add_argument(
        "--target", metavar="T", help=f"machine: MLENxBLENxHLEN or a plena_settings.toml (default {DEFAULT_TARGET})"
    )
    machine.add_argument("--settings", metavar="F", help="machine: a plena_settings.toml")
    group.add_argument("--seq", metavar="N", type=integer(1), help=f"sequence length (default {DEFAULT_SEQ})")
    group.add_argument("--layers", metavar="N", type=integer(1), help="decoder layers, from the first (default all)")
    group.add_argument(
        "--scope",
        choices=("model", "decoder"),
        help="token ids to logits, or hidden states to the final norm's output (default model)",
    )
    group.add_argument("--random-weights", metavar="SEED", type=integer(0), help="random weights, the same for a seed everywhere")
    group.add_argument("--logits", choices=("all", "last"), help="logits of all positions or of the last (default all)")
    add_json_option(parser)


class ModelOptions(TypedDict):
    """The model options as keyword arguments of `compile_hf_model`."""

    target: str
    seq_len: int
    num_layers: int | None
    scope: Literal["model", "decoder"]
    random_weights: int | None
    logits: Literal["all", "last"]


def model_options(args: argparse.Namespace) -> ModelOptions:
    """The model options of the command line, with their defaults."""
    return {
        "target": args.target or args.settings or DEFAULT_TARGET,
        "seq_len": DEFAULT_SEQ if args.seq is None else args.seq,
        "num_layers": args.layers,
        "scope": args.scope or "model",
        "random_weights": args.random_weights,
        "logits": args.logits or "all",
    }


def given_model_options(args: argparse.Namespace) -> list[str]:
    """The model options on the command line, apart from the machine's, as they are spelled there."""
    names = ("seq", "layers", "scope", "random_weights", "logits")
    return [f"--{name.replace('_', '-')}" for name in names if getattr(args, name) is not None]
