"""Single operators and graph features, exported from small modules and compared with torch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from xdsl.context import Context
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.dialects.func import Func
from xdsl.parser import Parser

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.graph import import_graph
from plena_mlir.frontend.sources import StateDictSource
from plena_mlir.frontend.store import ParameterStore
from plena_mlir.interpreters.tensor import run_tensor

Function = Callable[[torch.Tensor], torch.Tensor]


class Wrapper(nn.Module):
    """Applies a function to [1, S, F] values; its parameters are there to be used."""

    def __init__(self, function: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(12, 8))
        self.gain = nn.Parameter(torch.rand(8) + 0.5)
        self.bias = nn.Parameter(torch.randn(8))
        self.buffer = nn.Buffer(torch.arange(8, dtype=torch.float32))
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x) if self.function.__code__.co_argcount == 2 else self.function(x)


def import_function(function: Callable[..., torch.Tensor], x: torch.Tensor) -> tuple[ModuleOp, ParameterStore, Wrapper]:
    module = Wrapper(function)
    with torch.no_grad():
        program = torch.export.export(module, (x,), strict=False)
    parameters = dict(module.named_parameters())
    store = ParameterStore({name: tuple(value.shape) for name, value in parameters.items()}, StateDictSource(parameters))
    imported = import_graph(program, store, dict(module.named_buffers()), prefix="", root="Wrapper")
    imported.verify()
    return imported, store, module


def check(function: Callable[..., torch.Tensor], x: torch.Tensor | None = None) -> ModuleOp:
    """Import `function` on x [1, 6, 8], run the IR and compare every element with torch; returns the IR."""
    torch.manual_seed(1)
    x = torch.randn(1, 6, 8) if x is None else x
    imported, store, module = import_function(function, x)
    with torch.no_grad():
        output = module(x.clone())
    expected = (output[0] if output.dim() > 2 else output).numpy()
    (found,) = run_tensor(imported, [x[0].numpy()], store)
    assert found.shape == expected.shape
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)
    return imported


OPERATORS: dict[str, Function] = {
    "arithmetic": lambda x: (2 - x) * x / 3 + x - 0.5,
    "scaled add": lambda x: torch.add(x, x * x, alpha=3) - torch.sub(x, 1.0, alpha=2),
    "power": lambda x: x.pow(2) + x.abs().pow(0.5) + x.square() + 1.5 ** x.clamp(-1, 1),
    "unary": lambda x: x.exp() + (x.abs() + 1).log() + (x.abs() + 1).sqrt() + (x.abs() + 1).rsqrt() + x.tanh() - x,
    "more unary": lambda x: x.sigmoid() + x.cos() + x.sin() + (x + 10).reciprocal() + F.relu(x) + F.silu(x),
    "gelu": lambda x: F.gelu(x) + F.gelu(x, approximate="tanh"),
    "clamp": lambda x: x.clamp(-0.5, 0.5) + x.clamp(min=0.1) + x.clamp(max=0.2) + F.hardtanh(x) + F.relu6(x),
    "lengths": lambda x: F.normalize(x, dim=-1) + torch.linalg.vector_norm(x, dim=1, keepdim=True) + x.norm(dim=-1, keepdim=True),
    "extremes": lambda x: torch.maximum(x, -x) + torch.minimum(x, x * 2) + x.amax(-1, keepdim=True),
    "reductions": lambda x: x + x.sum(-1, keepdim=True) + x.mean((1, 2), keepdim=True) + x.sum() + x.mean(),
    "variance": lambda x: x.var(-1, keepdim=True) + x.var(-1, keepdim=True, unbiased=False) + x,
    "softmax": lambda x: x.softmax(-1) + F.softmax(x, dim=1, dtype=torch.float32),
    "where": lambda x: torch.where(torch.arange(8) > 3, x, 0.0) + x.masked_fill(torch.arange(8) == 1, -7.0),
    "products": lambda x: x @ x.transpose(1, 2) @ x + torch.bmm(x.mT.transpose(-1, -2), torch.ones(1, 8, 8)),
    "attention": lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], is_causal=True)[:, 0],
    "scaled attention": lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], scale=0.3)[:, 0],
    "views": lambda x: x.view(1, 6, 2, 4).permute(0, 2, 1, 3).reshape(1, 12, 4).unsqueeze(1).squeeze(1).flatten(1),
    "slices": lambda x: x[:, 1:5:2, -3:] + x.narrow(2, 1, 3)[:, :2] + x[:, 3, :3].unsqueeze(1) + x.select(1, -1)[:, None, 2:5],
    "joins": lambda x: torch.cat([x, -x], -1) + torch.stack([x, x * 2], 2).flatten(2),
    "splits": lambda x: x.split(3, -1)[2] + x.chunk(4, -1)[1] + x.split([2, 6], -1)[0] + x.unflatten(2, (4, 2)).unbind(2)[3],
    "repeats": lambda x: x.repeat(1, 2, 3) + x.repeat_interleave(3, -1).repeat(1, 2, 1) + x.repeat(1, 1, 6).view(1, 12, 24),
    "expand": lambda x: x[:, :1].expand(1, 6, 8) + x[:, :, :1].expand_as(x),
    "padding": lambda x: F.pad(x, (1, 2, 0, 1), value=3.0) + F.pad(x, (-1, 4, 1, 0)),
    "casts": lambda x: x.to(torch.float32) + x.to(torch.int64).to(torch.float32),
    "copies": lambda x: x.clone().contiguous().detach() + torch.zeros_like(x) + torch.full_like(x, 2.0) + x.new_ones(8),
    "dropout in eval mode": lambda x: F.dropout(x, 0.5, training=False) + x,
}


@pytest.mark.parametrize("name", OPERATORS)
def test_operator_computes_what_torch_computes(name: str) -> None:
    check(OPERATORS[name])


PARAMETER_OPERATORS: dict[str, Callable[[Wrapper, torch.Tensor], torch.Tensor]] = {
    "linear": lambda module, x: F.linear(x, module.weight) + F.linear(x, module.weight, module.weight[:, 0]),
    "addmm": lambda module, x: torch.addmm(module.bias, x[0], module.weight[:8], beta=0.5, alpha=2)[None],
    "layer norm": lambda module, x: F.layer_norm(x, (8,), module.gain, module.bias, 0.01) + F.layer_norm(x, (8,)),
    "rms norm": lambda module, x: F.rms_norm(x, (8,), module.gain, 0.01) + F.rms_norm(x, (8,)),
    "parameter arithmetic": lambda module, x: x * (1 + module.gain) + module.bias.view(2, 4).t().reshape(8),
    "buffer": lambda module, x: x * module.buffer + module.buffer.cumsum(0).flip(0),
}


@pytest.mark.parametrize("name", PARAMETER_OPERATORS)
def test_parameters_and_buffers(name: str) -> None:
    check(PARAMETER_OPERATORS[name])


def test_embedding_of_ids() -> None:
    check(lambda module, x: F.embedding(x, module.weight, padding_idx=3), torch.tensor([[0, 3, 11, 3]]))


def test_what_depends_on_no_input_becomes_one_constant() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(6)[:, None].float()
        table = (positions * torch.arange(8)).cumsum(0).sort(-1).values.flip(0).cos()
        return x * table + x * table.clone()

    names = [op.name for op in check(function).walk()]
    assert names.count("plena_tensor.constant") == 1
    assert not {"plena_tensor.cos", "plena_tensor.cast"} & set(names)


def test_text_with_infinite_constants_reads_back() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        return (x + torch.zeros(6, 8).masked_fill(torch.arange(8) > 3, float("-inf"))).softmax(-1)

    module = check(function)
    context = Context()
    for dialect in (Builtin, Func, pt.PlenaTensor):
        context.load_dialect(dialect)
    assert Parser(context, str(module)).parse_module().is_structurally_equivalent(module)


def test_unused_work_is_left_out() -> None:
    def function(module: Wrapper, x: torch.Tensor) -> torch.Tensor:
        F.linear(x, module.weight)
        return x + 1

    assert not [op for op in check(function).walk() if isinstance(op, pt.LinearOp | pt.ParameterOp)]


IN_PLACE: dict[str, Function] = {
    "add and multiply": lambda x: (x + 1).add_(2.0).mul_(x),
    "through the old name": lambda x: _update(x * 1.5),
    "fill where masked": lambda x: (x + 0).masked_fill_(torch.arange(8) > 5, 0.0),
    "copy": lambda x: (x * 2).copy_(x[:, :1]),
    "clamp": lambda x: (x * 2).clamp_(-1, 1),
    "on a view that nothing else shares": lambda x: (x * 2).view(6, 8).add_(1.0).view(1, 6, 8),
    "on folded values": lambda x: x + _folded_table(),
}


def _update(y: torch.Tensor) -> torch.Tensor:
    y.add_(1.0)
    return y * 2


def _folded_table() -> torch.Tensor:
    table = torch.zeros(6, 8)
    table[:, ::2] = torch.arange(4, dtype=torch.float32)
    table[1:3].mul_(3.0)
    return table


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_operators_become_functional(name: str) -> None:
    check(IN_PLACE[name])


def test_buffers_of_the_module_survive_a_fold_that_writes_to_them() -> None:
    def function(module: Wrapper, x: torch.Tensor) -> torch.Tensor:
        table = module.buffer.view(8)
        return x * table.mul_(2.0)

    _, _, module = import_function(function, torch.ones(1, 6, 8))
    assert torch.equal(module.buffer, torch.arange(8, dtype=torch.float32))


def _write_through_a_view(x: torch.Tensor) -> torch.Tensor:
    y = x * 2
    y[:, 1:3].mul_(3.0)
    return y


REFUSED: dict[str, tuple[Function, str]] = {
    "view written": (_write_through_a_view, r"aten\.mul_\.Tensor writes to a tensor that is also seen through a view"),
    "half precision": (lambda x: x.to(torch.float16).float(), r"a value of type float16 depends on the inputs"),
    "double precision": (lambda x: (x.double() * 2).float(), r"a value of type float64 depends on the inputs"),
    "unknown operator": (lambda x: x.cumsum(1), r"aten\.cumsum\.default is not supported \(cumulative sums"),
    "similar operator": (lambda x: x.log2(), r"aten\.log2\.default is not supported \(supported operators.*log"),
    "unread attribute": (lambda x: torch.div(x, 2.0, rounding_mode="floor"), r"aten\.div\.Tensor_mode is not supported"),
    "training dropout": (lambda x: F.dropout(x, 0.5, training=True), r"dropout in training mode is random"),
    "reflected padding": (lambda x: F.pad(x, (1, 1), mode="reflect"), r"padding mode 'reflect' is not supported"),
    "wide norm": (lambda x: F.layer_norm(x, (6, 8)), r"layer_norm over the last 2 dimensions is not supported"),
    "vector product": (lambda x: x @ torch.ones(8), r"matmul of shapes \(1, 6, 8\) and \(8,\) is not supported"),
    "constant output": (lambda x: torch.ones(1, 6), r"the output depends on no input"),
    "attention dropout": (
        lambda x: F.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None], dropout_p=0.5)[:, 0],
        r"scaled_dot_product_attention\.default with dropout_p=0\.5 is not supported \(only dropout_p=0\.0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_form_is_refused_with_its_module(name: str) -> None:
    function, message = REFUSED[name]
    with pytest.raises(ModelImportError, match=f"^Wrapper: .*{message}") as caught:
        import_function(function, torch.ones(1, 6, 8))
    assert "\n" not in str(caught.value)
