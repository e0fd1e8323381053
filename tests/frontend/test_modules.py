"""Modules that are no language models, end to end: inputs of any shape, staged as the program reads them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from plena_mlir.compiler import CompiledProgram, compile_hf_model
from plena_mlir.errors import ModelImportError, PlenaError
from plena_mlir.frontend import import_model
from plena_mlir.verify.bounds import broken_bounds


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(20, 33), nn.LayerNorm(33), nn.Linear(33, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(functional.gelu(self.norm(self.up(x)), approximate="tanh"))


class Stem(nn.Module):
    """A convolution of the image, a function, and channels last."""

    def __init__(self, **convolution: Any) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 10, **convolution), nn.Linear(10, 12)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(functional.relu(self.conv(image)).flatten(2).transpose(1, 2))


class Written(nn.Module):
    """A transformer written by hand: ids and numbers go in, a class token goes first."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.dense, self.token = nn.Embedding(30, 16), nn.Linear(9, 16), nn.Parameter(torch.zeros(1, 1, 16))
        self.norm, self.qkv, self.out, self.head = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16), nn.Linear(16, 24)

    def forward(self, numbers: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = torch.cat([self.token, self.dense(numbers), self.words(ids)], dim=1)
        batch, rows, width = x.shape
        q, k, v = (part.view(batch, rows, 2, 8).transpose(1, 2) for part in self.qkv(self.norm(x)).split(width, dim=-1))
        mixed = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, rows, width)
        x = x + self.out(mixed)
        return self.head(x[:, 0]), x


def check(program: CompiledProgram, *, ratio: bool = True) -> None:
    """The machine's bits are those of the tile level, from zeroed and from NaN-filled memories; every bound holds."""
    comparisons = program.run(compare=("hf", "golden", "tile"), timing="none").report.comparisons
    assert comparisons["tile_vs_emulator"].bit_exact
    broken = broken_bounds(comparisons, layers=1)
    assert all(not ratio and "of golden_vs_hf" in sentence for sentence in broken)


@pytest.mark.parametrize("shape", [(5, 20), (2, 3, 20)])
def test_a_module_of_numbers_runs(shape: tuple[int, ...]) -> None:
    program = compile_hf_model(Mlp(), target="8x4x4", inputs=torch.zeros(shape), random_weights=0)
    check(program)
    assert program.run(timing="none").output.shape == (int(np.prod(shape[:-1])), 12)


def test_an_exported_program_runs_with_its_own_weights() -> None:
    torch.manual_seed(0)
    module = Mlp().eval()
    program = compile_hf_model(torch.export.export(module, (torch.zeros(3, 20),)), target="8x4x4")
    check(program)
    with torch.no_grad():
        expected = module(torch.from_numpy(np.asarray(program.inputs))).numpy()
    assert np.abs(program.run(timing="none").output - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    "convolution",
    [{"kernel_size": 4, "stride": 4}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": (1, 3), "padding": "same"}],
    ids=["patches", "windows", "same"],
)
def test_convolutions_of_the_input_are_products_of_its_windows(convolution: dict[str, Any]) -> None:
    program = compile_hf_model(Stem(**convolution), target="8x4x4", inputs=torch.zeros(1, 3, 8, 8), random_weights=0)
    check(program)


@pytest.mark.parametrize(("output", "rows", "features"), [(0, 1, 24), (1, 8, 16)])
def test_several_inputs_and_outputs(output: int, rows: int, features: int) -> None:
    inputs = (torch.zeros(1, 4, 9), torch.tensor([[3, 29, 0]]))
    program = compile_hf_model(Written(), target="8x4x4", inputs=inputs, random_weights=0, output=output)
    check(program, ratio=False)
    assert program.run(timing="none").output.shape == (rows, features)


def test_named_arguments_and_what_does_not_change() -> None:
    class Scaled(Mlp):
        def forward(self, x: torch.Tensor, *, twice: bool = False, factor: float = 1.0) -> torch.Tensor:
            return super().forward(x) * (2 * factor if twice else factor)

    inputs = {"x": torch.zeros(5, 20), "twice": True, "factor": 1.5}
    check(compile_hf_model(Scaled(), target="8x4x4", inputs=inputs, random_weights=0))


def test_a_failed_export_logs_nothing_beside_its_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(ModelImportError, match="export fails: RuntimeError"):
        import_model(Mlp(), inputs=torch.zeros(5, 21))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not logging.root.manager.disable


def test_what_has_no_exact_form_is_refused() -> None:
    class Identity(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.transpose(0, 1)

    with pytest.raises(ModelImportError, match="the inputs of this module are not known"):
        import_model(Mlp())
    with pytest.raises(ModelImportError, match="no tensor among the example inputs"):
        import_model(Mlp(), inputs={"x": 3})
    with pytest.raises(ModelImportError, match=r"an example input of shape \(0, 20\) \(it holds no element"):
        import_model(Mlp(), inputs=torch.zeros(0, 20))
    with pytest.raises(ModelImportError, match=r"up: aten\.linear\.default of integers \(convert them"):
        import_model(Mlp(), inputs=torch.zeros(5, 20, dtype=torch.int64))
    with pytest.raises(ModelImportError, match="is no model"):
        import_model(Mlp, inputs=torch.zeros(5, 20))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ModelImportError, match="the module has no output 1"):
        import_model(Mlp(), inputs=torch.zeros(5, 20), output=1)
    with pytest.raises(ModelImportError, match="a convolution in 3 groups"):
        import_model(nn.Conv2d(3, 3, 2, groups=3), inputs=torch.zeros(1, 3, 4, 4))
    with pytest.raises(PlenaError, match="returns an input or a weight as it is"):
        compile_hf_model(Identity(), target="8x4x4", inputs=torch.zeros(5, 20))
