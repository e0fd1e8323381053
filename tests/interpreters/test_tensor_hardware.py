"""The hardware golden: formats and roundings, step by step against numpy in bfloat16."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import ml_dtypes
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.parser import Parser

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena_tensor.roundings import ROUNDED
from plena_mlir.errors import LoweringError, TargetError
from plena_mlir.golden_precision import HARDWARE, MODES, SWITCHES
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.interpreters.tensor_hardware import Rounder, hardware_kernels
from plena_mlir.numerics import MXFP8_E4M3, MXFP8_E5M2, mx_quantize
from plena_mlir.passes.tensor.verify_canonical import ACTIVATION_OPS
from plena_mlir.target import load_target

Array = NDArray[np.float32]


def bf16(x: Array | float) -> Array:
    return np.asarray(x, np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def draw(*shape: int, seed: int = 0) -> Array:
    """Normal values that bfloat16 holds, so that only the roundings of the op under test show."""
    return bf16(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


class DictStore:
    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values = values

    def get(self, name: str) -> Array:
        return self.values[name]


def parse(text: str) -> ModuleOp:
    ctx = Context()
    for dialect in (Builtin, arith.Arith, func.Func, scf.Scf, pt.PlenaTensor):
        ctx.load_dialect(dialect)
    module = Parser(ctx, text).parse_module()
    module.verify()
    return module


def run(body: str, *, precision: str = "hardware", store: Mapping[str, Array] | None = None, **inputs: Array) -> Array:
    """`%y` after `body`, of the type of `%x`."""
    types = {name: f"tensor<{'x'.join(map(str, values.shape))}xf32>" for name, values in inputs.items()}
    arguments = ", ".join(f"%{name} : {type}" for name, type in types.items())
    module = parse(f"func.func @main({arguments}) -> {types['x']} {{\n{body}\nfunc.return %y : {types['x']}\n}}")
    return run_tensor(module, inputs, DictStore(store or {}), precision=precision)[0]


T = "tensor<4x16xf32>"
X = draw(4, 16)


def test_every_op_of_the_canonical_form_has_a_form_and_roundings() -> None:
    kernels = hardware_kernels(load_target("8x4x4"), HARDWARE)
    moves = {pt.EmptyRowsOp, pt.TakeRowsOp, pt.PutRowsOp, pt.ReshapeOp, pt.PermuteOp, pt.ExpandOp}
    assert set(kernels) - moves == set(ROUNDED) == set(ACTIVATION_OPS) - moves


def test_a_step_that_the_table_does_not_name_is_an_error() -> None:
    op = pt.AddOp(*(value.result for value in (pt.splat(1.0), pt.splat(2.0))))
    with pytest.raises(KeyError, match="'product' is not in the rounding table"):
        Rounder(op, HARDWARE)("product", torch.ones(1))


def test_silu_rounds_at_every_step() -> None:
    x = X * 4
    denominator = bf16(1 + bf16(np.exp(-x)))
    expected = bf16(x * bf16(1 / denominator))
    np.testing.assert_array_equal(run(f"%y = plena_tensor.silu %x : {T} -> {T}", x=x), expected)


def test_add_and_mul_round_once() -> None:
    other = draw(4, 16, seed=1)
    for name, exact in (("add", X + other), ("mul", X * other)):
        found = run(f"%y = plena_tensor.{name} %x, %z : {T}, {T} -> {T}", x=X, z=other)
        np.testing.assert_array_equal(found, bf16(exact))
        assert np.any(found != exact)


def test_linear_rounds_the_product_and_the_sum_with_the_bias() -> None:
    weight, bias = draw(16, 16, seed=1), draw(16, seed=2) * 64
    product = (X.astype(np.float64) @ weight.astype(np.float64).T).astype(np.float32)
    body = f"%y = plena_tensor.linear %x, %w, %b : ({T}, tensor<16x16xf32>, tensor<16xf32>) -> {T}"
    np.testing.assert_array_equal(run(body, x=X, w=weight, b=bias), bf16(bf16(product) + bias))


def test_rms_norm_rounds_squares_sums_and_scalars() -> None:
    gain = draw(16, seed=1)
    total = bf16(bf16(X * X).sum(1, keepdims=True))
    root = bf16(np.sqrt(bf16(bf16(total / 16) + np.float32(0.25))))
    expected = bf16(bf16(X * bf16(1 / root)) * gain)
    body = f"%y = plena_tensor.rms_norm %x, %g {{eps = 0.25 : f64}} : ({T}, tensor<16xf32>) -> {T}"
    np.testing.assert_array_equal(run(body, x=X, g=gain), expected)


def test_rope_rounds_two_products_and_their_sum() -> None:
    cos, sin = draw(4, 8, seed=1), draw(4, 8, seed=2)
    heads = X.reshape(4, 2, 8)
    turned = np.concatenate([-heads[..., 4:], heads[..., :4]], axis=-1)
    expected = bf16(bf16(heads * cos[:, None]) + bf16(turned * sin[:, None])).reshape(4, 16)
    body = f"%y = plena_tensor.rope %x, %c, %s {{heads = 2 : i64}} : ({T}, tensor<4x8xf32>, tensor<4x8xf32>) -> {T}"
    np.testing.assert_array_equal(run(body, x=X, c=cos, s=sin), expected)


def test_attention_rounds_scores_weights_and_sums() -> None:
    k, v = draw(4, 8, seed=1), draw(4, 8, seed=2)
    parts = []
    for head in range(2):
        scores = bf16(X[:, head * 8 : head * 8 + 8] @ k.T)
        scores = np.where(np.tri(4, dtype=bool), scores, -np.inf)
        weights = bf16(np.exp(np.maximum(bf16(scores - scores.max(1, keepdims=True)), -88)))
        parts.append(bf16(bf16(weights @ v) * bf16(1 / bf16(weights.sum(1, keepdims=True)))))
    body = (
        '%y = plena_tensor.attention %x, %k, %v {heads = 2 : i64, kv_heads = 1 : i64, scale = 1.0 : f64, mask_kind = "causal"}'
        f" : ({T}, tensor<4x8xf32>, tensor<4x8xf32>) -> {T}"
    )
    np.testing.assert_array_equal(run(body, x=X, k=k, v=v), np.concatenate(parts, axis=1))


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu_stays_within_bf16_of_both_forms(approximate: str) -> None:
    x = draw(4, 16) * 3
    expected = torch.nn.functional.gelu(torch.from_numpy(x), approximate=approximate).numpy()
    found = run(f'%y = plena_tensor.gelu %x {{approximate = "{approximate}"}} : {T} -> {T}', x=x)
    np.testing.assert_allclose(found, expected, rtol=0.03, atol=0.01)


def test_layer_norm_stays_within_bf16() -> None:
    gain, bias = draw(16, seed=1), draw(16, seed=2)
    body = f"%y = plena_tensor.layer_norm %x gain(%g : tensor<16xf32>) bias(%b : tensor<16xf32>) {{eps = 0.25 : f64}} : {T} -> {T}"
    expected = run(body, precision="fp32", x=X, g=gain, b=bias)
    found = run(body, x=X, g=gain, b=bias)
    np.testing.assert_allclose(found, expected, atol=0.05)
    np.testing.assert_array_equal(found, bf16(found))


QUANTIZE = '%y = plena_tensor.quantize %x {{format = "{}", terms = {} : i64}} : tensor<4x{}xf32> -> tensor<4x{}xf32>'


@pytest.mark.parametrize("form", ["weight", "kv", "act", "exact"])
def test_one_term_is_the_storage_format(form: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 16)).astype(np.float32)
    np.testing.assert_array_equal(run(QUANTIZE.format(form, 1, 16, 16), x=x), mx_quantize(x, MXFP8_E4M3))
    np.testing.assert_array_equal(run(QUANTIZE.format(form, 1, 16, 16), precision="fp32", x=x), x)


def test_a_ragged_row_ends_in_a_block_padded_with_zeros() -> None:
    x = np.random.default_rng(0).standard_normal((4, 11)).astype(np.float32)
    padded = np.pad(x, ((0, 0), (0, 5)))
    np.testing.assert_array_equal(run(QUANTIZE.format("act", 1, 11, 11), x=x), mx_quantize(padded, MXFP8_E4M3)[:, :11])


@pytest.mark.parametrize("terms", [1, 2, 3])
def test_more_terms_keep_the_stated_error(terms: int) -> None:
    x = np.random.default_rng(0).uniform(-1, 1, (4, 4096)).astype(np.float32)
    found = run(QUANTIZE.format("exact", terms, 4096, 4096), precision="no_bf16", x=x)
    largest = np.abs(x.reshape(4, -1, 8)).max(-1, keepdims=True)
    error = (np.abs(found - x).reshape(4, -1, 8) / largest).max()
    bound = MXFP8_E4M3.largest_error**terms
    assert bound / 4 < error <= bound
    rounded = run(QUANTIZE.format("exact", terms, 4096, 4096), x=x)
    np.testing.assert_array_equal(rounded, bf16(rounded))


WEIGHTS = {"w": np.random.default_rng(1).standard_normal((16, 16)).astype(np.float32), "g": draw(16, seed=2) + 2}
FOLDED = f"""
  %w = plena_tensor.parameter "w" : tensor<16x16xf32>
  %g = plena_tensor.parameter "g" : tensor<16xf32>
  %wg = plena_tensor.mul %w, %g : tensor<16x16xf32>, tensor<16xf32> -> tensor<16x16xf32>
  %q = plena_tensor.quantize %wg {{format = "weight", terms = 1 : i64}} : tensor<16x16xf32> -> tensor<16x16xf32>
  %y = plena_tensor.linear %x, %q : ({T}, tensor<16x16xf32>) -> {T}
