"""The architecture page lists the passes that there are, in the order they run."""

from __future__ import annotations

import re
from pathlib import Path

from plena_mlir.passes import get_all_passes
from plena_mlir.passes.pipelines import isa_passes, tensor_pipeline, tile_pipeline

PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"


def test_the_page_lists_every_pass_in_the_order_of_the_pipelines():
    section = PAGE.read_text(encoding="utf-8").split("## The passes")[1].split("## ")[0]
    listed = re.findall(r"^\| ([a-z0-9-]+) \|", section, re.MULTILINE)
    listed.remove("pass")
    pipeline = (*tensor_pipeline(logits="last"), *tile_pipeline(), *isa_passes())
    assert listed == [step.name for step in pipeline]
    assert set(get_all_passes()) <= set(listed)
