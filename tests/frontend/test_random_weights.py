"""Random weights: the same bits for one seed and name, whatever else is drawn and by how many threads."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from plena_mlir.frontend import random_weights
from plena_mlir.frontend.random_weights import BIAS, CHUNK, EMBEDDING, GAIN, linear_law, random_tensor


def test_bits_of_a_seed_never_change() -> None:
    values = random_tensor(0, "model.layers.0.self_attn.q_proj.weight", (16, 24), linear_law("x.weight", 24))
    assert hashlib.sha256(values.tobytes()).hexdigest().startswith("de1efbabcb809dff")


def test_seed_and_name_both_select_the_stream() -> None:
    first = random_tensor(0, "a", (64,), EMBEDDING)
    assert np.array_equal(first, random_tensor(0, "a", (64,), EMBEDDING))
    assert not np.array_equal(first, random_tensor(1, "a", (64,), EMBEDDING))
    assert not np.array_equal(first, random_tensor(0, "b", (64,), EMBEDDING))


def test_number_of_threads_does_not_change_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random_weights, "CHUNK", 100)
    several = random_tensor(3, "w", (7, 50), EMBEDDING)
    monkeypatch.setattr(random_weights, "THREADS", 1)
    assert np.array_equal(several, random_tensor(3, "w", (7, 50), EMBEDDING))
    assert len(np.unique(several)) > 340


def test_chunks_do_not_repeat_each_other() -> None:
    values = random_tensor(0, "w", (CHUNK + 64,), EMBEDDING)
    assert not np.array_equal(values[:64], values[CHUNK:])


def test_laws_have_the_moments_of_the_recipe() -> None:
    linear = random_tensor(0, "o_proj", (256, 400), linear_law("m.o_proj.weight", 400))
    assert linear.std() == pytest.approx(1 / math.sqrt(400), rel=0.02)
    query = random_tensor(0, "q_proj", (256, 400), linear_law("m.q_proj.weight", 400))
    assert query.std() == pytest.approx(2 / math.sqrt(400), rel=0.02)
    gain = random_tensor(0, "norm", (4096,), GAIN)
    assert 0.75 <= gain.min() < 0.76
    assert 1.24 < gain.max() < 1.25
    bias = random_tensor(0, "bias", (4096,), BIAS)
    assert bias.var() == pytest.approx(0.5, rel=0.05)
