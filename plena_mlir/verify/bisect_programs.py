"""First divergence of two compilations of one model: with a fault in one of them, other options, or other passes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.backend.staging import arrays_of
from plena_mlir.dialects.plena_tensor import ParameterOp
from plena_mlir.errors import ExecutionError, LoweringError, Trap
from plena_mlir.program import CompiledProgram
from plena_mlir.verify.bisect import Passes, bisect_two_levels, first_difference, first_other_tensor, in_tensors, passes_of
from plena_mlir.verify.execution import F32, Executor, Level, level_of
from plena_mlir.verify.locate import Divergence, locate, run_machine, stopped
from plena_mlir.verify.pass_checks import has_formats
from plena_mlir.verify.tensor_divergence import WrongOp, agree, first_other_op, first_wrong_op, trace

_PRECISIONS = ("fp32", "hardware")


def bisect_programs(good: CompiledProgram, other: CompiledProgram, good_passes: Passes, other_passes: Passes) -> Divergence | None:
    """The first pass after which two compilations of one model compute other values; None if no pass does.

    The two may have been compiled with other options, and so by other passes: a pass that only one of them ran is compared with
    what the other had at that point. Below the tensor level every bit counts.

    Raises:
        LoweringError: the two run on other inputs.
    """
    given = [arrays_of(program.inputs) for program in (good, other)]
    if len(given[0]) != len(given[1]) or not all(np.array_equal(*pair) for pair in zip(*given, strict=True)):
        raise LoweringError("the two programs run on other inputs", hint="compare two compilations of one model and length")
    found = _first_other_pass(good, other, good_passes, other_passes)
    if found is not None and found[2] is not None:
        return in_tensors(other, *found)
    try:
        captured = run_machine(other)
    except (ExecutionError, Trap) as error:
        return stopped(other, found[0] if found else None, error)
    wrong = first_difference(other, run_machine(good), captured)
    if found is None and wrong is None:
        return None
    if found is not None:
        name, reason = found[:2]
    else:
        tensor = first_other_tensor(good.weights, other.weights)
        name = None
        reason = "every pass agrees, but " + (f"the images of the two differ: {tensor}" if tensor else "the machine does not")
    return Divergence(name, reason) if wrong is None else locate(other, name, reason, wrong, captured)


def _first_other_pass(
    good: CompiledProgram, other: CompiledProgram, good_passes: Passes, other_passes: Passes
) -> tuple[str, str, WrongOp | None] | None:
    """(pass name, what differs, the op at fault if it is one of plena_tensor)."""
    left, right = _Side(good), _Side(other)
    for name, one, two, remark in _aligned(good_passes, other_passes):
        first = left.run(one)
        try:
            second = right.run(two)
        except (ExecutionError, Trap) as error:
            return name, f"the second does not run after it{remark}: {error.what}", None
        if first is None or second is None or level_of(one) is not level_of(two):
            continue
        in_tensors = level_of(one) is Level.TENSOR
        for expected, actual, precision in zip(first, second, _PRECISIONS, strict=False):
            if _same(expected, actual, exact=not in_tensors):
                continue
            reason = f"the results of the two differ after it{remark}"
            if not in_tensors:
                return name, reason, None
            if other_weight := _first_other_parameter(one, good, other):
                reason += f"; the models differ themselves: {other_weight}"
            sides = ((one, good), (two, other))
            values = [trace(module, side.inputs, side.source_model.store, precision=precision) for module, side in sides]
            return name, reason, first_wrong_op(*values) if remark else first_other_op(*values)
    return None


def _first_other_parameter(module: ModuleOp, good: CompiledProgram, other: CompiledProgram) -> str | None:
    """The first parameter that the module names in full and the two models hold different values of."""
    stores = [program.source_model.store for program in (good, other)]
    if stores[0] is stores[1]:
        return None
    for op in module.walk():
        if isinstance(op, ParameterOp) and op.layer is None:
            one, two = (store.get(op.parameter_name.data) for store in stores)
            if one.shape != two.shape:
                return f"{op.parameter_name.data} has shape {one.shape} and {two.shape}"
            wrong = np.argwhere(one != two)
            if wrong.size:
                place = tuple(int(index) for index in wrong[0])
                return (
                    f"{op.parameter_name.data} {place} is {one[place]:.9g} and {two[place]:.9g}, {len(wrong)} of {one.size} differ"
                )
    return None


def _same(expected: F32, actual: F32, *, exact: bool) -> bool:
    """Whether two results agree, in the rows that both have: one may be of the last position only."""
    rows = min(len(expected), len(actual))
    expected, actual = expected[-rows:], actual[-rows:]
    if expected.shape != actual.shape:
        return False
    return np.array_equal(expected, actual, equal_nan=True) if exact else agree(expected, actual)


def _aligned(good: Passes, other: Passes) -> Iterator[tuple[str, ModuleOp, ModuleOp, str]]:
    """(pass name, IR of the one, IR of the other, a remark) at every step that either took."""
    (_, one), (_, two) = good[0], other[0]
    names = [[name for name, _ in passes] for passes in (good, other)]
    for kind, first, last, start, stop in SequenceMatcher(None, *names, autojunk=False).get_opcodes():
        if kind == "equal":
            for (name, one), (_, two) in zip(good[first:last], other[start:stop], strict=True):
                yield name, one, two, ""
            continue
        for name, one in good[first:last]:
            yield name, one, two, ", which only the first ran"
        for name, two in other[start:stop]:
            yield name, one, two, ", which only the second ran"


class _Side:
    """One of two compilations. A module that did not change does not run again."""

    def __init__(self, program: CompiledProgram) -> None:
        self.program = program
        self._executor = Executor(program.inputs, program.source_model.store)
        self._last: tuple[ModuleOp, tuple[F32, ...] | None] | None = None

    def run(self, module: ModuleOp) -> tuple[F32, ...] | None:
        """The result; at the tensor level in float32 and, if the module says which, with the formats of the machine."""
        if self._last is None or self._last[0] is not module:
            self._last = (module, self._run(module))
        return self._last[1]

    def _run(self, module: ModuleOp) -> tuple[F32, ...] | None:
        if not self._executor.can_run(module):
            return None
        result = self._executor.run(module).output
        if level_of(module) is Level.TENSOR and has_formats(module):
            return result, self._executor.run(module, hardware=True).output
        return (result,)


# --- one model with a switch in two positions -------------------------------------------------------------------------------------

SWITCHES = {
    "strategy": "the matrix strategy: auto, micro or broadcast",
    "golden": "the precision of the golden: a mode, or its switches",
    "pass": "the name of a pass, with it and without it",
}
"""What `bisect_switch` can set in two ways."""


def bisect_switch(program: CompiledProgram, switch: str, values: Sequence[str]) -> Divergence | None:
    """Where a model computes something else when one switch is set in another way.

    Args:
        program: says model and target.
        switch: one of `SWITCHES`.
        values: its two settings; of a pass, its name.

    Raises:
        LoweringError: there is no such switch or setting, or a pass that cannot be spared.
        TargetError: there is no such precision.
    """
    match switch, values:
        case "golden", [one, other]:
            return bisect_two_levels(program, one, other)
        case "strategy", [one, other]:
            return _between(*(_compiled(program, strategy=strategy) for strategy in (one, other)))
        case "pass", [name]:
            return _between(_compiled(program), _compiled(program, without_passes=(name,)))
        case _:
            raise LoweringError(
                f"the switch {switch}={','.join(values)} cannot be set in two ways",
                hint="strategy=X,Y or golden=X,Y or pass=NAME",
            )


def _compiled(program: CompiledProgram, **options: Any) -> CompiledProgram:
    from plena_mlir.compiler import compile_hf_model

    logits = program.source.get("logits", "all")
    return compile_hf_model(program.source_model, target=program.target, logits=logits, keep_ir=True, **options)


def _between(one: CompiledProgram, other: CompiledProgram) -> Divergence | None:
    return bisect_programs(one, other, passes_of(one), passes_of(other))
