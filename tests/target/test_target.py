"""Targets: names, the legality rules, the settings form."""

import dataclasses
import warnings
from pathlib import Path
from typing import get_args

import pytest

import plena_mlir.target
from plena_mlir.errors import TargetError
from plena_mlir.numerics.mx_format import RULES
from plena_mlir.target import PRESETS, Latencies, Target, load_target, read_settings, write_settings
from plena_mlir.target.settings import SettingsWarning
from plena_mlir.target.target import Numerics

REFERENCE = Path(plena_mlir.target.__file__).parent / "plena_settings.toml"


def test_name_replaces_geometry_of_the_published_machine():
    target = load_target("256x64x128")
    assert (target.mlen, target.vlen, target.blen, target.hlen, target.broadcast) == (256, 256, 64, 128, 2)
    assert (target.prefetch_m_rows, target.prefetch_v_rows, target.writeback_v_rows) == (256, 64, 64)
    assert (target.hbm_size, target.matrix_sram_tiles, target.tile_elements) == (16 << 30, 16, 65536)


def test_published_settings_are_the_64x4x16_machine():
    settings = read_settings(REFERENCE)
    assert dataclasses.replace(settings, name="64x4x16") == load_target("64x4x16")
    assert settings.hash == load_target("64x4x16").hash


@pytest.mark.parametrize("name", PRESETS)
def test_preset_survives_json_and_settings(name: str, tmp_path: Path):
    target = load_target(name)
    assert Target.from_dict(target.to_dict()) == target
    write_settings(target, tmp_path / "settings.toml")
    assert dataclasses.replace(load_target(tmp_path / "settings.toml"), name=name) == target


def test_a_name_and_a_settings_file_choose_the_numerics(tmp_path: Path):
    plain, ocp = load_target("8x4x4"), load_target("8x4x4-ocp")
    assert (plain.numerics, ocp.numerics) == get_args(Numerics) == RULES
    assert ocp == dataclasses.replace(plain, name="8x4x4-ocp", numerics="ocp")
    assert ocp.hash != plain.hash
    for target, mentions in ((plain, 0), (ocp, 2)):
        path = tmp_path / f"{target.name}.toml"
        write_settings(target, path)
        assert path.read_text().count("NUMERICS") == mentions
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert read_settings(path) == target


def test_unknown_numerics_in_a_settings_file_are_an_error(tmp_path: Path):
    table = '[TRANSACTIONAL.CONFIG.NUMERICS]\nvalue = "ieee"\n[TRANSACTIONAL.CONFIG.MLEN]'
    with pytest.raises(TargetError, match=r"CONFIG\.NUMERICS\.value is not one of plena, ocp"):
        read_settings(edited(tmp_path, "[TRANSACTIONAL.CONFIG.MLEN]", table))


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("60x4x4", "multiple of 8"),
        ("520x8x8", "8 to 512"),
        ("64x24x32", "MLEN % BLEN"),
        ("64x4x24", "MLEN % HLEN"),
        ("64x32x16", "MLEN >= HLEN >= BLEN"),
        ("64x0x16", "BLEN must be positive, not 0"),
        ("64x4", "unknown target"),
        ("64x4x16-ieee", "unknown target"),
        ("nothere.toml", "cannot read"),
    ],
)
def test_illegal_name_is_refused_with_its_rule(name: str, rule: str):
    with pytest.raises(TargetError, match=rule):
        load_target(name)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"vlen": 32}, "VLEN must equal MLEN"),
        ({"broadcast": 2}, "BROADCAST_AMOUNT"),
        ({"hbm_size": 1000}, "multiple of 64"),
        ({"matrix_sram_rows": 63}, "one tile"),
        ({"matrix_sram_rows": (1 << 26) + 1}, "MATRIX_SRAM_SIZE must be at most"),
        ({"vector_sram_rows": (1 << 26) + 1}, "VECTOR_SRAM_SIZE must be at most"),
        ({"numerics": "ieee"}, "unknown numerics"),
    ],
)
def test_impossible_machine_is_refused_with_its_rule(change: dict[str, int], rule: str):
    with pytest.raises(TargetError, match=rule):
        dataclasses.replace(load_target("64x4x16"), **change)


