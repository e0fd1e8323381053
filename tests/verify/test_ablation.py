"""The ablation of the golden: its steps are Shapley values, add up to the gap, and stand for what the goldens compute."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from plena_mlir.compiler import CompiledProgram, compile_hf_model
from plena_mlir.golden_precision import HARDWARE, SWITCHES, GoldenPrecision, parse_golden_precision
from plena_mlir.interpreters.tensor import run_precisions, run_tensor
from plena_mlir.passes.pipelines import tensor_pipeline
from plena_mlir.verify import ablation
from plena_mlir.verify.ablation import ROUNDING_ORDER, SUBSETS, Ablation, ablate, waterfall
from plena_mlir.verify.compare import compare
from plena_mlir.verify.layer_errors import layer_errors
from plena_mlir.verify.layer_outputs import LayerOutputs, layer_of
from tests.end_to_end.models import gqa


@pytest.fixture(scope="module")
def program() -> CompiledProgram:
    return compile_hf_model(gqa(), target="8x4x4", seq_len=5, random_weights=0)


@pytest.fixture(scope="module")
def found(program: CompiledProgram) -> Ablation:
    return ablate(program, emulator=True)


def random_gaps(seed: int) -> dict[frozenset[str], float]:
    rng = np.random.default_rng(seed)
    return {subset: float(rng.uniform(0, 1)) if subset else 0.0 for subset in SUBSETS}


def test_each_step_is_the_mean_over_all_orders() -> None:
    gaps = random_gaps(0)
    for number, step in enumerate(waterfall(gaps).steps):
        assert step.name == SWITCHES[number]
        added = []
        for order in permutations(SWITCHES):
            before = frozenset(order[: order.index(step.name)])
            added.append(gaps[before | {step.name}] - gaps[before])
        assert step.delta == pytest.approx(np.mean(added), rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_steps_telescope_in_every_column(seed: int) -> None:
    result = waterfall(random_gaps(seed))
    for column in ("delta", "forward", "backward"):
        assert sum(getattr(step, column) for step in result.steps) == pytest.approx(result.total_gap, rel=1e-12)
    assert sum(step.share for step in result.steps) == pytest.approx(1.0, rel=1e-12)
    assert result.interaction == pytest.approx(sum(step.alone for step in result.steps) - result.total_gap)


def test_independent_errors_get_their_share_of_the_squared_gap() -> None:
    size = dict(zip(SWITCHES, (3.0, 4.0, 1.0, 0.5, 0.0), strict=True))
    result = waterfall({subset: np.sqrt(sum(size[switch] ** 2 for switch in subset)) for subset in SUBSETS})
    total = sum(value**2 for value in size.values())
    assert [step.share for step in result.steps] == pytest.approx([value**2 / total for value in size.values()])
    assert result.cause.name == "kv"
    assert result.steps[1].alone == 4.0


def test_switches_that_do_not_interact_add_up_alone() -> None:
    size = dict(zip(SWITCHES, (0.3, 0.1, 0.2, 0.05, 0.0), strict=True))
    result = waterfall({subset: sum(size[switch] for switch in subset) for subset in SUBSETS})
    for step in result.steps:
        assert [step.delta, step.forward, step.backward, step.alone] == pytest.approx([size[step.name]] * 4)
    assert result.interaction == pytest.approx(0.0, abs=1e-15)


def test_precisions_side_by_side_have_the_bits_of_each_alone(program: CompiledProgram) -> None:
    precisions = [parse_golden_precision(name) for name in ("fp32", "weights", "activations,intermediates", "no_bf16", "hardware")]
    module, inputs, store = program.stage("tensor"), [np.asarray(program.inputs)], program.source_model.store
    together = run_precisions(module, inputs, store, precisions, target=program.target)
    for precision, (result,) in zip(precisions, together, strict=True):
        (alone,) = run_tensor(module, inputs, store, precision=precision, target=program.target)
        np.testing.assert_array_equal(result, alone)


def test_the_waterfall_ends_at_the_goldens_and_at_the_machine(program: CompiledProgram, found: Ablation) -> None:
    fp32, hardware = (program.golden_for(program.inputs, precision) for precision in ("fp32", "hardware"))
    machine = program.run(timing="none").output
    *steps, last = found.output.steps
    assert [step.name for step in steps] == list(SWITCHES)
    assert sum(step.delta for step in steps) == pytest.approx(compare(hardware, fp32).rel_rms, rel=1e-9)
    assert found.output.total_gap == pytest.approx(compare(machine, fp32).rel_rms, rel=1e-12)
    assert sum(step.delta for step in found.output.steps) == pytest.approx(found.output.total_gap, rel=1e-9)
    assert sum(step.share for step in found.output.steps) == pytest.approx(1.0)
    assert last.name == ROUNDING_ORDER
    noise = np.sqrt(np.mean(np.square((machine - hardware).astype(np.float64))))
    assert last.alone == pytest.approx(noise / np.sqrt(np.mean(np.square(fp32.astype(np.float64)))))
    alone = compare(program.golden_for(program.inputs, "kv"), fp32).rel_rms
    assert steps[SWITCHES.index("kv")].alone == pytest.approx(alone)
    assert all(step.alone > 0 for step in found.output.steps)


def test_the_json_form_has_the_sum_and_the_layers(found: Ablation) -> None:
    data = found.to_json()
    assert sum(step["delta"] for step in data["steps"]) == pytest.approx(data["total_gap"], rel=1e-6)
    assert [layer["layer"] for layer in data["layers"]] == ["model.layers.0", "model.layers.1"]
    for layer in data["layers"]:
        assert sum(step["delta"] for step in layer["steps"]) == pytest.approx(layer["total_gap"], rel=1e-6)


def layer_values(program: CompiledProgram, module: Any) -> dict[str, np.ndarray]:
    outputs, values = LayerOutputs(module), dict[str, np.ndarray]()

    def observe(op: Any, value: np.ndarray) -> None:
        layer = outputs.leaves(op)
        if layer is not None:
            values[layer] = value.copy()

    run_tensor(module, [np.asarray(program.inputs)], program.source_model.store, observe=observe)
    return values


def test_layers_of_a_loop_are_the_layers_of_the_model(program: CompiledProgram, found: Ablation) -> None:
    unrolled = program.stage("imported").clone()
    for step in tensor_pipeline(program.source_model.store, roll_layers=False):
        step.apply(None, unrolled)  # pyright: ignore[reportArgumentType]
    rolled, expected = layer_values(program, program.stage("tensor")), layer_values(program, unrolled)
    assert list(rolled) == list(expected) == list(found.layers)
    for layer, value in expected.items():
        np.testing.assert_array_equal(rolled[layer], value)
    assert not np.array_equal(rolled["model.layers.0"], rolled["model.layers.1"])


def test_errors_of_layers_against_float32_and_against_the_golden(program: CompiledProgram, found: Ablation) -> None:
    errors = layer_errors(program, program.run(timing="none"))
    assert list(errors["golden_vs_fp32"]) == list(errors["golden_vs_emulator"]) == list(found.layers)
    for layer, gap in errors["golden_vs_fp32"].items():
        assert gap == pytest.approx(found.layers[layer].total_gap)
        assert 0 < errors["golden_vs_emulator"][layer] < gap


def test_results_that_fill_a_pass_are_run_in_several(
    program: CompiledProgram, found: Ablation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation, "PASS_BYTES", 12 * 4 * 5 * 97)
    again = ablate(program)
    assert again.layers == found.layers
    assert again.output.total_gap == sum(step.delta for step in again.output.steps)


def test_a_coarser_format_of_the_cache_is_named_as_the_cause(program: CompiledProgram, found: Ablation) -> None:
    formats = replace(program.target.precisions, m_kv="mxfp8_e5m2", v_kv="mxfp8_e5m2")
    coarse = ablate(replace(program, target=replace(program.target, precisions=formats))).output
    before, after = ({step.name: step for step in output.steps} for output in (found.output, coarse))
    assert found.output.cause.name != "kv"
    assert coarse.cause.name == "kv"
    assert after["kv"].alone > 1.5 * before["kv"].alone
    for other in set(SWITCHES) - {"kv"}:
        assert after[other].alone == before[other].alone


@pytest.mark.parametrize(
    ("path", "layer"),
    [
        ("model.layers.{}.mlp.up_proj", "model.layers.{}"),
        ("model.layers.12", "model.layers.12"),
        ("model.layers.3.mlp.experts.7.down_proj", "model.layers.3"),
        ("model.norm", None),
        ("", None),
    ],
)
def test_the_layer_of_a_module_path(path: str, layer: str | None) -> None:
    assert layer_of(path) == layer


def test_precision_of_all_switches_is_the_hardware() -> None:
    assert GoldenPrecision(**dict.fromkeys(max(SUBSETS, key=len), True)) == HARDWARE
