"""What lies where in the HBM image of a bundle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from plena_mlir.bundle import MANIFEST, read_manifest
from plena_mlir.errors import BundleError
from plena_mlir.interface import HbmTensor, ProgramInterface
from plena_mlir.target import MX_BLOCK


@dataclass(frozen=True)
class Region:
    """Bytes `start`..`stop` of HBM.

    Attributes:
        part: "elements" or "scales" of the tensor, or "gap" between tensors.
        tensor: what the bytes belong to; None for a gap.
    """

    start: int
    stop: int
    part: str
    tensor: HbmTensor | None = None


def map_image(tensors: Sequence[HbmTensor]) -> list[Region]:
    """The regions of an image from byte 0 to the end of the last tensor, by address; overlapping tensors keep their own regions."""
    regions: list[Region] = []
    reached = 0
    for tensor in sorted(tensors, key=lambda tensor: (tensor.address, tensor.name)):
        if tensor.address > reached:
            regions.append(Region(reached, tensor.address, "gap"))
        scales = tensor.address + math.prod(tensor.shape)
        stop = scales + math.prod(tensor.shape) // MX_BLOCK
        regions += [Region(tensor.address, scales, "elements", tensor), Region(scales, stop, "scales", tensor)]
        reached = max(reached, stop)
    return regions


def read_tensors(folder: str | Path) -> tuple[HbmTensor, ...]:
    """The tensors that the manifest of a bundle lists.

    Raises:
        BundleError: the manifest is missing, malformed, of another schema, or of a program without a memory plan.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if "interface" not in manifest:
        raise BundleError(
            "the program has no memory plan, so it has no image", where=str(folder), hint="compile it to the tile level"
        )
    try:
        return ProgramInterface.from_json(manifest["interface"]).tensors
    except (LookupError, TypeError) as error:
        raise BundleError(f"{MANIFEST} is incomplete or malformed: {error}", where=str(folder)) from error
