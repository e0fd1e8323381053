"""Rolled layers: one buffer per carried value, whatever the body yields; weights stacked by layer."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena_tensor import splat
from tests.tensor_programs import TensorProgram, assert_exact, exact, execute, lower, normal, signs

LAYERS = 3


def add(program: TensorProgram, lhs: SSAValue, rhs: SSAValue) -> SSAValue:
    return program.add(pt.AddOp(lhs, rhs)).result


def residual(program: TensorProgram, x: SSAValue) -> SSAValue:
    """x + x w[layer] + bias[layer]"""
    weights, biases = signs(LAYERS, 12, 12, seed=1), exact(LAYERS, 12, seed=2)
    return add(program, x, program.linear(x, "layers.{}.proj", weights, biases))


@pytest.mark.parametrize("target", ["8x4x4", "8x8x8", "16x4x4", "16x4x16"])
def test_every_layer_has_its_own_weights(target) -> None:
    def build(program: TensorProgram):
        with program.layers(LAYERS, program.hidden(9, 12)) as ((x,), end):
            (result,) = end(residual(program, x))
        return result

    assert_exact(build, target, signs(9, 12))


def test_layers_may_start_at_any_index() -> None:
    def build(program: TensorProgram):
        with program.layers(LAYERS, program.hidden(9, 12), first=2) as ((x,), end):
            (result,) = end(residual(program, x))
        return result

    assert_exact(build, "8x4x4", signs(9, 12))


def test_one_layer_in_a_loop() -> None:
    def build(program: TensorProgram):
        with program.layers(1, program.hidden(9, 12)) as ((x,), end):
            (result,) = end(residual(program, x))
        return result

    assert_exact(build, "8x4x4", signs(9, 12))


def read_after(program: TensorProgram, x: SSAValue) -> SSAValue:
    with program.layers(LAYERS, x) as ((state,), end):
        (result,) = end(add(program, state, state))
    return add(program, result, x)


def read_inside(program: TensorProgram, x: SSAValue) -> SSAValue:
    with program.layers(LAYERS, x) as ((state,), end):
        (result,) = end(add(program, add(program, state, state), x))
    return result


def carried_twice(program: TensorProgram, x: SSAValue) -> SSAValue:
    with program.layers(LAYERS, x, x) as ((first, second), end):
        results = end(add(program, first, first), add(program, second, add(program, first, first)))
    return add(program, *results)


def swapped(program: TensorProgram, x: SSAValue) -> SSAValue:
    with program.layers(LAYERS, x, add(program, x, x)) as ((first, second), end):
        results = end(second, first)
    return add(program, results[0], add(program, results[0], results[1]))


def fibonacci(program: TensorProgram, x: SSAValue) -> SSAValue:
    with program.layers(4, x, add(program, x, x)) as ((first, second), end):
        results = end(second, add(program, first, second))
    return add(program, *results)


def rotated(program: TensorProgram, x: SSAValue) -> SSAValue:
    """Three values in a cycle, of which one is also kept."""
    y = add(program, x, x)
    with program.layers(4, x, y, add(program, x, y), x) as ((a, b, c, _), end):
        results = end(b, c, a, b)
    twice = add(program, results[0], add(program, results[1], results[1]))
    return add(program, twice, add(program, results[2], add(program, results[3], results[3])))


def unchanged(program: TensorProgram, x: SSAValue) -> SSAValue:
    with program.layers(LAYERS, x, add(program, x, x)) as ((first, second), end):
        results = end(first, add(program, first, second))
    return add(program, *results)


def from_outside(program: TensorProgram, x: SSAValue) -> SSAValue:
    y = add(program, x, x)
    with program.layers(LAYERS, x) as ((_,), end):
        (result,) = end(y)
    return add(program, result, y)


@pytest.mark.parametrize(
    "build",
    [read_after, read_inside, carried_twice, swapped, fibonacci, rotated, unchanged, from_outside],
    ids=lambda f: f.__name__,
)
def test_carried_values_keep_apart(build: Callable[[TensorProgram, SSAValue], SSAValue]) -> None:
    assert_exact(lambda program: build(program, program.hidden(5, 12)), "8x4x4", signs(5, 12))


def test_layers_after_layers() -> None:
    def build(program: TensorProgram):
        with program.layers(2, program.hidden(9, 12)) as ((x,), end):
            (middle,) = end(residual(program, x))
        with program.layers(LAYERS, middle) as ((x,), end):
            (result,) = end(program.linear(x, "more.{}.proj", np.tile(np.eye(12, dtype=np.float32), (LAYERS, 1, 1))))
        return add(program, result, result)

    assert_exact(build, "8x4x4", signs(9, 12))


def test_caches_of_one_layer_do_not_reach_the_next() -> None:
    program = TensorProgram("8x4x4")
    with program.layers(LAYERS, program.hidden(11, 16)) as ((x,), end):
        parts = [
            program.linear(x, f"layers.{{}}.{name}", normal(LAYERS, 16, 16, seed=seed) / 4)
            for seed, name in enumerate(("q", "k", "v"))
        ]
        out = program.linear(program.attention(*parts, 2, 2), "layers.{}.o", normal(LAYERS, 16, 16, seed=3) / 4)
        (result,) = end(add(program, x, out))
    assert execute(program, result, normal(11, 16)).error <= 0.02


# --- the weights themselves -------------------------------------------------------------------------------------------------------


def names(program: TensorProgram, result: SSAValue) -> list[tuple[str, tuple[int, ...]]]:
    return sorted((tensor.name, tensor.shape) for tensor in lower(program, result).interface.tensors if tensor.role == "weight")


def test_one_weight_read_twice_is_stored_once() -> None:
    program = TensorProgram("8x4x4")
    weight = program.weight("proj.weight", signs(12, 12, seed=1))
    x = program.hidden(5, 12)
    for _ in range(2):
        x = program.add(pt.LinearOp(x, weight, None)).result
    again = program.add(pt.ParameterOp("proj.weight", pt.type_of(weight))).result
    x = program.add(pt.LinearOp(x, program.add(pt.QuantizeOp(again, pt.QuantizeFormat.WEIGHT)).result, None)).result
    assert names(program, x) == [("proj.weight", (2, 2, 8, 8))]


def test_one_parameter_in_two_layouts_is_stored_twice_from_one_function() -> None:
    """Tied embeddings: rows for the ids, tiles for the logits."""
    program = TensorProgram("8x4x4")
    table = program.parameter("embed.weight", exact(20, 12))
    x = program.add(pt.EmbeddingOp(program.add(pt.QuantizeOp(table, pt.QuantizeFormat.ACT)).result, program.ids(5))).result
    x = program.add(pt.LinearOp(x, program.add(pt.QuantizeOp(table, pt.QuantizeFormat.WEIGHT)).result, None)).result
    lowered = lower(program, x)
    found = [tensor for tensor in lowered.interface.tensors if tensor.role == "weight"]
    assert len({tensor.name for tensor in found}) == len(found) == 2
    assert sum(op.name == "func.func" for op in lowered.module.body.block.ops) == 2
    ids = np.array([19, 0, 3, 3, 7])
    np.testing.assert_array_equal(lowered.run(ids), exact(20, 12)[ids] @ exact(20, 12).T)


def test_expressions_that_differ_are_stored_apart() -> None:
    program = TensorProgram("8x4x4")
    parameter = program.parameter("proj.weight", signs(12, 12, seed=1))
    x = program.hidden(5, 12)
    for factor in (0.5, 2.0):
        scaled = program.add(pt.MulOp(parameter, program.add(splat(factor)).result)).result
        x = program.add(pt.LinearOp(x, program.add(pt.QuantizeOp(scaled, pt.QuantizeFormat.WEIGHT)).result, None)).result
    assert [name for name, _ in names(program, x)] == ["proj.weight", "proj.weight.1"]


def test_stacked_weights_are_one_tensor() -> None:
    program = TensorProgram("8x4x4")
    with program.layers(LAYERS, program.hidden(9, 12)) as ((x,), end):
        (result,) = end(residual(program, x))
    # The bias: two terms of two column blocks, padded to what one fetch of four rows moves.
    assert names(program, result) == [("layers.{}.proj.bias", (3, 2, 2, 2, 8)), ("layers.{}.proj.weight", (3, 2, 2, 8, 8))]