"""


def test_weight_expressions_are_computed_in_float32_and_then_quantized() -> None:
    weight = mx_quantize(WEIGHTS["w"] * WEIGHTS["g"], MXFP8_E4M3)
    np.testing.assert_array_equal(run(FOLDED, store=WEIGHTS, x=X), bf16(X @ weight.T))


def test_modes_switch_off_what_they_say() -> None:
    exact = WEIGHTS["w"] * WEIGHTS["g"]
    stored = mx_quantize(exact, MXFP8_E4M3)
    expected = {"fp32": X @ exact.T, "no_weight_quant": bf16(X @ exact.T), "no_bf16": X @ stored.T}
    for precision, values in expected.items():
        found = run(FOLDED, precision=precision, store=WEIGHTS, x=X)
        np.testing.assert_allclose(found, values, rtol=1e-5, atol=1e-5)
    assert len({run(FOLDED, precision=precision, store=WEIGHTS, x=X).tobytes() for precision in expected}) == 3


EVERYTHING = f"""
  %staged = plena_tensor.quantize %x {{format = "act", terms = 1 : i64}} : {T} -> {T}
  %w = plena_tensor.parameter "w" : tensor<16x16xf32>
  %qw = plena_tensor.quantize %w {{format = "weight", terms = 1 : i64}} : tensor<16x16xf32> -> tensor<16x16xf32>
  %b = plena_tensor.parameter "g" : tensor<16xf32>
  %qb = plena_tensor.quantize %b {{format = "exact", terms = 2 : i64}} : tensor<16xf32> -> tensor<16xf32>
  %q = plena_tensor.linear %staged, %qw, %qb : ({T}, tensor<16x16xf32>, tensor<16xf32>) -> {T}
  %k = plena_tensor.quantize %q {{format = "kv", terms = 1 : i64}} : {T} -> {T}
  %y = plena_tensor.attention %staged, %k, %k {{heads = 2 : i64, kv_heads = 2 : i64, scale = 1.0 : f64, mask_kind = "causal"}}
    : ({T}, {T}, {T}) -> {T}
