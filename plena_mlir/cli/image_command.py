"""`plena image`: what lies where in an HBM image. Imports neither torch nor transformers."""

from __future__ import annotations

import argparse
from pathlib import Path

from plena_mlir.cli.console import print_json
from plena_mlir.cli.options import CommandParser, add_json_option
from plena_mlir.report import Json


def register(commands: argparse._SubParsersAction[CommandParser]) -> None:  # pyright: ignore[reportPrivateUsage]
    """Add the command to the `plena` parser."""
    image = commands.add_parser(
        "image",
        help="show what lies where in an HBM image",
        description="List the tensors of a bundle's HBM image by address: elements, scale bytes and gaps.",
        examples=["plena image build/model"],
    )
    image.add_argument("bundle", metavar="DIR", type=Path, help="a bundle, as plena compile writes it")
    add_json_option(image)
    image.set_defaults(execute=_image)


def _image(args: argparse.Namespace) -> int:
    from plena_mlir.image_map import Region, map_image, read_tensors

    def row(region: Region) -> dict[str, Json]:
        place: dict[str, Json] = {"start": region.start, "stop": region.stop, "part": region.part}
        if region.tensor is None:
            return place
        tensor = region.tensor
        place.update(tensor=tensor.name, shape=list(tensor.shape), role=tensor.role, precision=tensor.precision)
        return place

    regions = map_image(read_tensors(args.bundle))
    if args.json:
        rows: list[Json] = [row(region) for region in regions]
        print_json({"schema": "plena.image/1", "regions": rows})
        return 0
    print(f"{'start':>10}  {'stop':>10}  {'bytes':>13}  {'part':<8}  {'role':<6}  {'precision':<9}  {'shape':<14}  tensor")
    for region in regions:
        tensor = region.tensor
        place = f"{region.start:>#10x}  {region.stop:>#10x}  {region.stop - region.start:>13,}  {region.part:<8}"
        if tensor is None:
            print(place)
        else:
            shape = "x".join(map(str, tensor.shape))
            print(f"{place}  {tensor.role:<6}  {tensor.precision:<9}  {shape:<14}  {tensor.name}")
    return 0
