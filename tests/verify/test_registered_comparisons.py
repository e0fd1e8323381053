"""No comparison is trusted that nobody tried to fool: whatever compares arrays is in `COMPARISONS`, or stands here with a reason.

The source of the package and of the tests' helpers is searched for functions that compare arrays. What a test compares within
itself is no helper: its values are its own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.verify import test_oracles
from tests.verify.test_oracles import COMPARISONS

ROOT = Path(__file__).parents[2]
THE_REGISTRY = (Path(__file__), Path(test_oracles.__file__))

COMPARATORS = frozenset(
    "agree allclose array_equal array_equiv assert_allclose assert_almost_equal assert_array_almost_equal assert_array_equal "
    "assert_array_less assert_close assert_equal compare compare_results cosine_similarity equal isclose mse_loss".split()
)
"""Calls that compare arrays."""
NORMS = frozenset("abs absolute norm rms _rms square".split())
"""Calls that make a figure of a difference."""
SEARCHES = frozenset("all any argwhere count_nonzero flatnonzero nonzero".split())
"""Calls that look for places where a condition on arrays holds."""

REGISTERED: dict[str, str] = {
    "plena_mlir/program.py:CompiledProgram.run": "golden and machine",
    "plena_mlir/verify/attention_parts.py:PartValues.compared": "a part of attention alone",
    "plena_mlir/verify/bisect.py:first_difference": "the stages of two runs",
    "plena_mlir/verify/bisect.py:first_other_tensor": "two images",
    "plena_mlir/verify/bisect_programs.py:_same": "two results, every bit",
    "plena_mlir/verify/compare.py:compare": "golden and machine",
    "plena_mlir/verify/pass_checks.py:_compare": "a pass that changes nothing",
    "plena_mlir/verify/stage_checks.py:_GoldenRun._observe": "a stage alone",
    "plena_mlir/verify/tensor_divergence.py:_Known._last_rows": "an op before and after a pass",
    "plena_mlir/verify/tensor_divergence.py:_Known._same_size": "an op before and after a pass",
    "plena_mlir/verify/tensor_divergence.py:agree": "two values in float32",
    "plena_mlir/verify/tensor_divergence.py:first_other_op": "an op of two programs",
    "tests/emulator/test_opcodes.py:get": "numpy, every element",
    "tests/emulator/vectors.py:check": "numpy, every element",
    "tests/frontend/test_conversion.py:assert_as_loaded": "numpy, every element",
    "tests/frontend/test_graph.py:check": "numpy, within a tolerance",
    "tests/isa_programs.py:assert_same_bits": "numpy, every element",
    "tests/passes/isa/test_limit_loop_instructions.py:outer_loops": "numpy, every element",
    "tests/passes/tensor/test_roll_layers.py:roll": "numpy, every element",
    "tests/passes/tensor/test_tensor_pipeline.py:relative_error": "the tensor pipeline and HF",
    "tests/passes/tile/test_attention.py:check": "numpy, within a tolerance",
    "tests/tensor_programs.py:Outcome.error": "an operation on tiles",
    "tests/tensor_programs.py:assert_exact": "numpy, every element",
    "tests/tensor_programs.py:execute": "numpy, every element",
    "tests/test_torch_backend.py:close": "the torch backend and PyTorch",
}
"""Function -> the entry of `COMPARISONS` that runs it."""

REASONS: dict[str, tuple[str, ...]] = {
    "measures with `compare` and leaves the verdict to others": (
        "plena_mlir/verify/ablation.py:_Gaps.add",
        "plena_mlir/verify/ablation.py:_with_machine",
        "plena_mlir/verify/amplification.py:expect_accumulated",
        "plena_mlir/verify/compare.py:WorstElement.error",
        "plena_mlir/verify/layer_errors.py:_golden_errors",
        "plena_mlir/verify/plots.py:plot_histogram",
        "tests/tensor_programs.py:Outcome.cost",
    ),
    "looks for a place where a registered comparison has found a difference": (
        "plena_mlir/verify/attention_parts.py:Tiling.row_at",
        "plena_mlir/verify/bisect.py:_wrong_op",
        "plena_mlir/verify/locate.py:first_other",
    ),
    "tests/verify/test_placement.py feeds it wrong images and wrong programs": (
        "plena_mlir/verify/image_layout.py:_check_layer",
        "plena_mlir/verify/layer_reads.py:_layers_read",
    ),
    "tests/verify/test_routing.py feeds it wrong choices": ("plena_mlir/verify/routing.py:Router._compare",),
    "tests/verify/test_bisect.py runs two forms of the golden that differ": ("plena_mlir/verify/bisect.py:_between_goldens",),
    "compares what two programs, or two tensors of a file, are given: a difference is refused": (
        "plena_mlir/assumptions.py:check_assumptions",
        "plena_mlir/frontend/checkpoint.py:Checkpoint._check_one_value",
        "plena_mlir/frontend/checkpoint.py:Checkpoint.match",
        "plena_mlir/verify/bisect_programs.py:_first_other_parameter",
        "plena_mlir/verify/bisect_programs.py:bisect_programs",
    ),
    "tries whether a rewrite applies to constants, places or masks": (
        "plena_mlir/backend/staging.py:quantized_inputs",
        "plena_mlir/frontend/aten/movement.py:masked_scatter",
        "plena_mlir/passes/isa/reduce_pressure.py:_Planner.run",
        "plena_mlir/passes/tensor/masks.py:follows",
        "plena_mlir/passes/tensor/masks.py:recognise",
        "plena_mlir/passes/tensor/raise_activations.py:RaiseSoftCap.match_and_rewrite",
        "plena_mlir/passes/tensor/raise_activations.py:_is",
        "plena_mlir/passes/tensor/raise_row_moves.py:moved_rows",
    ),
    "computes: rounds, counts or scans, and compares no two results": (
        "plena_mlir/emulator/estimate.py:_Survey.sampled",
        "plena_mlir/emulator/execution.py:Execution.__init__",
        "plena_mlir/emulator/files.py:_vram_parts",
        "plena_mlir/emulator/machine.py:Machine.vram_rows_peak",
        "plena_mlir/numerics/mx.py:encode_element",
        "plena_mlir/numerics/mx.py:encode_machine",
        "plena_mlir/numerics/mx.py:round_to_code",
        "tests/numerics/oracles.py:machine_encode",
        "tests/numerics/oracles.py:nearest_bf16",
        "tests/numerics/oracles.py:ocp_encode",
    ),
    "the error over all elements, in one expression that NaN fails": (
        "tests/frontend/test_importer.py:check",
        "tests/passes/tensor/test_assign_precision.py:assert_golden_is_tile",
    ),
    "a difference is what it looks for: it decides whether a mutant counts": ("tests/verify/test_registers.py:output_differs",),
}
"""Why no wrong output passes for a right one by a function, and the functions."""


def sources() -> Iterator[Path]:
    files = (path for folder in ("plena_mlir", "tests") for path in sorted((ROOT / folder).rglob("*.py")))
    return (path for path in files if path not in THE_REGISTRY)


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef]]:
    """(place and name, function) of a file: with tests, only their helpers."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                if not child.name.startswith("test_"):
                    yield f"{path.relative_to(ROOT).as_posix()}:{prefix}{child.name}", child
            elif isinstance(child, ast.ClassDef):
                yield from visit(child, f"{prefix}{child.name}.")

    yield from visit(ast.parse(path.read_text()), "")


