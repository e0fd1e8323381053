"""Running a program: words and memory contents in, a `RunResult` out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.backend.hbm_image import HbmImage, load_image
from plena_mlir.emulator.execution import Execution
from plena_mlir.emulator.kernels.traps import TOO_MANY_INSTRUCTIONS
from plena_mlir.emulator.machine import Bytes, Machine, Segment
from plena_mlir.emulator.result import RunResult
from plena_mlir.target import Target

HbmContent: TypeAlias = "HbmImage | Bytes | str | os.PathLike[str] | Iterable[Segment]"
Progress: TypeAlias = Callable[[int], None]

DEFAULT_MAX_INSTRUCTIONS = 1 << 60
PROGRESS_STEP = 20_000_000
"""Instructions between two calls of a progress callback."""


def run_program(
    words: Sequence[int] | NDArray[Any],
    target: Target,
    *,
    hbm: HbmContent | None = None,
    fpsram: NDArray[Any] | None = None,
    intsram: NDArray[Any] | None = None,
    vram: NDArray[Any] | None = None,
    fill: float = 0.0,
    strict: bool = False,
    max_instructions: int = DEFAULT_MAX_INSTRUCTIONS,
    timing: str = "transactional",
    locations: Sequence[str | None] | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run a program from reset to its end.

    Args:
        words: instruction words.
        hbm: an image, bytes from address 0, the path of a (sparse) file, or (address, bytes) segments.
        fpsram: first entries of the FP SRAM, as float values.
        intsram: first entries of the INT SRAM, u32.
        vram: rows [n, vlen] of the Vector SRAM from row 0.
        fill: what all memories hold at first, 0 or NaN; outputs must not depend on it.
        strict: also trap where the hardware goes on but no sound program may: writes to gp0 and f0, HBM reads past the end, NaN in
            an f register, among lanes that V_RED_MAX or V_TOPK compare or in a row stored to HBM, poison of the INT SRAM in a gp
            register, rows in HBM whose scale bytes straddle two blocks.
        timing: a profile's name, "both" or "none": which cycles can be asked of the result.
        locations: [pc] source locations that traps mention.
        progress: called now and then with the instructions executed so far.

    Raises:
        Trap: the program did what the machine forbids.
        ImageError: an image does not fit the machine.
    """
    machine = load_machine(target, hbm=hbm, fpsram=fpsram, intsram=intsram, vram=vram, fill=fill, strict=strict)
    return execute(machine, words, max_instructions=max_instructions, timing=timing, locations=locations, progress=progress)


def load_machine(
    target: Target,
    *,
    hbm: HbmContent | None = None,
    fpsram: NDArray[Any] | None = None,
    intsram: NDArray[Any] | None = None,
    vram: NDArray[Any] | None = None,
    fill: float = 0.0,
    strict: bool = False,
) -> Machine:
    """A machine with its memories loaded; the arguments and errors are those of `run_program`."""
    machine = Machine(target, fill=fill, strict=strict)
    if hbm is not None:
        machine.load_hbm(_segments(hbm))
    if fpsram is not None:
        machine.load_fpsram(fpsram)
    if intsram is not None:
        machine.load_intsram(intsram)
    if vram is not None:
        machine.load_vram(vram)
    return machine


def execute(
    machine: Machine,
    words: Sequence[int] | NDArray[Any],
    *,
    max_instructions: int = DEFAULT_MAX_INSTRUCTIONS,
    timing: str = "transactional",
    locations: Sequence[str | None] | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Run a program on a machine that is loaded already; see `run_program`."""
    execution = Execution(machine, words, locations, timing=timing)
    while not execution.finished:
        if execution.executed >= max_instructions:
            raise execution.trap(TOO_MANY_INSTRUCTIONS, f", {max_instructions:,}")
        execution.advance(max_instructions if progress is None else min(max_instructions, execution.executed + PROGRESS_STEP))
        if progress is not None:
            progress(execution.executed)
    return execution.result()


def _segments(hbm: HbmContent) -> Iterable[Segment]:
    if isinstance(hbm, HbmImage):
        return hbm.segments
    if isinstance(hbm, str | os.PathLike):
        return load_image(Path(hbm)).segments
    if isinstance(hbm, bytes | np.ndarray):
        return [(0, hbm)]
    return hbm
