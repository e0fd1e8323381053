"""The error at the output of every layer: of the golden against float32, and of the machine against the golden."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray
from xdsl.ir import Operation

from plena_mlir.backend.staging import arrays_of
from plena_mlir.dialects.plena import module_path, stage_of
from plena_mlir.golden_precision import HARDWARE, GoldenPrecision
from plena_mlir.verify.compare import Comparison, compare
from plena_mlir.verify.layer_outputs import LayerOutputs, first_layer, layer_of

if TYPE_CHECKING:
    from plena_mlir.program import CompiledProgram, RunOutcome


def layer_errors(program: CompiledProgram, outcome: RunOutcome) -> Mapping[str, Mapping[str, float]]:
    """Relative RMS errors of the hardware golden on the inputs of a run: comparison -> layer -> error, in order of execution.

    Raises:
        LoweringError, ModelImportError, Trap: the program cannot be run.
    """
    same_inputs = replace(program)
    same_inputs.inputs = outcome.inputs
    return {"golden_vs_fp32": _golden_errors(same_inputs), "golden_vs_emulator": _machine_errors(same_inputs)}


def _golden_errors(program: CompiledProgram) -> Mapping[str, float]:
    from plena_mlir.interpreters.tensor import run_precisions

    module = program.stage("tensor")
    outputs, found = LayerOutputs(module), dict[str, float]()

    def observe(op: Operation, values: Sequence[NDArray[Any]]) -> None:
        layer = outputs.leaves(op)
        if layer is not None:
            found[layer] = compare(values[1], values[0], name=layer).rel_rms

    run_precisions(
        module,
        arrays_of(program.inputs),
        program.source_model.store,
        (GoldenPrecision(), HARDWARE),
        target=program.target,
        observe=observe,
    )
    return found


def _machine_errors(program: CompiledProgram) -> Mapping[str, float]:
    """The accumulated errors of the stages that are the last of their layers."""
    from plena_mlir.verify.stage_checks import check_program

    places = {
        stage: (layer, first_layer(op))
        for op in program.stage("named").walk()
        if (stage := stage_of(op)) is not None and (layer := layer_of(module_path(op))) is not None
    }
    last: dict[str, tuple[str, list[Comparison]]] = {}
    for check in check_program(program):
        stage, iteration = check.occurrence
        if check.accumulated is None or stage not in places:
            continue
        layer, first = places[stage]
        name = layer.replace("{}", str(first + iteration[0])) if iteration else layer
        # A stage that runs in blocks of rows has a comparison for each of them.
        blocks = last[name][1] if name in last and last[name][0] == stage else []
        last[name] = (stage, [*blocks, check.accumulated])
    return {layer: _together(blocks) for layer, (_, blocks) in last.items()}


def _together(blocks: Sequence[Comparison]) -> float:
    """The relative RMS over the elements of all blocks."""
    noise = sum(block.elements * (block.rel_rms * block.ref_rms) ** 2 for block in blocks)
    signal = sum(block.elements * block.ref_rms**2 for block in blocks)
    return math.sqrt(noise / signal)
