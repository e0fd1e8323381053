"""Running plena_tensor: every op against torch or numpy on values that tell ops apart, loops, stores and refusals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.ir import OpResult
from xdsl.parser import Parser

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from plena_mlir.interpreters.tensor import evaluate_weight, run_tensor
from plena_mlir.interpreters.tensor_kernels import KERNELS

Array = NDArray[np.float32]


class DictStore:
    """Parameters from a dictionary."""

    def __init__(self, values: Mapping[str, Array]) -> None:
        self.values = values

    def get(self, name: str) -> Array:
        return self.values[name]


EMPTY = DictStore({})


def parse(text: str) -> ModuleOp:
    ctx = Context()
    for dialect in (Builtin, arith.Arith, func.Func, scf.Scf, pt.PlenaTensor):
        ctx.load_dialect(dialect)
    module = Parser(ctx, text).parse_module()
    module.verify()
    return module


def run_op(body: str, result: str, **inputs: NDArray[np.generic]) -> Array:
    """The value of `%y` after `body`, a function of the named inputs."""
    types = {"float32": "f32", "int64": "i64", "bool": "i1"}
    arguments = ", ".join(
        f"%{name} : tensor<{''.join(f'{size}x' for size in values.shape)}{types[values.dtype.name]}>"
        for name, values in inputs.items()
    )
    module = parse(f"func.func @main({arguments}) -> {result} {{\n {body}\n func.return %y : {result}\n}}")
    (found,) = run_tensor(module, inputs, EMPTY)
    return found


def draw(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


X = draw(4, 8)
POSITIVE = np.abs(X) + 0.1


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("neg", X, -X),
        ("exp", X, np.exp(X)),
        ("log", POSITIVE, np.log(POSITIVE)),
        ("sqrt", POSITIVE, np.sqrt(POSITIVE)),
        ("rsqrt", POSITIVE, 1 / np.sqrt(POSITIVE)),
        ("reciprocal", POSITIVE, 1 / POSITIVE),
        ("tanh", X, np.tanh(X)),
        ("sigmoid", X, 1 / (1 + np.exp(-X))),
        ("silu", X, X / (1 + np.exp(-X))),
        ("relu", X, np.maximum(X, 0)),
        ("abs", X, np.abs(X)),
        ("cos", X, np.cos(X)),
        ("sin", X, np.sin(X)),
    ],
)
def test_unary_ops(name: str, x: Array, expected: Array) -> None:
    found = run_op(f"%y = plena_tensor.{name} %x : tensor<4x8xf32> -> tensor<4x8xf32>", "tensor<4x8xf32>", x=x)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("add", np.add),
        ("sub", np.subtract),
        ("mul", np.multiply),
        ("div", np.divide),
        ("pow", np.power),
        ("maximum", np.maximum),
        ("minimum", np.minimum),
    ],
)
def test_binary_ops_broadcast(name: str, expected: np.ufunc) -> None:
    row = draw(8, seed=1)
    body = f"%y = plena_tensor.{name} %x, %r : tensor<4x8xf32>, tensor<8xf32> -> tensor<4x8xf32>"
    np.testing.assert_allclose(run_op(body, "tensor<4x8xf32>", x=POSITIVE, r=row), expected(POSITIVE, row), rtol=1e-5)


def test_gelu_has_two_forms() -> None:
    x = torch.from_numpy(X * 3)
    for form in ("none", "tanh"):
        body = f'%y = plena_tensor.gelu %x {{approximate = "{form}"}} : tensor<4x8xf32> -> tensor<4x8xf32>'
        expected = torch.nn.functional.gelu(x, approximate=form).numpy()
        np.testing.assert_array_equal(run_op(body, "tensor<4x8xf32>", x=X * 3), expected)


def test_movement_ops() -> None:
    body = """
      %a = plena_tensor.permute %x {perm = array<i64: 1, 0>} : tensor<4x8xf32> -> tensor<8x4xf32>
      %b = plena_tensor.slice %a {dim = -2 : i64, start = 1 : i64, end = 8 : i64, step = 3 : i64}
        : tensor<8x4xf32> -> tensor<3x4xf32>
      %c = plena_tensor.reshape %b : tensor<3x4xf32> -> tensor<2x6xf32>
      %d = plena_tensor.concat %c, %c {dim = 0 : i64} : (tensor<2x6xf32>, tensor<2x6xf32>) -> tensor<4x6xf32>
      %y = plena_tensor.expand %d : tensor<4x6xf32> -> tensor<2x4x6xf32>
    """
    piece = X.T[1::3].reshape(2, 6)
    expected = np.broadcast_to(np.concatenate([piece, piece]), (2, 4, 6))
    np.testing.assert_array_equal(run_op(body, "tensor<2x4x6xf32>", x=X), expected)


@pytest.mark.parametrize(("name", "expected"), [("sum", np.sum), ("mean", np.mean), ("amax", np.max)])
def test_reductions(name: str, expected: np.ufunc) -> None:
    kept = f"%y = plena_tensor.{name} %x {{dims = array<i64: -1>, keepdim}} : tensor<4x8xf32> -> tensor<4x1xf32>"
    np.testing.assert_allclose(run_op(kept, "tensor<4x1xf32>", x=X), expected(X, axis=1, keepdims=True), rtol=1e-5)
    whole = f"%y = plena_tensor.{name} %x {{dims = array<i64>}} : tensor<4x8xf32> -> tensor<f32>"
    np.testing.assert_allclose(run_op(whole, "tensor<f32>", x=X), expected(X), rtol=1e-5)


def test_constants_casts_and_where() -> None:
    body = """
      %two = plena_tensor.constant dense<2.0> : tensor<f32>
      %row = plena_tensor.constant dense<[1.0, 0.0, 3.0]> : tensor<3xf32>
      %keep = plena_tensor.cast %row : tensor<3xf32> -> tensor<3xi1>
      %x2 = plena_tensor.mul %x, %two : tensor<2x3xf32>, tensor<f32> -> tensor<2x3xf32>
      %y = plena_tensor.where %keep, %x2, %x : tensor<3xi1>, tensor<2x3xf32>, tensor<2x3xf32> -> tensor<2x3xf32>
    """
    x = draw(2, 3)
    np.testing.assert_array_equal(run_op(body, "tensor<2x3xf32>", x=x), x * np.float32([2, 1, 2]))


def test_products_and_embedding() -> None:
    w, b, ids = draw(3, 8, seed=1), draw(3, seed=2), np.array([2, 0, 2], dtype=np.int64)
    linear = "%y = plena_tensor.linear %x, %w, %b : (tensor<4x8xf32>, tensor<3x8xf32>, tensor<3xf32>) -> tensor<4x3xf32>"
    np.testing.assert_allclose(run_op(linear, "tensor<4x3xf32>", x=X, w=w, b=b), X @ w.T + b, rtol=1e-4, atol=1e-5)
    stack = draw(2, 8, 5)
    matmul = "%y = plena_tensor.matmul %x, %s : tensor<4x8xf32>, tensor<2x8x5xf32> -> tensor<2x4x5xf32>"
    np.testing.assert_allclose(run_op(matmul, "tensor<2x4x5xf32>", x=X, s=stack), X @ stack, rtol=1e-4, atol=1e-5)
    lookup = "%y = plena_tensor.embedding %x, %i : tensor<4x8xf32>, tensor<3xi64> -> tensor<3x8xf32>"
    np.testing.assert_array_equal(run_op(lookup, "tensor<3x8xf32>", x=X, i=ids), X[ids])


def test_norms_and_softmax() -> None:
    g, b = draw(8, seed=1), draw(8, seed=2)
    t = "tensor<4x8xf32>"
    rms = f"%y = plena_tensor.rms_norm %x, %g {{eps = 1.0e-02 : f64}} : ({t}, tensor<8xf32>) -> {t}"
    expected = X / np.sqrt((X**2).mean(1, keepdims=True) + 1e-2) * g
    np.testing.assert_allclose(run_op(rms, t, x=X, g=g), expected, rtol=1e-5, atol=1e-6)
    centred = (X - X.mean(1, keepdims=True)) / np.sqrt(X.var(1, keepdims=True) + 1e-2)
    layer = (
        f"%y = plena_tensor.layer_norm %x gain(%g : tensor<8xf32>) bias(%b : tensor<8xf32>) {{eps = 1.0e-02 : f64}} : {t} -> {t}"
    )
    np.testing.assert_allclose(run_op(layer, t, x=X, g=g, b=b), centred * g + b, rtol=1e-4, atol=1e-5)
    bias_only = f"%y = plena_tensor.layer_norm %x bias(%b : tensor<8xf32>) {{eps = 1.0e-02 : f64}} : {t} -> {t}"
    np.testing.assert_allclose(run_op(bias_only, t, x=X, b=b), centred + b, rtol=1e-4, atol=1e-5)
    softmax = f"%y = plena_tensor.softmax %x {{dim = 0 : i64}} : {t} -> {t}"
    weights = np.exp(X) / np.exp(X).sum(0)
    np.testing.assert_allclose(run_op(softmax, t, x=X), weights, rtol=1e-5)


@pytest.mark.parametrize("rotary", [4, 2])
def test_rope_turns_halves_of_each_head(rotary: int) -> None:
    cos, sin = draw(4, rotary, seed=1), draw(4, rotary, seed=2)
    t, table = "tensor<4x8xf32>", f"tensor<4x{rotary}xf32>"
    body = f"%y = plena_tensor.rope %x, %c, %s {{heads = 2 : i64}} : ({t}, {table}, {table}) -> {t}"
    expected = X.copy().reshape(4, 2, 4)
    half = rotary // 2
    for head in range(2):
        turned = X.reshape(4, 2, 4)[:, head, :rotary]
        rotated = np.concatenate([-turned[:, half:], turned[:, :half]], axis=1)
        expected[:, head, :rotary] = turned * cos + rotated * sin
    np.testing.assert_allclose(run_op(body, t, x=X, c=cos, s=sin), expected.reshape(4, 8), rtol=1e-5)


def reference_attention(q: Array, k: Array, v: Array, heads: int, kv_heads: int, scale: float, bias: Array) -> Array:
    """Attention head by head, as the op's docstring says."""
    d, e = q.shape[1] // heads, v.shape[1] // kv_heads
    parts: list[Array] = []
    for head in range(heads):
        group = head // (heads // kv_heads)
        scores = q[:, head * d : (head + 1) * d] @ k[:, group * d : (group + 1) * d].T * scale + bias
        weights = np.exp(scores - scores.max(1, keepdims=True))
        parts.append(weights / weights.sum(1, keepdims=True) @ v[:, group * e : (group + 1) * e])
    return np.concatenate(parts, axis=1)


