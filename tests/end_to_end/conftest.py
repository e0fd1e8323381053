"""One tiny compiled model that the tests of bundles and of the oracle share: they do not change it."""

from __future__ import annotations

import pytest

from plena_mlir import CompiledProgram, compile_hf_model
from tests.end_to_end.models import gqa


@pytest.fixture(scope="session")
def program() -> CompiledProgram:
    """Two layers, 9 tokens (a full and a ragged block), all logits."""
    return compile_hf_model(gqa(), target="8x4x4", seq_len=9, random_weights=0)
