"""Which part of the machine's arithmetic costs how much accuracy: the golden with every subset of its switches.

The gap of a set of switches is the relative RMS difference between the golden that has them on and the one in float32, over all
elements of the output. Errors of different origin do not add up, so that what a switch contributes depends on which are on
before it. Its step is therefore the mean of its contributions over all orders (its Shapley value), and beside it stand the
contributions in the forward order, in the backward order and alone. In every one of these orders, and in the mean, the steps add
up to the gap of all switches: they telescope.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from math import comb, prod
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects import func
from xdsl.ir import Operation

from plena_mlir.backend.staging import arrays_of
from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import main_function
from plena_mlir.golden_precision import SWITCHES, GoldenPrecision
from plena_mlir.phases import Phases
from plena_mlir.verify.compare import compare
from plena_mlir.verify.layer_outputs import LayerOutputs

if TYPE_CHECKING:
    from plena_mlir.program import CompiledProgram

METRIC = "relative RMS difference from float32, over all elements"
ROUNDING_ORDER = "rounding_order"
"""The step from the hardware golden to the machine: the order in which it rounds and adds."""

PASS_BYTES = 1 << 30
"""How many bytes of results the precisions that run side by side may have together."""

Switches: TypeAlias = frozenset[str]
SUBSETS: tuple[Switches, ...] = tuple(
    frozenset(subset) for size in range(len(SWITCHES) + 1) for subset in combinations(SWITCHES, size)
)


@dataclass(frozen=True)
class Step:
    """What one switch adds to the gap.

    Attributes:
        delta: the mean over all orders of turning the switches on. The deltas of all steps add up to the gap.
        forward: with the switches before it on, in the order of `SWITCHES`.
        backward: with the switches after it on.
        alone: the gap with nothing else on.
        share: of the squared gap, the mean over all orders. Errors that are independent add up in squares, so that shares, which
            add up to one, say best who causes the gap.
    """

    name: str
    delta: float
    forward: float
    backward: float
    alone: float
    share: float


@dataclass(frozen=True)
class Waterfall:
    """The way from float32 to the machine's arithmetic, at one place of the model.

    Attributes:
        total_gap: where it ends; the deltas of `steps`, and their forward and backward contributions, add up to it.
    """

    steps: tuple[Step, ...]
    total_gap: float

    @property
    def cause(self) -> Step:
        """The step with the largest share."""
        return max(self.steps, key=lambda step: step.share)

    @property
    def interaction(self) -> float:
        """What the gaps of the switches alone add up to beyond the gap of all of them together."""
        return sum(step.alone for step in self.steps) - self.total_gap

    def to_json(self) -> dict[str, Any]:
        steps = [asdict(step) for step in self.steps]
        return {"steps": steps, "total_gap": self.total_gap, "interaction": self.interaction, "cause": self.cause.name}


@dataclass(frozen=True)
class Ablation:
    """The waterfall of the output, and those of the layers' outputs in order of execution."""

    output: Waterfall
    layers: Mapping[str, Waterfall]

    def to_json(self) -> dict[str, Any]:
        layers = [{"layer": layer, **waterfall.to_json()} for layer, waterfall in self.layers.items()]
        return {"metric": METRIC, **self.output.to_json(), "layers": layers}


def waterfall(gaps: Mapping[Switches, float]) -> Waterfall:
    """The steps from no switch to all of them, from the gap of every subset."""
    everything = frozenset(SWITCHES)
    total, squares = gaps[everything], {subset: gap * gap for subset, gap in gaps.items()}
    steps: list[Step] = []
    for number, switch in enumerate(SWITCHES):
        before, after = frozenset(SWITCHES[:number]), frozenset(SWITCHES[number + 1 :])
        steps.append(
            Step(
                switch,
                delta=_mean_over_orders(gaps, switch),
                forward=gaps[before | {switch}] - gaps[before],
                backward=gaps[after | {switch}] - gaps[after],
                alone=gaps[frozenset((switch,))],
                share=_mean_over_orders(squares, switch) / (total * total) if total > 0 else 0.0,
            )
        )
    return Waterfall(tuple(steps), total)


def _mean_over_orders(values: Mapping[Switches, float], switch: str) -> float:
    """What turning on `switch` adds, over all orders in which the switches can be turned on: its Shapley value."""
    others = sorted(set(SWITCHES) - {switch})
    mean = 0.0
    for size in range(len(others) + 1):
        before = [frozenset(subset) for subset in combinations(others, size)]
        # As many orders have `size` switches before this one as any other number, and each set of them as often.
        mean += sum(values[subset | {switch}] - values[subset] for subset in before) / (len(SWITCHES) * comb(len(others), size))
    return mean