HIDDEN = -np.inf
STEPS = np.arange(5)[:, None] - np.arange(5)[None, :]


@pytest.mark.parametrize(
    ("properties", "bias"),
    [
        ('mask_kind = "none"', np.zeros((5, 5))),
        ('mask_kind = "causal"', np.where(STEPS < 0, HIDDEN, 0)),
        ('mask_kind = "sliding", window = 2 : i64', np.where((STEPS < 0) | (STEPS >= 2), HIDDEN, 0)),
        ('mask_kind = "explicit"', draw(5, 5, seed=9)),
    ],
)
def test_attention_by_mask_kind(properties: str, bias: Array) -> None:
    q, k, v = draw(5, 16), draw(5, 8, seed=1), draw(5, 8, seed=2)
    explicit = "explicit" in properties
    inputs = dict(q=q, k=k, v=v) | (dict(m=bias.astype(np.float32)) if explicit else {})
    mask, mask_type = (" mask %m", ", tensor<5x5xf32>") if explicit else ("", "")
    body = (
        f"%y = plena_tensor.attention %q, %k, %v{mask} {{heads = 4 : i64, kv_heads = 2 : i64, scale = 0.3 : f64, {properties}}}"
        f" : (tensor<5x16xf32>, tensor<5x8xf32>, tensor<5x8xf32>{mask_type}) -> tensor<5x16xf32>"
    )
    expected = reference_attention(q, k, v, 4, 2, 0.3, bias.astype(np.float32))
    np.testing.assert_allclose(run_op(body, "tensor<5x16xf32>", **inputs), expected, rtol=1e-4, atol=1e-5)


