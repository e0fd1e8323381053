"""The map of an HBM image, and the command that prints it."""

import json
from pathlib import Path

import pytest

from plena_mlir.bundle import SCHEMA
from plena_mlir.cli.plena import main
from plena_mlir.image_map import Region, map_image
from plena_mlir.interface import HbmTensor, Output, ProgramInterface

WEIGHT = HbmTensor("up.weight", 0x100, (8, 16), "weight", "m_weight", "tiles")
CACHE = HbmTensor("keys", 0x200, (2, 8), "cache", "m_kv", "")


def test_elements_are_followed_by_scales_and_gaps_are_shown():
    assert map_image([CACHE, WEIGHT]) == [
        Region(0, 0x100, "gap"),
        Region(0x100, 0x180, "elements", WEIGHT),
        Region(0x180, 0x190, "scales", WEIGHT),
        Region(0x190, 0x200, "gap"),
        Region(0x200, 0x210, "elements", CACHE),
        Region(0x210, 0x212, "scales", CACHE),
    ]


def test_tensors_side_by_side_have_no_gap():
    first = HbmTensor("a", 0, (8, 8), "weight", "m_weight", "")
    second = HbmTensor("b", 72, (8, 8), "weight", "m_weight", "")
    assert [region.part for region in map_image([first, second])] == ["elements", "scales"] * 2


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    output = Output(address=0, blocks=1, physical_rows=8, rows=8, groups=1, size=8, padded=8)
    interface = ProgramInterface(output, None, (WEIGHT, CACHE), 8, 1)
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": SCHEMA, "interface": interface.to_json()}))
    return tmp_path


def test_the_command_prints_a_line_per_region(bundle: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["image", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 7
    assert lines[2].split() == ["0x100", "0x180", "128", "elements", "weight", "m_weight", "8x16", "up.weight"]


def test_the_command_prints_json(bundle: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["image", str(bundle), "--json"]) == 0
    regions = json.loads(capsys.readouterr().out)["regions"]
    assert regions[0] == {"start": 0, "stop": 256, "part": "gap"}
    assert regions[5] == {
        "start": 528,
        "stop": 530,
        "part": "scales",
        "tensor": "keys",
        "shape": [2, 8],
        "role": "cache",
        "precision": "m_kv",
    }


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "there is no readable manifest.json"),
        ("{", "manifest.json is not JSON"),
        ("[]", "manifest.json is not of schema"),
        (json.dumps({"schema": SCHEMA}), "no memory plan"),
        (json.dumps({"schema": SCHEMA, "interface": {"output": {}}}), "incomplete or malformed"),
    ],
)
def test_a_bad_manifest_is_one_line(manifest: str | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    assert main(["image", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert "internal error" not in error
    assert error.count("\n") == 1
