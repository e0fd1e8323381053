"""Whole models, from configuration to the machine, against every level above.

Each pair of (configuration, target, sequence length, ends of the program) meets in some case, not each combination.
"""

from __future__ import annotations

from typing import Any

import pytest

from plena_mlir import compile_hf_model
from plena_mlir.verify.bounds import COMPARISONS, broken_bounds
from tests.end_to_end.models import CONFIGS

CASES = [
    # model, target, sequence length, scope, logits
    ("gqa", "8x4x4", 1, "model", "all"),
    ("gqa", "8x8x8", 17, "model", "last"),
    ("gqa", "16x4x4", 7, "decoder", "all"),
    ("gqa", "16x4x16", 33, "model", "all"),
    ("tied", "8x4x4", 33, "model", "last"),
    ("tied", "8x8x8", 7, "model", "all"),
    ("tied", "16x4x4", 1, "model", "all"),
    ("tied", "16x4x16", 17, "decoder", "all"),
    ("biased", "8x4x4", 17, "model", "all"),
    ("biased", "8x8x8", 1, "decoder", "all"),
    ("biased", "16x4x4", 33, "model", "all"),
    ("biased", "16x4x16", 7, "model", "last"),
    ("qwen2", "8x4x4", 7, "decoder", "all"),
    ("qwen2", "8x8x8", 33, "model", "all"),
    ("qwen2", "16x4x4", 17, "model", "last"),
    ("qwen2", "16x4x16", 1, "model", "all"),
    # Lanes that are no power of two.
    ("gqa", "24x4x8", 33, "model", "all"),
]


@pytest.mark.parametrize(("model", "target", "seq", "scope", "logits"), CASES, ids=["-".join(map(str, case)) for case in CASES])
def test_every_level_agrees(model: str, target: str, seq: int, scope: Any, logits: Any) -> None:
    config = CONFIGS[model]()
    program = compile_hf_model(config, target=target, seq_len=seq, scope=scope, logits=logits, random_weights=0)
    outcome = program.run(compare=("hf", "golden", "tile"))
    comparisons = outcome.report.comparisons
    assert set(comparisons) == set(COMPARISONS) - {"isa_vs_emulator"}
    assert comparisons["tile_vs_emulator"].bit_exact
    assert broken_bounds(comparisons, layers=2) == ()
    rows = seq if logits == "all" else 1
    features = config.vocab_size if scope == "model" else config.hidden_size
    assert outcome.output.shape == (rows, features)
    assert {comparison.elements for comparison in comparisons.values()} == {rows * features}
    assert any("identical from zeroed and from NaN-filled memories" in note for note in outcome.report.notes)
    # What the formats cost: a machine that computes in float32 is not the one we compile for.
    assert 0.02 <= comparisons["golden_vs_hf"].rel_rms <= 0.25


def test_a_strategy_may_be_forced() -> None:
    program = compile_hf_model(CONFIGS["gqa"](), target="16x4x4", seq_len=17, random_weights=0, strategy="micro")
    assert broken_bounds(program.run(compare=("hf", "golden", "tile")).report.comparisons, layers=2) == ()


def test_the_validators_find_nothing() -> None:
    compile_hf_model(CONFIGS["gqa"](), target="8x4x4", seq_len=17, random_weights=0, verify=True)


def test_one_layer_and_a_module_with_weights() -> None:
    """Not rolled, and imported from live weights instead of a seed."""
    import torch
    from transformers import LlamaForCausalLM

    torch.manual_seed(0)
    module = LlamaForCausalLM(CONFIGS["gqa"]()).eval()
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.uniform_(0.75, 1.25) if "norm" in name else parameter.normal_(0.0, 0.15)
    program = compile_hf_model(module, target="8x8x8", seq_len=9, num_layers=1)
    comparisons = program.run(compare=("hf", "golden", "tile")).report.comparisons
    assert comparisons["tile_vs_emulator"].bit_exact
    assert broken_bounds(comparisons, layers=1) == ()