def test_a_causal_query_sees_the_keys_before_the_last_rows() -> None:
    q, k = draw(2, 4), draw(5, 4, seed=1)
    t = "(tensor<2x4xf32>, tensor<5x4xf32>, tensor<5x4xf32>) -> tensor<2x4xf32>"
    properties = 'heads = 1 : i64, kv_heads = 1 : i64, scale = 1.0 : f64, mask_kind = "causal"'
    body = f"%y = plena_tensor.attention %q, %k, %k {{{properties}}} : {t}"
    bias = np.where(np.arange(5)[None, :] > np.arange(2)[:, None] + 3, HIDDEN, 0).astype(np.float32)
    expected = reference_attention(q, k, k, 1, 1, 1.0, bias)
    np.testing.assert_allclose(run_op(body, "tensor<2x4xf32>", q=q, k=k), expected, rtol=1e-4, atol=1e-5)


def test_sdpa_with_grouped_heads_and_default_scale() -> None:
    q, k, v, mask = draw(1, 4, 5, 4), draw(1, 2, 5, 4, seed=1), draw(1, 2, 5, 4, seed=2), draw(5, 5, seed=3)
    types = "(tensor<1x4x5x4xf32>, tensor<1x2x5x4xf32>, tensor<1x2x5x4xf32>, tensor<5x5xf32>) -> tensor<1x4x5x4xf32>"
    found = run_op(f"%y = plena_tensor.sdpa %q, %k, %v mask %m {{gqa}} : {types}", "tensor<1x4x5x4xf32>", q=q, k=k, v=v, m=mask)
    rows = [x[0].transpose(1, 0, 2).reshape(5, -1) for x in (q, k, v)]
    expected = reference_attention(*rows, 4, 2, 0.5, mask).reshape(5, 4, 4).transpose(1, 0, 2)[None]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_op_has_a_kernel() -> None:
    assert set(pt.PlenaTensor.operations) - set(KERNELS) == {pt.ParameterOp}


