"""Greedy text of the trained tiny Llama: emulator, golden and Hugging Face continue a sentence alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from plena_mlir.cli.plena import main
from plena_mlir.compiler import compile_hf_model
from plena_mlir.errors import ModelImportError
from plena_mlir.generation import generate, greedy

FOLDER = Path(__file__).parent / "data" / "tiny-llama"
VOCABULARY = 5


def test_each_token_is_the_likeliest_after_those_before_it() -> None:
    """Logits that favour the number after the token at each position."""
    seen: list[list[int]] = []

    def logits(ids):
        seen.append(ids.tolist())
        return np.eye(VOCABULARY, dtype=np.float32)[(ids + 1) % VOCABULARY]

    assert greedy(logits, 6, [1, 2], 3) == [3, 4, 0]
    assert seen == [[1, 2, 0, 0, 0, 0], [1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 0, 0]]


@pytest.mark.parametrize(("prompt", "count"), [([], 1), ([1], 0), ([1, 2, 3], 4)])
def test_what_does_not_fit_is_refused(prompt, count) -> None:
    with pytest.raises(ModelImportError, match="a program of 6"):
        greedy(lambda ids: np.zeros((6, VOCABULARY)), 6, prompt, count)


def test_only_causal_logits_of_all_positions_make_text() -> None:
    program = compile_hf_model(str(FOLDER), target="16x4x16", seq_len=8, num_layers=1, logits="last", compile_to="tile")
    with pytest.raises(ModelImportError, match="logits of all positions"):
        generate(program, [1, 2], 3)


def test_the_emulator_continues_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["generate", str(FOLDER), "--prompt", "the big owl lives in", "--tokens", "7", "--target", "16x4x16"]
    assert main([*argv, "--compare", "golden,hf", "--json"]) == 0
    texts = json.loads(capsys.readouterr().out)["texts"]
    assert set(texts.values()) == {"the big owl lives in a tree"}


def test_a_tokenizer_that_does_not_load_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(folder: Path) -> str:
        assert main(["generate", str(folder), "--prompt", "the big owl"]) == 1
        return capsys.readouterr().err

    assert refused(tmp_path / "nowhere").startswith(f"plena: error: {tmp_path / 'nowhere'}: no such folder")
    assert "no tokenizer that loads (text needs" in refused(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    error = refused(tmp_path)
    assert "no tokenizer that loads: " in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ("the big owl", "the big owl lives in a tree, says hoo and eats mice.\n"),
        ("the dog", "the dog says woof, eats meat and lives in a house.\n"),
        ("three four", "three four five six.\n"),
    ],
)
def test_the_emulator_continues_a_sentence(prompt: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """By the golden's logits the same text; that Hugging Face writes it too says that the number formats cost no token here."""
    argv = ["generate", str(FOLDER), "--prompt", prompt, "--tokens", str(len(text) - len(prompt)), "--target", "64x16x64"]
    assert main([*argv, "--compare", "golden,hf", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens"]["emulator"] == found["tokens"]["golden"]
    assert found["texts"] == {"emulator": text, "golden": text, "hf": text}
