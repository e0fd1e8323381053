"""torch.compile with the backend plena: what the machine computes, within its number formats."""

from __future__ import annotations

import sys
import tomllib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from torch._dynamo.backends import registry
from torch.nn import functional

from plena_mlir.errors import ModelImportError
from plena_mlir.torch_backend import plena

OPTIONS = {"target": "8x4x4"}


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(20, 33), nn.Linear(33, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.silu(self.up(x)))


def compiled(module: nn.Module, **options: object) -> nn.Module:
    torch._dynamo.reset()
    return torch.compile(module, backend=plena, dynamic=False, options={**OPTIONS, **options})  # pyright: ignore[reportReturnType]


def close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    """Within what the machine's number formats cost, and not merely of the same size."""
    return actual.shape == expected.shape and bool((actual - expected).norm() < 0.1 * expected.norm())


def test_the_first_compilation_of_a_process_finds_the_backend_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    value = project["entry-points"]["torch_dynamo_backends"]["plena"]
    monkeypatch.setitem(registry._BACKENDS, "plena", metadata.EntryPoint("plena", value, "torch_dynamo_backends"))
    monkeypatch.delitem(registry._COMPILER_FNS, "plena", raising=False)
    monkeypatch.delitem(sys.modules, "plena_mlir.torch_backend")
    found = registry.lookup_backend("plena")
    assert found.__module__ == "plena_mlir.torch_backend"
    assert registry.lookup_backend("plena") is found
    registry._COMPILER_FNS.pop("plena")


def test_a_module_runs_on_the_machine_and_follows_its_weights() -> None:
    torch.manual_seed(0)
    module, x = Mlp().eval(), torch.randn(2, 3, 20)
    run = compiled(module)
    with torch.no_grad():
        first, expected = run(x), module(x)
        assert close(first, expected)
        assert not torch.equal(first, expected)
        assert not close(run(-x), expected)
        module.down.weight.neg_()
        assert close(run(x), module(x))


def test_a_decoder_block_runs() -> None:
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, num_key_value_heads=2, vocab_size=40
    )
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        parameter.data = torch.randn_like(parameter) / np.sqrt(parameter.shape[-1])

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=ids, use_cache=False).logits

    ids = torch.tensor([[3, 1, 39, 7, 7]])
    with torch.no_grad():
        assert close(compiled(Logits())(ids), Logits()(ids))


def test_what_cannot_be_compiled_is_an_error_unless_asked_otherwise() -> None:
    class Sorted(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cumsum(x, 0)

    x = torch.randn(4, 8)
    with pytest.raises(ModelImportError, match="cumsum"):
        compiled(Sorted())(x)
    with pytest.raises(ModelImportError, match="unknown options colour"):
        compiled(Mlp(), colour=1)(torch.randn(4, 20))
    with pytest.warns(UserWarning, match="runs in PyTorch, not on plena"):
        assert torch.equal(compiled(Sorted(), fallback=True)(x), torch.cumsum(x, 0))
