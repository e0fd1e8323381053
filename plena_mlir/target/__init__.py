"""The machine as data: `Target`, its names, and the `plena_settings.toml` form."""

from plena_mlir.target.hardware import HBM_BLOCK, MX_BLOCK, SCALAR_SRAM_WORDS
from plena_mlir.target.presets import PRESETS, geometry_target, load_target
from plena_mlir.target.settings import read_settings, write_settings
from plena_mlir.target.target import Latencies, Precisions, Target

__all__ = [
    "HBM_BLOCK",
    "MX_BLOCK",
    "PRESETS",
    "SCALAR_SRAM_WORDS",
    "Latencies",
    "Precisions",
    "Target",
    "geometry_target",
    "load_target",
    "read_settings",
    "write_settings",
]
