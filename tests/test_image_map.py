"""The map of an HBM image, and the command that prints it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plena_mlir.bundle import SCHEMA, load_bundle
from plena_mlir.cli.plena import main
from plena_mlir.errors import PlenaError
from plena_mlir.image_map import Region, map_image, read_tensors
from plena_mlir.interface import HbmTensor, Output, ProgramInterface
from plena_mlir.target import load_target, write_settings

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
    interface = ProgramInterface(output, {}, (WEIGHT, CACHE), 8, 1)
    target = load_target("8x4x4")
    write_settings(target, tmp_path / "plena_settings.toml")
    manifest = {"schema": SCHEMA, "target": target.name, "target_hash": target.hash, "source": {}, "summary": None, "ir": {}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"interface": interface.to_json()}))
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


def changed(value: Any, path: list[int], new: Any) -> Any:
    """JSON with one part replaced, which `path` picks at each level."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else range(len(value))
    chosen = keys[path[0] % len(keys)]
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    parts = {key: changed(part, path[1:], new) if key == chosen else part for key, part in pairs}
    return parts if isinstance(value, dict) else list(parts.values())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)


@given(path=st.lists(st.integers(0, 8), min_size=1, max_size=5), new=JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_a_damaged_manifest_is_read_or_refused(path: list[int], new: Any, bundle: Path):
    original = (bundle / "manifest.json").read_text()
    try:
        (bundle / "manifest.json").write_text(json.dumps(changed(json.loads(original), path, new)))
        map_image(read_tensors(bundle))
        load_bundle(bundle)
    except PlenaError:
        pass
    finally:
        (bundle / "manifest.json").write_text(original)


@given(cut=st.integers(0, 600), insert=st.binary(max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_a_truncated_manifest_is_read_or_refused(cut: int, insert: bytes, bundle: Path):
    original = (bundle / "manifest.json").read_bytes()
    try:
        (bundle / "manifest.json").write_bytes(original[:cut] + insert)
        read_tensors(bundle)
    except PlenaError:
        pass
    finally:
        (bundle / "manifest.json").write_bytes(original)
