"""Real model shapes on real machines, from configuration to compared logits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plena_mlir.cli.plena import main

pytestmark = pytest.mark.slow

TARGETS = ("64x4x16", "64x16x64", "256x64x64")


def report_of(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    """What `plena argv --json` prints; it succeeds only if every bound of the chain of comparisons holds."""
    status = main([*argv, "--json"])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return json.loads(captured.out)


def in_own_process(folder: Path, argv: str) -> tuple[dict[str, Any], int]:
    """What `plena argv --json` prints, and the peak of its memory in bytes, which is that of this run alone."""
    with (folder / "report.json").open("w+") as out:
        process = subprocess.Popen([sys.executable, "-m", "plena_mlir.cli.plena", *argv.split(), "--json"], stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        out.seek(0)
        assert os.waitstatus_to_exitcode(status) == 0
        return json.load(out), usage.ru_maxrss << 10


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seq", [64, 100])
def test_two_layers_from_embedding_to_logits(target, seq, capsys):
    argv = f"run smollm2-135m --layers 2 --random-weights 0 --target {target} --seq {seq} --compare hf,golden,tile"
    report = report_of(capsys, *argv.split())
    compare = report["compare"]
    assert all(comparison["elements"] == seq * 49152 for comparison in compare.values())
    assert compare["tile_vs_emulator"]["bit_exact"]
    assert compare["hf_vs_tensor_fp32"]["max_rel"] <= 1e-4
    assert compare["golden_vs_emulator"]["rel_rms"] <= 0.05
    assert compare["golden_vs_emulator"]["rel_rms"] <= 0.4 * compare["golden_vs_hf"]["rel_rms"]
    assert any("NaN-filled" in note for note in report["notes"])


@pytest.mark.parametrize(("model", "layers"), [("smollm2-135m", 30), ("clm-60m", 8)])
def test_full_depth(model, layers, tmp_path: Path):
    argv = f"run {model} --random-weights 0 --target 64x16x64 --seq 64 --compare hf,golden,tile"
    report, memory = in_own_process(tmp_path, argv)
    assert report["model"]["layers"] == layers
    assert report["compare"]["tile_vs_emulator"]["bit_exact"]
    assert memory <= 4 << 30


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("model", ["smollm2-135m", "clm-60m"])
def test_program_size(model, target, capsys, tmp_path: Path):
    sizes = []
    for layers in (1, 2, 3):
        argv = f"compile {model} --layers {layers} --scope decoder --target {target} --seq 64 -o {tmp_path / 'out'}"
        report = report_of(capsys, *argv.split())
        sizes.append(report["instructions"]["static"])
    assert sizes[0] <= 3000
    if target == "64x4x16":
        assert any("unrolled" in note for note in report["notes"])
    else:
        assert sizes[2] - sizes[1] <= 100
        assert sizes[1] - sizes[0] <= 100


@pytest.mark.parametrize("seq", [1, 7, 64, 100, 130, 256])
def test_every_sequence_length(seq, capsys):
    argv = f"run clm-60m --layers 1 --random-weights 1 --scope decoder --target 64x16x64 --seq {seq}"
    report = report_of(capsys, *argv.split(), "--compare", "hf,golden,tile")
    assert report["compare"]["tile_vs_emulator"]["bit_exact"]


GIANTS = {
    "llama-3.1-8b": 8.03e9 - 128256 * 4096,
    "llama-3.1-70b": 70.55e9 - 128256 * 8192,
    "qwen3-32b": 32.76e9 - 151936 * 5120,
    "llada-8b": 8.016e9 - 126464 * 4096,
    # Two experts for each of 64 tokens, of 32 layers; and what all tokens share.
    "mixtral-8x7b": 2 * 64 * 32 * (3 * 4096 * 14336) + 32 * (2 * 4096**2 + 2 * 4096 * 1024) + 32000 * 4096,
}
"""Parameters that a pass over 64 tokens reads: all but the embedding table, of which it reads a few rows."""


@pytest.mark.parametrize("model", GIANTS)
def test_giants_compile_from_their_shapes(model, tmp_path: Path):
    argv = f"compile {model} --target 64x16x64 --seq 64 --hbm-size 128G -o {tmp_path / 'bundle'}"
    report, memory = in_own_process(tmp_path, argv)
    assert memory <= 6 << 30
    text = (tmp_path / "bundle" / "program.asm").read_text()
    assert text.count("\n") == report["instructions"]["static"]
    # A parameter takes a byte, and an eighth of one for its scale; keys and values go out and come back.
    payload = report["hbm_bytes"]["payload_read"]
    assert payload == pytest.approx(9 / 8 * GIANTS[model], rel=0.01)
    # One product of 64 x 64 x 64 for each tile of parameters.
    cycles = report["cycles"]["transactional"]
    assert cycles["compute"] > 64 * GIANTS[model] / 64**2
    assert cycles["total"] == cycles["compute"] + cycles["dma"]
