"""Plots of comparisons and ablations, as PNG files. matplotlib is imported when the first is drawn, without a display."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plena_mlir.verify.ablation import METRIC, Ablation
from plena_mlir.verify.compare import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HISTOGRAM_BINS = 80


def _figure(width: float, height: float, rows: int = 1) -> tuple[Figure, Sequence[Axes]]:
    """A figure that draws to files only, whatever display there is, with one axes above the other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(np.atleast_1d(np.asarray(figure.subplots(rows), object)))


def _save(figure: Figure, path: Path) -> Path:
    # Without the version of matplotlib in the file, the same figures give the same bytes.
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return path


def plot_histogram(compared: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], folder: Path) -> Path:
    """Write `errors.png`: for each comparison, how many elements have which absolute error, on logarithmic axes.

    Elements without any error have no place on the axis; the legend tells their share.
    """
    figure, (axes,) = _figure(8, 5)
    errors = {name: np.abs(actual.astype(np.float64) - reference).reshape(-1) for name, (actual, reference) in compared.items()}
    positive = [found[found > 0] for found in errors.values() if (found > 0).any()]
    low, high = (min(found.min() for found in positive), max(found.max() for found in positive)) if positive else (0.1, 1.0)
    bins = np.logspace(np.log10(low), np.log10(high * 1.001), HISTOGRAM_BINS)
    for name, found in errors.items():
        axes.hist(found[found > 0], bins=bins.tolist(), histtype="step", label=f"{name} ({np.mean(found == 0):.1%} equal)")
    axes.set(xscale="log", xlabel="absolute error", ylabel="elements", title="Errors of all elements")
    if positive:
        axes.set_yscale("log")
    axes.legend()
    return _save(figure, folder / "errors.png")


def plot_worst(comparisons: Mapping[str, Comparison], folder: Path) -> Path:
    """Write `worst.png`: the elements with the largest errors of each comparison, with coordinates and both values."""
    shown = {name: comparison for name, comparison in comparisons.items() if comparison.worst} or dict(comparisons)
    figure, axes = _figure(8, 1.0 + 1.9 * len(shown), len(shown))
    for place, (name, comparison) in zip(axes, shown.items(), strict=True):
        labels = [str(element.index) for element in comparison.worst]
        rows = np.arange(len(labels))
        place.barh(rows - 0.2, [element.reference for element in comparison.worst], 0.4, label="reference")
        place.barh(rows + 0.2, [element.actual for element in comparison.worst], 0.4, label="actual")
        place.set_yticks(rows, labels)
        place.invert_yaxis()
        place.set_title(f"{name}: largest error {comparison.max_abs:.3g}")
        place.legend()
    return _save(figure, folder / "worst.png")


def plot_layers(errors: Mapping[str, Mapping[str, float]], folder: Path) -> Path:
    """Write `layers.png`: relative RMS error at the output of each layer, one line for each comparison.

    Args:
        errors: comparison -> layer -> relative RMS, layers in order of execution.
    """
    layers = list(dict.fromkeys(layer for found in errors.values() for layer in found))
    figure, (axes,) = _figure(max(6.0, 2.0 + 0.35 * len(layers)), 5)
    for name, found in errors.items():
        axes.plot([layers.index(layer) for layer in found], list(found.values()), marker="o", label=name)
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right")
    axes.set(ylabel="relative RMS error", title="Error at the output of each layer")
    axes.set_ylim(bottom=0)
    axes.legend()
    return _save(figure, folder / "layers.png")


def plot_waterfall(ablation: Ablation, folder: Path) -> Path:
    """Write `waterfall.png`: the steps from float32 to the machine's arithmetic, one after the other."""
    figure, (axes,) = _figure(8, 5)
    height, highest, names = 0.0, ablation.output.total_gap, ["float32"]
    for place, step in enumerate(ablation.output.steps, start=1):
        axes.bar(place, step.delta, bottom=height, color="tab:red" if step.delta >= 0 else "tab:green")
        axes.annotate(f"{step.delta:+.3g}\n{step.share:.0%}", (place, max(height, height + step.delta)), ha="center", va="bottom")
        height += step.delta
        highest = max(highest, height)
        names.append(step.name)
    axes.bar(len(names), ablation.output.total_gap, color="tab:blue")
    axes.annotate(f"{ablation.output.total_gap:.3g}", (len(names), ablation.output.total_gap), ha="center", va="bottom")
    axes.set_xticks(range(len(names) + 1), [*names, "total"], rotation=20, ha="right")
    axes.set(ylabel=METRIC, title="From float32 to the machine: mean over all orders, and share of the squared gap")
    # Room for the figures above the bars.
    axes.set_ylim(top=1.15 * highest if highest > 0 else 1.0)
    return _save(figure, folder / "waterfall.png")


def plot_ablated_layers(ablation: Ablation, folder: Path) -> Path:
    """Write `layers.png`: the steps at the output of each layer, stacked."""
    layers = list(ablation.layers)
    figure, (axes,) = _figure(max(6.0, 2.0 + 0.45 * len(layers)), 5)
    below, above = np.zeros(len(layers)), np.zeros(len(layers))
    steps = zip(*(waterfall.steps for waterfall in ablation.layers.values()), strict=True)
    for found in steps:
        deltas = np.array([step.delta for step in found])
        # What a step takes away hangs below the axis, so that no bar hides another.
        axes.bar(range(len(layers)), deltas, bottom=np.where(deltas >= 0, above, below), label=found[0].name)
        above, below = above + np.maximum(deltas, 0), below + np.minimum(deltas, 0)
    axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right")
    axes.set(ylabel="relative RMS difference from float32", title="Where the gap comes from, at the output of each layer")
    axes.legend()
    return _save(figure, folder / "layers.png")