def called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else call.func.id if isinstance(call.func, ast.Name) else ""


def holds(node: ast.AST, kind: type[ast.AST], *operators: type[ast.AST]) -> bool:
    """Whether a piece of code has an expression of a kind with one of some operators."""
    return any(
        isinstance(found, kind)
        and any(isinstance(op, operators) for op in (found.ops if isinstance(found, ast.Compare) else [getattr(found, "op", None)]))
        for found in ast.walk(node)
    )


def compares_arrays(function: ast.FunctionDef) -> bool:
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    names = {called(call) for call in calls}
    return bool(
        names & COMPARATORS
        or (names & NORMS and holds(function, ast.BinOp, ast.Sub))
        or any(
            called(call) in SEARCHES
            and not any(isinstance(part, ast.GeneratorExp) for part in call.args)
            and holds(call, ast.Compare, ast.Eq, ast.NotEq)
            for call in calls
        )
    )


def found() -> set[str]:
    return {name for path in sources() for name, function in functions(path) if compares_arrays(function)}


def excused() -> set[str]:
    return {name for names in REASONS.values() for name in names}


def test_every_comparison_is_registered_or_has_a_reason():
    assert found() == set(REGISTERED) | excused()


def test_what_is_registered_is_tried_with_every_wrong_output():
    assert set(REGISTERED.values()) <= set(COMPARISONS)
    assert not set(REGISTERED) & excused()


@pytest.mark.parametrize(
    "body",
    [
        "return np.allclose(x, y)",
        "torch.testing.assert_close(x, y)",
        "return np.abs(x - y).max() < 0.1",
        "return bool((x == y).all())",
        "return not np.flatnonzero(x != y).size",
        "return np.all(x == y)",
    ],
)
def test_a_new_comparison_is_noticed(body):
    (function,) = ast.parse(f"def f(x, y):\n    {body}").body
    assert isinstance(function, ast.FunctionDef)
    assert compares_arrays(function)
