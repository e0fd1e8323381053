"""Plots are files whose content depends on the figures they show, and on nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from plena_mlir.golden_precision import SWITCHES
from plena_mlir.verify.ablation import SUBSETS, Ablation, waterfall
from plena_mlir.verify.compare import compare
from plena_mlir.verify.plots import plot_ablated_layers, plot_histogram, plot_layers, plot_waterfall, plot_worst

REFERENCE = np.random.default_rng(0).standard_normal((8, 16))


def pair(scale: float) -> tuple[np.ndarray, np.ndarray]:
    return REFERENCE * (1 + scale), REFERENCE


def ablation(scale: float) -> Ablation:
    falls = waterfall({subset: scale * sum(1 + SWITCHES.index(switch) for switch in subset) for subset in SUBSETS})
    return Ablation(falls, {"model.layers.0": falls, "model.layers.1": falls})


PLOTS: dict[str, Callable[[float, Path], Path]] = {
    "errors.png": lambda scale, folder: plot_histogram({"golden_vs_hf": pair(scale), "tile_vs_emulator": pair(0)}, folder),
    "worst.png": lambda scale, folder: plot_worst({"golden_vs_hf": compare(*pair(scale))}, folder),
    "layers.png": lambda scale, folder: plot_layers({"golden_vs_fp32": {"model.layers.0": scale, "model.layers.1": 0.2}}, folder),
    "waterfall.png": lambda scale, folder: plot_waterfall(ablation(scale), folder),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_shows_its_figures(name: str, tmp_path: Path) -> None:
    first = PLOTS[name](0.125, tmp_path)
    assert first == tmp_path / name
    content = first.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert PLOTS[name](0.125, tmp_path).read_bytes() == content
    assert PLOTS[name](0.375, tmp_path).read_bytes() != content


def test_results_without_any_error_have_plots_too(tmp_path: Path) -> None:
    plot_histogram({"tile_vs_emulator": pair(0)}, tmp_path)
    plot_worst({"tile_vs_emulator": compare(*pair(0))}, tmp_path)
    plot_ablated_layers(ablation(0.0), tmp_path)
    plot_waterfall(ablation(0.0), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"errors.png", "worst.png", "layers.png", "waterfall.png"}
