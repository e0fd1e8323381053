"""`plena generate`: greedy text from a checkpoint folder, by the emulator's logits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from plena_mlir.cli.console import print_json, progress
from plena_mlir.cli.options import (
    CommandParser,
    add_json_option,
    add_layers_option,
    add_machine_options,
    integer,
    machine_of,
    name_list,
)
from plena_mlir.errors import ModelImportError
from plena_mlir.phases import Phases
from plena_mlir.report import Json

if TYPE_CHECKING:
    from plena_mlir.generation import Level


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the command to the `plena` parser."""
    generate = commands.add_parser(
        "generate",
        help="continue a text by the emulator's logits",
        description="Compile a causal language model for the length of the whole text, and run it once for every new token.",
        examples=['plena generate tests/data/tiny-llama --prompt "the big owl" --tokens 40 --target 16x4x16'],
    )
    generate.add_argument("model", metavar="MODEL", help="a checkpoint folder with a tokenizer")
    generate.add_argument("--prompt", metavar="TEXT", required=True, help="the text to continue")
    generate.add_argument("--tokens", metavar="N", type=integer(1), default=20, help="how many tokens to add (default 20)")
    generate.add_argument(
        "--compare",
        metavar="LIST",
        type=name_list(("golden", "hf")),
        default=(),
        help="also continue the text by the logits of the golden and of the HF model: any of golden,hf",
    )
    group = generate.add_argument_group("model options")
    add_machine_options(group)
    add_layers_option(group)
    add_json_option(generate)
    generate.set_defaults(execute=_generate)


def _generate(args: argparse.Namespace) -> int:
    from plena_mlir.compiler import compile_hf_model
    from plena_mlir.generation import generate

    tokenizer = load_tokenizer(args.model)
    prompt = [int(token) for token in tokenizer.encode(args.prompt)]
    levels: list[Level] = ["emulator", *cast("tuple[Level, ...]", args.compare)]
    with progress() as listener:
        phases = Phases(listener)
        program = compile_hf_model(
            args.model,
            target=machine_of(args),
            seq_len=len(prompt) + args.tokens,
            num_layers=args.layers,
            phases=phases,
        )
        found: dict[str, list[int]] = {}
        for level in levels:
            with phases.phase(level):
                found[level] = generate(program, prompt, args.tokens, level=level)
    texts = {level: str(tokenizer.decode([*prompt, *tokens])) for level, tokens in found.items()}
    if args.json:
        tokens: dict[str, Json] = {level: [*numbers] for level, numbers in found.items()}
        print_json({"prompt": str(args.prompt), "tokens": tokens, "texts": dict[str, Json](texts)})
    else:
        print(texts["emulator"])
        for level in levels[1:]:
            print(f"{level}: {'the same text' if texts[level] == texts['emulator'] else texts[level]}")
    if "golden" in found and found["golden"] != found["emulator"]:
        print("plena: error: the golden continues the text otherwise", file=sys.stderr)
        return 1
    return 0


def load_tokenizer(folder: str) -> Any:
    """The tokenizer of a checkpoint folder.

    Raises:
        ModelImportError: there is none.
    """
    from transformers import AutoTokenizer

    from plena_mlir.frontend.skeleton import first_line

    if not Path(folder).is_dir():
        raise ModelImportError("no such folder", where=folder, hint="text needs a checkpoint folder with a tokenizer")
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever reading its files raises
        reason = f": {first_line(error)}" if (Path(folder) / "tokenizer.json").is_file() else ""
        raise ModelImportError(
            f"this folder has no tokenizer that loads{reason}",
            where=folder,
            hint="text needs the tokenizer's files beside the weights",
        ) from error
