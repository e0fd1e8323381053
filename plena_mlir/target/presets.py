"""Targets by name: `MLENxBLENxHLEN`, that with `-ocp` for the OCP rules of the MX formats, or the path of a settings file."""

from __future__ import annotations

import re
from pathlib import Path

from plena_mlir.errors import TargetError
from plena_mlir.target.settings import read_settings
from plena_mlir.target.target import Numerics, Target

PRESETS = ("64x4x16", "64x16x64", "128x64x128", "256x64x64", "256x64x128", "16x4x16", "32x8x32", "8x4x4")
"""Names that `plena targets` lists; any other legal geometry is a name too."""

OCP_SUFFIX = "-ocp"
"""What a name ends in whose MX formats follow the OCP rules."""

_GEOMETRY = re.compile(rf"(\d+)x(\d+)x(\d+)({OCP_SUFFIX})?")


def geometry_target(mlen: int, blen: int, hlen: int, numerics: Numerics = "plena") -> Target:
    """The simulator's transactional machine with this geometry.

    MLEN = VLEN, BLEN, HLEN and BROADCAST = MLEN / HLEN replace the published values; H_PREFETCH_M moves one tile and the vector
    transfers move BLEN rows.

    Raises:
        TargetError: the geometry breaks one of the machine's rules.
    """
    return Target(
        name=f"{mlen}x{blen}x{hlen}{OCP_SUFFIX if numerics == 'ocp' else ''}",
        mlen=mlen,
        vlen=mlen,
        blen=blen,
        hlen=hlen,
        broadcast=mlen // max(hlen, 1),
        hbm_size=16 << 30,
        matrix_sram_rows=4096,
        vector_sram_rows=4 << 20,
        prefetch_m_rows=mlen,
        prefetch_v_rows=blen,
        writeback_v_rows=blen,
        max_loop_instructions=100_000,
        numerics=numerics,
    )


def load_target(name_or_path: str | Path) -> Target:
    """The target called `MLENxBLENxHLEN` or `MLENxBLENxHLEN-ocp`, or read from a `plena_settings.toml`.

    Raises:
        TargetError: neither a legal geometry nor a readable settings file.
    """
    if not isinstance(name_or_path, str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TargetError(f"{name_or_path!r} is no target", hint="a target has a name such as 64x16x64, or is a settings file")
    match = _GEOMETRY.fullmatch(str(name_or_path))
    if match is not None:
        mlen, blen, hlen = (int(match[number]) for number in (1, 2, 3))
        return geometry_target(mlen, blen, hlen, "ocp" if match[4] else "plena")
    path = Path(name_or_path)
    if path.suffix == ".toml" or path.is_file():
        return read_settings(path)
    raise TargetError(
        f"unknown target {str(name_or_path)!r}",
        hint=f"use MLENxBLENxHLEN, such as {', '.join(PRESETS[:3])}, one of them and {OCP_SUFFIX}, or the path of a settings file",
    )