class _Gaps:
    """The gap of every subset, at the output and at the outputs of layers."""

    def __init__(self) -> None:
        self.output: dict[Switches, float] = {}
        self.layers: dict[str, dict[Switches, float]] = {}

    def add(self, subsets: Sequence[Switches], values: Sequence[NDArray[Any]], layer: str | None) -> None:
        """Note the gaps of `subsets` from their values; the first is float32."""
        gaps = self.output if layer is None else self.layers.setdefault(layer, {})
        where = "output" if layer is None else layer
        for subset, value in zip(subsets, values, strict=True):
            gaps[subset] = compare(value, values[0], name=f"{where}, golden with {', '.join(sorted(subset)) or 'nothing'}").rel_rms


def ablate(program: CompiledProgram, *, emulator: bool = False, phases: Phases | None = None) -> Ablation:
    """Run the golden with every subset of its switches on the sample inputs, and attribute the gap to them.

    Args:
        emulator: go on to the machine: the last step is what its order of rounding adds to the gap of the hardware golden.

    Raises:
        ModelImportError: there are no weights.
        ComparisonError: a golden gives something that has no distance: NaN, or zeros for a reference.
        LoweringError, Trap: with `emulator`, the program cannot run.
    """
    phases = Phases() if phases is None else phases
    program.require_weights()
    gaps, fp32 = _Gaps(), np.zeros(0, np.float32)
    with phases.phase("golden"):
        for number, subsets in enumerate(_passes(program)):
            phases.tell(f"running the golden in {len(SUBSETS)} precisions, pass {number + 1}")
            fp32 = _run(program, subsets, gaps)
    output = waterfall(gaps.output)
    if emulator:
        outcome = program.run(timing="none", compare=("golden",), golden_precision="hardware", phases=phases)
        machine, golden = outcome.compared["golden_vs_emulator"]
        output = _with_machine(output, machine, golden, fp32)
    return Ablation(output, {layer: waterfall(found) for layer, found in gaps.layers.items()})


def _passes(program: CompiledProgram) -> list[list[Switches]]:
    """The subsets in groups that run side by side; float32, which everything is compared with, is the first of each group."""
    result = next(op for op in main_function(program.stage("tensor")).walk() if isinstance(op, func.ReturnOp)).operands[0]
    size = max(1, PASS_BYTES // (4 * prod(pt.shape_of(result))) - 1)
    nothing, *others = SUBSETS
    return [[nothing, *others[start : start + size]] for start in range(0, len(others), size)]


def _run(program: CompiledProgram, subsets: Sequence[Switches], gaps: _Gaps) -> NDArray[np.float32]:
    """Run the golden with each subset and note the gaps; the result [rows, features] of float32."""
    from plena_mlir.interpreters.tensor import run_precisions

    module = program.stage("tensor")
    outputs = LayerOutputs(module)

    def observe(op: Operation, values: Sequence[NDArray[Any]]) -> None:
        layer = outputs.leaves(op)
        if layer is not None:
            gaps.add(subsets, values, layer)

    results = run_precisions(
        module,
        arrays_of(program.inputs),
        program.source_model.store,
        [GoldenPrecision(**dict.fromkeys(subset, True)) for subset in subsets],
        target=program.target,
        observe=observe,
    )
    gaps.add(subsets, [result[0] for result in results], None)
    fp32 = results[0][0]
    return fp32.reshape(-1, fp32.shape[-1])


def _with_machine(
    output: Waterfall, machine: NDArray[np.float32], golden: NDArray[np.float32], fp32: NDArray[np.float32]
) -> Waterfall:
    """The waterfall to the hardware golden, and the step from there to the machine."""
    found, between = compare(machine, fp32, name="machine against float32"), compare(machine, golden, name="machine against golden")
    total = found.rel_rms
    delta, grown = total - output.total_gap, output.total_gap**2 / total**2
    alone = between.rel_rms * between.ref_rms / found.ref_rms
    step = Step(ROUNDING_ORDER, delta, forward=delta, backward=delta, alone=alone, share=1.0 - grown)
    return Waterfall((*(replace(step, share=step.share * grown) for step in output.steps), step), total)
