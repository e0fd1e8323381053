"""Programs whose tensors lie beyond the first 4 GiB of HBM, where an address needs both halves of an address register."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64

from plena_mlir.compiler import compile_hf_model
from plena_mlir.dialects.plena_tile import GlobalOp
from plena_mlir.errors import LoweringError
from plena_mlir.passes.tile import plan_memory
from plena_mlir.target import load_target
from tests.end_to_end.models import gqa

DISTANCE = (9 << 30) + 64
"""Bytes in front of the first tensor; no power of two, so that neither half of an address is zero."""


def test_tensors_beyond_4_gib(monkeypatch: pytest.MonkeyPatch) -> None:
    place = plan_memory.place_globals

    def place_far(module: ModuleOp, target: plan_memory.Target) -> int:
        end = place(module, target)
        for op in module.body.block.ops:
            if isinstance(op, GlobalOp):
                assert op.address is not None
                op.properties["address"] = IntegerAttr(op.address.value.data + DISTANCE, i64)
        return end + DISTANCE

    near = compile_hf_model(gqa(), target="16x4x16", seq_len=7, random_weights=0)
    monkeypatch.setattr(plan_memory, "place_globals", place_far)
    far = compile_hf_model(gqa(), target="16x4x16", seq_len=7, random_weights=0, verify=True)
    assert min(tensor.address for tensor in far.tensors) == DISTANCE
    assert far.isa != near.isa
    outcome = far.run(compare=("tile",), timing="none")
    assert outcome.report.comparisons["tile_vs_emulator"].bit_exact
    np.testing.assert_array_equal(outcome.output, near.run(timing="none").output)


def test_too_little_hbm_names_what_is_needed() -> None:
    with pytest.raises(LoweringError, match=r"HBM is too small: the tensors take [0-9,]+ bytes") as error:
        compile_hf_model(gqa(), target=replace(load_target("16x4x16"), hbm_size=1 << 16), seq_len=7)
    assert "--hbm-size 1G" in str(error.value)
