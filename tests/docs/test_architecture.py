"""The architecture page lists the passes that there are, in the order they run, and what each folder imports."""

from __future__ import annotations

import re
from pathlib import Path

from plena_mlir.passes import get_all_passes
from plena_mlir.passes.pipelines import isa_passes, tensor_pipeline, tile_pipeline

PACKAGE = Path(__file__).parents[2] / "plena_mlir"
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_the_page_lists_every_pass_in_the_order_of_the_pipelines():
    section = PAGE.read_text(encoding="utf-8").split("## The passes")[1].split("## ")[0]
    listed = re.findall(r"^\| ([a-z0-9-]+) \|", section, re.MULTILINE)
    listed.remove("pass")
    pipeline = (*tensor_pipeline(logits="last"), *tile_pipeline(), *isa_passes())
    assert listed == [step.name for step in pipeline]
    assert set(get_all_passes()) <= set(listed)


def imported_folders(folder: Path, among: set[str]) -> set[str]:
    """The folders that the modules of one import when they are loaded."""
    sources = [path.read_text(encoding="utf-8") for path in folder.rglob("*.py")]
    names = {name for source in sources for name in re.findall(r"^from plena_mlir\.(\w+)", source, re.MULTILINE)}
    return names & among - {folder.name}


def test_the_page_says_what_each_folder_imports():
    section = PAGE.read_text(encoding="utf-8").split("## Folders")[1].split("## ")[0]
    rows = re.findall(r"^\| `(\w+)/` \|.*\| ([\w, ]+) \|$", section, re.MULTILINE)
    listed = {folder: set() if names == "none" else set(names.split(", ")) for folder, names in rows}
    assert set(listed) == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert {folder: imported_folders(PACKAGE / folder, set(listed)) for folder in listed} == listed


def test_the_validators_that_passes_call_import_no_pass():
    sources = [path.read_text(encoding="utf-8") for path in (PACKAGE / "passes").rglob("*.py")]
    validators = {name for source in sources for name in re.findall(r"^from plena_mlir\.verify\.(\w+)", source, re.MULTILINE)}
    assert validators
    for name in validators:
        source = (PACKAGE / "verify" / f"{name}.py").read_text(encoding="utf-8")
        assert not re.findall(r"from plena_mlir\.(?:passes|verify|program)", source), name
