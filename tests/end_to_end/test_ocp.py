"""A whole model on a machine with the OCP rules of the MX formats, through both forms of products and back from a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import ml_dtypes
import numpy as np
import pytest
from transformers import LlamaConfig

from plena_mlir import compile_hf_model, load_bundle, load_target
from plena_mlir.interpreters.tile_memory import globals_of, layout_of
from plena_mlir.target import Precisions
from plena_mlir.verify.bounds import broken_bounds
from tests.end_to_end.models import SMALL

CONFIG = LlamaConfig(
    **{**SMALL, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24},
    hidden_size=32,
    num_key_value_heads=1,
    attention_bias=True,
)
FORMATS = {
    "micro": (Precisions(), ml_dtypes.float8_e4m3fn),
    "broadcast": (Precisions(*["bf16"] * 2, *["mxfp8_e5m2"] * 4), ml_dtypes.float8_e5m2),
}


@pytest.mark.parametrize(("strategy", "shifts"), [("micro", {0}), ("broadcast", {0, 2})])
def test_every_level_agrees_under_ocp(strategy: Literal["micro", "broadcast"], shifts: set[int], tmp_path: Path) -> None:
    precisions, element_type = FORMATS[strategy]
    target = replace(load_target("8x4x4-ocp"), precisions=precisions)
    program = compile_hf_model(CONFIG, target=target, seq_len=5, random_weights=0, strategy=strategy)
    layouts = {op.sym_name.data: layout_of(op) for op in globals_of(program.stage("tile"))}
    assert {layout.scale_shift for layout in layouts.values() if layout is not None} == shifts

    outcome = program.run(compare=("hf", "golden", "tile"))
    assert broken_bounds(outcome.report.comparisons, layers=1) == ()
    assert outcome.report.comparisons["tile_vs_emulator"].bit_exact
    assert any("identical from zeroed and from NaN-filled memories" in note for note in outcome.report.notes)
    np.testing.assert_array_equal(program.run(engine="interpreter").output, outcome.output)

    # The largest element of each block has the largest exponent, to which the machine's own rule never scales.
    smallest = 2.0 ** np.floor(np.log2(float(ml_dtypes.finfo(element_type).max)))
    for data in program.weights.values():
        values = np.abs(data.elements.view(element_type).astype(np.float32)).reshape(-1, 8).max(axis=1)
        assert (values[values > 0] >= smallest).all()

    program.save(tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert loaded.target == target
    np.testing.assert_array_equal(loaded.run(timing="none").output, outcome.output)
