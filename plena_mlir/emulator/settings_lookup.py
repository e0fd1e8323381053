"""Which machine `plena emulate` runs on: the lookup of the public simulator (machine specification, section 1.4)."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from plena_mlir.target import Latencies, Target, read_settings
from plena_mlir.target.settings import SettingsWarning

SETTINGS_VARIABLE = "PLENA_SETTINGS_TOML"
SETTINGS_NEARBY = Path("..") / "plena_settings.toml"


@dataclass(frozen=True)
class BuiltInTarget(Target):
    """The machine that the public simulator falls back to, whose HLEN is less than its BLEN: no program of ours runs on it."""

    def _rules(self) -> list[tuple[str, bool]]:
        return [(rule, holds) for rule, holds in super()._rules() if not rule.startswith("MLEN >= HLEN >= BLEN")]


def built_in_target() -> Target:
    """The public simulator's machine without settings, which is another one than its published settings describe."""
    latencies = Latencies(vector_add=2)
    return BuiltInTarget(
        name="built-in",
        mlen=32,
        vlen=32,
        blen=32,
        hlen=16,
        broadcast=2,
        hbm_size=1 << 30,
        matrix_sram_rows=1024,
        vector_sram_rows=1024,
        prefetch_m_rows=16,
        prefetch_v_rows=16,
        writeback_v_rows=16,
        max_loop_instructions=100_000,
        latencies_dc=latencies,
        latencies_no_dc=latencies,
    )


def find_target(settings: Path | None) -> Target:
    """The machine of `settings`, or of the file that the environment names, or of the one beside the current folder; without any
    the built-in machine, with a warning.

    Raises:
        TargetError: the file that was found cannot be read. The simulator would go on with its built-in machine.
    """
    if settings is not None:
        return read_settings(settings)
    named = os.environ.get(SETTINGS_VARIABLE)
    if named:
        return read_settings(named)
    if SETTINGS_NEARBY.is_file():
        return read_settings(SETTINGS_NEARBY)
    target = built_in_target()
    warnings.warn(
        f"no settings: neither --settings nor {SETTINGS_VARIABLE} nor {SETTINGS_NEARBY}; running on the built-in machine "
        f"MLEN {target.mlen}, BLEN {target.blen}, HLEN {target.hlen}, HBM {target.hbm_size >> 30} GiB",
        SettingsWarning,
        stacklevel=2,
    )
    return target