ROLLED = """
func.func @main(%x : tensor<2x3xf32>) -> tensor<2x3xf32> {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c3 = arith.constant 3 : index
  %y = scf.for %l = %c0 to %c3 step %c1 iter_args(%h = %x) -> (tensor<2x3xf32>) {
    %w = plena_tensor.parameter "layers.{}.w" [%l] : tensor<3x3xf32>
    %g = plena_tensor.parameter "layers.{}.g" [%l] : tensor<3xf32>
    %wg = plena_tensor.mul %w, %g : tensor<3x3xf32>, tensor<3xf32> -> tensor<3x3xf32>
    %q = plena_tensor.quantize %wg {format = "weight", terms = 1 : i64} : tensor<3x3xf32> -> tensor<3x3xf32>
    %n = plena_tensor.linear %h, %q : (tensor<2x3xf32>, tensor<3x3xf32>) -> tensor<2x3xf32>
    scf.yield %n : tensor<2x3xf32>
  }
  func.return %y : tensor<2x3xf32>
}
"""
LAYERS = DictStore(
    {f"layers.{i}.{name}": draw(*shape, seed=10 * i + len(shape)) for i in range(3) for name, shape in (("w", (3, 3)), ("g", (3,)))}
)


def test_a_loop_over_layers_reads_each_layers_parameters() -> None:
    x = draw(2, 3, seed=99)
    expected = x
    for layer in range(3):
        expected = expected @ (LAYERS.get(f"layers.{layer}.w") * LAYERS.get(f"layers.{layer}.g")).T
    np.testing.assert_allclose(run_tensor(parse(ROLLED), [x], LAYERS)[0], expected, rtol=1e-4, atol=1e-5)


def test_weights_inside_the_loop_are_evaluated_per_layer() -> None:
    quantized = next(op for op in parse(ROLLED).walk() if isinstance(op, pt.QuantizeOp)).result
    for layer in range(3):
        expected = LAYERS.get(f"layers.{layer}.w") * LAYERS.get(f"layers.{layer}.g")
        np.testing.assert_array_equal(evaluate_weight(quantized, LAYERS, layer), expected)
    with pytest.raises(LoweringError, match="layer index that is not known"):
        evaluate_weight(quantized, LAYERS)


def test_weights_of_an_outlined_function_are_evaluated_per_layer() -> None:
    module = parse("""
    func.func @weight(%l : index) -> tensor<3x3xf32> {
      %w = plena_tensor.parameter "layers.{}.w" [%l] : tensor<3x3xf32>
      %t = plena_tensor.permute %w {perm = array<i64: 1, 0>} : tensor<3x3xf32> -> tensor<3x3xf32>
      func.return %t : tensor<3x3xf32>
    }""")
    value = next(op for op in module.walk() if isinstance(op, pt.PermuteOp)).result
    np.testing.assert_array_equal(evaluate_weight(value, LAYERS, 2), LAYERS.get("layers.2.w").T)


def test_an_activation_is_no_weight() -> None:
    module = parse(ROLLED)
    linear = next(op for op in module.walk() if isinstance(op, pt.LinearOp))
    assert isinstance(linear.result, OpResult)
    with pytest.raises(LoweringError, match="is an activation"):
        evaluate_weight(linear.result, LAYERS, 0)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([draw(2, 4)], r"input has shape \(2, 4\)"),
        ([], "0 inputs given, 1 wanted"),
        ({"z": draw(2, 3)}, r"\['z'\] given, \['x'\] wanted"),
    ],
)
def test_inputs_that_do_not_match_are_refused(inputs: list[Array] | dict[str, Array], message: str) -> None:
    with pytest.raises(LoweringError, match=message):
        run_tensor(parse(ROLLED), inputs, LAYERS)


def test_a_parameter_of_another_shape_is_refused_by_name() -> None:
    store = DictStore({**LAYERS.values, "layers.1.w": draw(3, 4)})
    with pytest.raises(LoweringError, match=r"layers\.1\.w: the store holds shape \(3, 4\)"):
        run_tensor(parse(ROLLED), [draw(2, 3)], store)


def test_running_leaves_the_thread_count_alone() -> None:
    before = torch.get_num_threads()
    run_tensor(parse(ROLLED), [draw(2, 3)], LAYERS)
    assert torch.get_num_threads() == before
