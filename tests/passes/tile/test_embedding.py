"""Embedding rows by token id: prefetches overrun a row, ids may be any of the table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from plena_mlir.target import Precisions, load_target
from tests.tensor_programs import TensorProgram, assert_exact, exact, lower

WORDS = 11


def embedding(program: TensorProgram, features: int, tokens: int):
    table = program.add(pt.QuantizeOp(program.parameter("table", exact(WORDS, features)), pt.QuantizeFormat.ACT)).result
    return program.add(pt.EmbeddingOp(table, program.ids(tokens))).result


@pytest.mark.parametrize("target", ["8x4x4", "8x8x8", "16x4x4", "16x4x16"])
@pytest.mark.parametrize("features", [6, 8, 24, 40])
def test_rows_are_those_of_the_ids(target, features) -> None:
    """The last row of the table too, whose fetch runs past it, and one row twice."""
    ids = np.array([WORDS - 1, 0, 3, 3, WORDS - 1, 7, 10, 1, 5])
    found = assert_exact(lambda program: embedding(program, features, ids.size), target, ids)
    np.testing.assert_array_equal(found, exact(WORDS, features)[ids])


@pytest.mark.parametrize("tokens", [1, 8, 17])
def test_any_number_of_tokens(tokens) -> None:
    ids = np.arange(tokens) % WORDS
    assert_exact(lambda program: embedding(program, 20, tokens), "8x4x4", ids)


def test_the_table_is_stored_as_the_vector_unit_reads_it() -> None:
    """A machine may keep matrix weights in another format than activations; rows of the table are activations."""
    target = replace(load_target("8x4x4"), precisions=Precisions(m_weight="mxfp8_e5m2"))
    ids = np.arange(WORDS)
    assert_exact(lambda program: embedding(program, 12, WORDS), target, ids)


def test_more_tokens_than_int_sram_words_are_refused() -> None:
    program = TensorProgram("8x4x4")
    with pytest.raises(LoweringError, match="1025 token ids exceed the 1024 words of INT SRAM"):
        lower(program, embedding(program, 8, 1025))
