"""The JSON object of a report."""

from __future__ import annotations

import json

import pytest

from plena_mlir.report import CycleCounts, HbmBytes, ModelSummary, Report
from plena_mlir.verify.compare import compare


def test_a_full_report_has_every_section():
    report = Report(
        target="8x4x4",
        model=ModelSummary(name="clm-60m", layers=2, seq=7, scope="model", logits="all"),
        static_instructions=10,
        dynamic_instructions=100,
        cycles={"transactional": CycleCounts(total=30, compute=20, dma=10), "analytic": CycleCounts(total=25)},
        hbm=HbmBytes(read=128, written=64, payload_read=72, payload_written=9),
        vram_rows_peak=12,
        mram_tiles_peak=2,
        seconds={"import": 1.23456, "lower": 0.5},
        comparisons={"tile_vs_emulator": compare([1.0, 2.0], [1.0, 2.0])},
        golden_precision="weights,kv",
        notes=("one layer exceeds the loop limit, so layers are unrolled",),
    )
    assert json.loads(json.dumps(report.to_json(), allow_nan=False)) == {
        "schema": "plena.report/1",
        "target": "8x4x4",
        "model": {"name": "clm-60m", "layers": 2, "seq": 7, "scope": "model", "logits": "all", "batch": 1},
        "instructions": {"static": 10, "dynamic": 100},
        "cycles": {"transactional": {"total": 30, "compute": 20, "dma": 10}, "analytic": {"total": 25}},
        "hbm_bytes": {"read": 128, "written": 64, "payload_read": 72, "payload_written": 9},
        "vram_rows_peak": 12,
        "mram_tiles_peak": 2,
        "seconds": {"import": 1.235, "lower": 0.5},
        "compare": {
            "tile_vs_emulator": {
                "max_abs": 0.0,
                "max_rel": 0.0,
                "ref_rms": 2.5**0.5,
                "rel_rms": 0.0,
                "cosine": pytest.approx(1.0),
                "allclose_0_2": 1.0,
                "elements": 2,
                "bit_exact": True,
                "sqnr_db": None,
                "allclose": [{"atol": 1e-5, "rtol": rtol, "share": 1.0} for rtol in (1.3e-6, 1.6e-2)],
                "worst": [],
            }
        },
        "golden_precision": "weights,kv",
        "notes": ["one layer exceeds the loop limit, so layers are unrolled"],
    }


def test_sections_not_asked_for_are_absent():
    assert Report(target="8x4x4").to_json() == {"schema": "plena.report/1", "target": "8x4x4"}


def test_a_count_of_zero_is_kept():
    report = Report(target="8x4x4", static_instructions=0, mram_tiles_peak=0)
    assert report.to_json() == {
        "schema": "plena.report/1",
        "target": "8x4x4",
        "instructions": {"static": 0},
        "mram_tiles_peak": 0,
    }