"""
RAGGED = np.random.default_rng(3).standard_normal((4, 16)).astype(np.float32)


def attention_of(x: Array, w: Array, g: Array, *, kv: Callable[[Array], Array] = lambda k: k) -> Array:
    """What EVERYTHING computes in float32, from operands as they are stored."""
    body = EVERYTHING[EVERYTHING.index("  %y") :]
    k = kv(run(LINEAR, precision="fp32", x=x, w=w, g=g))
    return run(body.replace("%staged", "%x"), precision="fp32", x=x, k=k)


LINEAR = f"%y = plena_tensor.linear %x, %w, %g : ({T}, tensor<16x16xf32>, tensor<16xf32>) -> {T}"


def test_each_switch_stores_what_it_says_and_nothing_else() -> None:
    weight, bias = WEIGHTS["w"], np.random.default_rng(4).standard_normal(16).astype(np.float32)
    store = {"w": weight, "g": bias}
    first = mx_quantize(bias, MXFP8_E4M3)
    stored_bias = first + mx_quantize(bias - first, MXFP8_E4M3)
    expected = {
        "fp32": attention_of(RAGGED, weight, bias),
        "weights": attention_of(RAGGED, mx_quantize(weight, MXFP8_E4M3), bias),
        "kv": attention_of(RAGGED, weight, bias, kv=lambda k: mx_quantize(k, MXFP8_E4M3)),
        "activations": attention_of(mx_quantize(RAGGED, MXFP8_E4M3), weight, stored_bias),
    }
    for precision, values in expected.items():
        np.testing.assert_array_equal(run(EVERYTHING, precision=precision, store=store, x=RAGGED), values)
    found = {precision: run(EVERYTHING, precision=precision, store=store, x=RAGGED) for precision in (*SWITCHES, *MODES)}
    assert len({values.tobytes() for values in found.values()}) == len(found)
    np.testing.assert_array_equal(run(EVERYTHING, precision=",".join(SWITCHES), store=store, x=RAGGED), found["hardware"])


def test_intermediates_alone_round_what_is_staged_and_each_result_of_torch() -> None:
    body = f'%s = plena_tensor.quantize %x {{format = "act", terms = 1 : i64}} : {T} -> {T}\n%y = plena_tensor.silu %s : {T} -> {T}'
    staged = torch.from_numpy(bf16(RAGGED))
    expected = bf16(torch.nn.functional.silu(staged).numpy())
    np.testing.assert_array_equal(run(body, precision="intermediates", x=RAGGED), expected)


def test_a_mask_of_the_lowest_number_stays_finite_without_its_format() -> None:
    x = np.array([np.finfo(np.float32).min, -np.inf, 1.0, 0.0] * 4, np.float32)[None]
    found = run(QUANTIZE.format("exact", 2, 16, 16).replace("4x16", "1x16"), precision="intermediates", x=x)
    np.testing.assert_array_equal(
        found, np.array([ml_dtypes.finfo(ml_dtypes.bfloat16).min, -np.inf, 1.0, 0.0] * 4, np.float32)[None]
    )
    np.testing.assert_array_equal(run(QUANTIZE.format("exact", 2, 16, 16).replace("4x16", "1x16"), precision="fp32", x=x), x)


def test_formats_are_those_of_the_target() -> None:
    target = load_target("8x4x4")
    wide = replace(target, precisions=replace(target.precisions, m_weight="mxfp8_e5m2", v_act="mxfp8_e5m2"))
    for form, fmt in (("weight", MXFP8_E5M2), ("act", MXFP8_E5M2), ("kv", MXFP8_E4M3)):
        body = QUANTIZE.format(form, 1, 16, 16)
        module = parse(f"func.func @main(%x : {T}) -> {T} {{\n{body}\nfunc.return %y : {T}\n}}")
        for precision in ("weights,kv,activations", "hardware"):
            (found,) = run_tensor(module, [RAGGED], DictStore({}), precision=precision, target=wide)
            np.testing.assert_array_equal(found, mx_quantize(RAGGED, fmt))


def test_accumulation_alone_takes_the_machines_steps_unrounded() -> None:
    x = torch.from_numpy(RAGGED)
    expected = (x * (1.0 / (1.0 + torch.exp(-x)))).numpy()
    body = f"%y = plena_tensor.silu %x : {T} -> {T}"
    np.testing.assert_array_equal(run(body, precision="accumulation", x=RAGGED), expected)
    capped = f"%y = plena_tensor.soft_cap %x {{cap = 2.0 : f64}} : {T} -> {T}"
    formula, exact = (run(capped, precision=precision, x=RAGGED) for precision in ("accumulation", "fp32"))
    assert 1e-6 < np.abs(formula - exact).max() < 0.004


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(TargetError, match="'bf16' is neither a mode"):
        run(LINEAR, precision="bf16", x=X, w=WEIGHTS["w"], g=WEIGHTS["g"])


def test_what_has_no_hardware_form_is_refused() -> None:
    with pytest.raises(LoweringError, match=r"plena_tensor\.tanh has no execution in this precision"):
        run(f"%y = plena_tensor.tanh %x : {T} -> {T}", x=X)
