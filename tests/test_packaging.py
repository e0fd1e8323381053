"""What the installed distribution offers to the outside."""

from __future__ import annotations

from importlib.metadata import distribution, entry_points
from pathlib import Path

import plena_mlir


def test_commands_are_installed():
    scripts = {script.name: script.load() for script in distribution("plena-mlir").entry_points.select(group="console_scripts")}
    assert set(scripts) == {"plena", "plena-opt"}
    assert all(callable(script) for script in scripts.values())


def test_xdsl_finds_the_universe():
    (universe,) = entry_points(group="xdsl.universe", name="plena_mlir")
    assert {"plena", "plena_isa", "plena_tensor", "plena_tile"} <= set(universe.load().all_dialects)


def test_the_package_is_typed():
    assert (Path(plena_mlir.__file__).parent / "py.typed").is_file()


def test_links_at_the_top_lead_into_the_package():
    package = Path(plena_mlir.__file__).parent
    for name in ("dialects", "passes"):
        link = package.parent / name
        assert link.is_symlink()
        assert not link.readlink().is_absolute()
        assert link.resolve() == package / name


def test_every_public_name_has_a_home():
    assert set(plena_mlir.__all__) == {*plena_mlir._HOMES, "__version__"}
    for name in ("Target", "load_target", "PlenaError", "compare", "run_program"):
        assert getattr(plena_mlir, name).__module__.startswith("plena_mlir.")
