"""Rolling layers: what may be rolled, what must not, and the value numbering that checks it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.parser import Parser

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.passes.tensor import roll_layers
from plena_mlir.passes.tensor.roll_layers import RollLayersPass
from plena_mlir.passes.tensor.value_numbers import ValueNumbers

T = "tensor<2x4xf32>"


@dataclass(frozen=True)
class OneLayer:
    """How one layer of the function is written; `back` is how many layers ago its residual was computed."""

    weight: str = "h.{}.w"
    eps: float = 1.0
    back: int = 1


def parse(text: str) -> ModuleOp:
    ctx = Context()
    for dialect in (Builtin, arith.Arith, func.Func, scf.Scf, pt.PlenaTensor):
        ctx.load_dialect(dialect)
    module = Parser(ctx, text).parse_module()
    module.verify()
    return module


def function(layers: list[OneLayer], extra: str = "") -> ModuleOp:
    """`x` through the layers: x += linear(rms_norm(x)); `extra` stands before the return."""
    lines: list[str] = []
    value = "%x"
    values = ["%x"]
    for index, layer in enumerate(layers):
        weight = layer.weight.format(index)
        residual = values[max(len(values) - layer.back, 0)]
        result = f"%a{index}"
        lines += [
            f'%w{index} = plena_tensor.parameter "{weight}" : tensor<4x4xf32> loc("h.{index}.fc")',
            f'%n{index} = plena_tensor.rms_norm {value} {{eps = {layer.eps} : f64}} : ({T}) -> {T} loc("h.{index}.ln")',
            f'%y{index} = plena_tensor.linear %n{index}, %w{index} : ({T}, tensor<4x4xf32>) -> {T} loc("h.{index}.fc")',
            f'{result} = plena_tensor.add {residual}, %y{index} : {T}, {T} -> {T} loc("h.{index}")',
        ]
        value = result
        values.append(value)
    body = "\n".join([*lines, extra])
    returned = "%out" if extra else value
    return parse(f"func.func @main(%x : {T}) -> {T} {{\n{body}\nfunc.return {returned} : {T}\n}}")


class Weights:
    """Every parameter drawn by its name."""

    def get(self, name: str) -> np.ndarray:
        seed = int.from_bytes(name.encode(), "little") % 2**32
        return np.random.default_rng(seed).standard_normal((4, 4)).astype(np.float32)


def loops(module: ModuleOp) -> list[tuple[int, int]]:
    """First and end index of every loop."""
    found = [op for op in module.walk() if isinstance(op, scf.ForOp)]
    return [tuple(bound.owner.value.value.data for bound in (op.lb, op.ub)) for op in found]


def roll(module: ModuleOp, rolling: RollLayersPass | None = None) -> list[tuple[int, int]]:
    """Roll, compare the results before and after, and return the loops."""
    x = np.random.default_rng(0).standard_normal((2, 4)).astype(np.float32)
    expected = run_tensor(module, [x], Weights())[0]
    (rolling or RollLayersPass()).apply(Context(), module)
    module.verify()
    np.testing.assert_array_equal(run_tensor(module, [x], Weights())[0], expected)
    return loops(module)


def test_equal_layers_become_one_loop() -> None:
    assert roll(function([OneLayer()] * 5)) == [(0, 5)]


@pytest.mark.parametrize(("elements", "expected"), [(47, [(0, 2), (2, 4)]), (48, [(0, 3), (3, 5)]), (31, []), (80, [(0, 5)])])
def test_no_stack_of_a_parameter_exceeds_what_offsets_reach(elements: int, expected: list[tuple[int, int]]) -> None:
    # A layer has one parameter of 16 elements.
    assert roll(function([OneLayer()] * 5), RollLayersPass(most_elements=elements)) == expected


def test_one_layer_is_no_loop() -> None:
    assert roll(function([OneLayer()])) == []


def test_a_different_attribute_ends_a_run_and_starts_the_next() -> None:
    layers = [OneLayer(), OneLayer(), OneLayer(eps=2.0), OneLayer(), OneLayer(), OneLayer()]
    assert roll(function(layers)) == [(0, 2), (3, 6)]


def test_a_weight_shared_by_all_layers_stays_outside() -> None:
    module = function([OneLayer(weight="shared")] * 3)
    # Each layer names the shared weight anew: the layers own equal parameters without an index.
    assert roll(module) == [(0, 3)]
    assert [op.parameter_name.data for op in module.walk() if isinstance(op, pt.ParameterOp)] == ["shared"]


def test_weights_of_other_layers_are_not_rolled() -> None:
    assert roll(function([OneLayer(), OneLayer(weight="h.0.w"), OneLayer(weight="g.{}.w")])) == []


def test_layers_that_read_further_back_are_not_rolled() -> None:
    # Layers 0 and 1 are alike, but layer 2 reads layer 0, whose result a loop would not hand out.
    assert roll(function([OneLayer(back=2)] * 4)) == []


def test_a_value_that_every_layer_reads_is_no_carried_value() -> None:
    assert roll(function([OneLayer(back=99)] * 3)) == [(0, 3)]


def test_a_middle_layer_read_from_outside_prevents_the_loop() -> None:
    assert roll(function([OneLayer()] * 3, f'%out = plena_tensor.add %a2, %a1 : {T}, {T} -> {T} loc("")')) == []


def test_an_inner_value_read_from_outside_prevents_the_loop() -> None:
    assert roll(function([OneLayer()] * 3, f'%out = plena_tensor.add %a2, %n2 : {T}, {T} -> {T} loc("")')) == []


def test_numbers_tell_apart_what_differs() -> None:
    numbers = ValueNumbers()

    def number(layers: list[OneLayer]) -> tuple[int, ...]:
        (main,) = function(layers).body.block.ops
        assert isinstance(main, func.FuncOp)
        return numbers.of_results(main)

    base = number([OneLayer()] * 2)
    assert number([OneLayer()] * 2) == base
    different = [
        number([OneLayer()]),
        number([OneLayer(), OneLayer(eps=2.0)]),
        number([OneLayer(), OneLayer(weight="h.0.w")]),
        number([OneLayer(), OneLayer(back=2)]),
    ]
    assert base not in different
    assert len(set(different)) == 4


def test_a_pass_that_rolls_wrongly_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def forget_the_index(op: pt.TensorOp, operands: list[object], layer: object, index: object) -> pt.TensorOp:
        return type(op).create(operands=operands, result_types=[op.result.type], properties=dict(op.properties))

    monkeypatch.setattr(roll_layers, "_copy", forget_the_index)
    with pytest.raises(LoweringError, match="rolling the layers changed what is computed"):
        RollLayersPass().apply(Context(), function([OneLayer()] * 3))