def test_memories_may_take_all_addresses():
    target = dataclasses.replace(load_target("64x4x16"), matrix_sram_rows=1 << 26, vector_sram_rows=1 << 26)
    assert target.matrix_sram_tiles == 1 << 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mlen": 8.0}, "mlen must be of type int, not 8.0"),
        ({"blen": True}, "blen must be of type int, not True"),
        ({"dc_enabled": "no"}, "dc_enabled must be of type bool, not 'no'"),
        ({"name": 8}, "name must be of type str, not 8"),
        ({"numerics": 8}, "unknown numerics 8"),
        ({"precisions": "bf16"}, "'bf16' is no table"),
        ({"latencies_dc": {"vector_add": 1}}, "it lacks scalar_fp_basic"),
        ({"latencies_dc": {**dataclasses.asdict(Latencies()), "vector_add": 1.0}}, "vector_add must be of type int, not 1.0"),
        ({"speed": 1}, "it does not know speed"),
    ],
)
def test_a_description_with_fields_of_other_types_is_refused(change: dict[str, object], message: str):
    with pytest.raises(TargetError, match=message):
        Target.from_dict({**load_target("8x4x8").to_dict(), **change})


def test_a_description_must_be_complete():
    fields = load_target("8x4x8").to_dict()
    for name in fields:
        with pytest.raises(TargetError, match=f"it lacks {name}"):
            Target.from_dict({key: value for key, value in fields.items() if key != name})


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """The reference file with `old` replaced in its TRANSACTIONAL part."""
    analytic, transactional = REFERENCE.read_text().split("[TRANSACTIONAL.CONFIG.DC_EN]")
    assert old in transactional
    path = tmp_path / "settings.toml"
    path.write_text(f"{analytic}[TRANSACTIONAL.CONFIG.DC_EN]{transactional.replace(old, new)}")
    return path


def test_unknown_keys_are_reported(tmp_path: Path):
    path = edited(tmp_path, "[TRANSACTIONAL.CONFIG.MLEN]", "[TRANSACTIONAL.CONFIG.SPEED]\nvalue = 1\n[TRANSACTIONAL.CONFIG.MLEN]")
    with pytest.warns(SettingsWarning, match=r"TRANSACTIONAL\.CONFIG\.SPEED"):
        read_settings(path)


def test_missing_value_is_an_error(tmp_path: Path):
    with pytest.raises(TargetError, match=r"CONFIG\.BLEN is missing"):
        read_settings(edited(tmp_path, "[TRANSACTIONAL.CONFIG.BLEN]\nvalue = 4", ""))


def test_precision_the_machine_cannot_honour_is_an_error(tmp_path: Path):
    with pytest.raises(TargetError, match=r"HBM_M_WEIGHT_TYPE: the machine cannot honour"):
        read_settings(edited(tmp_path, 'format = "Mx"\nblock = 8', 'format = "Mx"\nblock = 32'))


def test_either_table_may_be_absent(tmp_path: Path):
    text = REFERENCE.read_text()
    transactional = text[text.index("[TRANSACTIONAL.CONFIG.DC_EN]") :]
    path = tmp_path / "settings.toml"
    path.write_text(transactional)
    assert read_settings(path).mlen == 64
    path.write_text(transactional.replace("[TRANSACTIONAL.", "[ANALYTIC."))
    assert read_settings(path).mlen == 64
    path.write_text("[MODE]\nactive = 'analytic'\n")
    with pytest.raises(TargetError, match="neither"):
        read_settings(path)


def test_latency_column_follows_dc_en(tmp_path: Path):
    path = edited(tmp_path, "\nvalue = 1\n\n[TRANSACTIONAL.CONFIG.MAX", "\nvalue = 0\n\n[TRANSACTIONAL.CONFIG.MAX")
    assert read_settings(path).latencies.vector_mul == 5
    assert load_target("64x4x16").latencies == Latencies()


def test_reference_file_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_settings(REFERENCE)
