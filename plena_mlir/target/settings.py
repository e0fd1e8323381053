"""The `plena_settings.toml` form of a target, read and written.

A file has a TRANSACTIONAL table, which the simulator runs, an ANALYTIC table, which the analytic models read, or both; each has
CONFIG, PRECISION and LATENCY (machine specification, section 1.4). `plena_settings.toml` beside this module is a complete example.
"""

from __future__ import annotations

import tomllib
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias, cast, get_args

from plena_mlir.errors import TargetError
from plena_mlir.target.target import Latencies, Numerics, Precisions, Target

TomlTable: TypeAlias = "dict[str, object]"

_CONFIG_KEYS = {
    "DC_EN": "dc_enabled",
    "MAX_LOOP_INSTRUCTIONS": "max_loop_instructions",
    "BLEN": "blen",
    "HLEN": "hlen",
    "MLEN": "mlen",
    "VLEN": "vlen",
    "BROADCAST_AMOUNT": "broadcast",
    "HBM_SIZE": "hbm_size",
    "MATRIX_SRAM_SIZE": "matrix_sram_rows",
    "VECTOR_SRAM_SIZE": "vector_sram_rows",
    "HBM_M_Prefetch_Amount": "prefetch_m_rows",
    "HBM_V_Prefetch_Amount": "prefetch_v_rows",
    "HBM_V_Writeback_Amount": "writeback_v_rows",
}

_IGNORED_CONFIG_KEY = "HBM_WIDTH"
"""Bits of the HBM bus: part of the form, read by no model of the machine, always written as 512."""

_NUMERICS_KEY = "NUMERICS"
"""Entry of CONFIG that the public form does not have, whose value is a string; a file without it means `plena`."""

_PRECISION_KEYS = {
    "MATRIX_SRAM_TYPE": "matrix_sram",
    "VECTOR_SRAM_TYPE": "vector_sram",
    "HBM_M_WEIGHT_TYPE": "m_weight",
    "HBM_M_KV_TYPE": "m_kv",
    "HBM_V_ACT_TYPE": "v_act",
    "HBM_V_KV_TYPE": "v_kv",
    "HBM_V_INT_TYPE": "v_int",
    "SCALAR_FP": "scalar",
}

_LATENCY_KEYS = {
    "SYSTOLIC_PROCESSING_OVERHEAD": "systolic_overhead",
    "VECTOR_LONGEST_OPERATE_CYCLES": "vector_longest",
    "VECTOR_BASIC_CYCLES": "vector_basic",
    "VECTOR_ADD_CYCLES": "vector_add",
    "VECTOR_MUL_CYCLES": "vector_mul",
    "VECTOR_EXP_CYCLES": "vector_exp",
    "VECTOR_PREFIX_SCAN_CYCLES": "vector_prefix_scan",
    "VECTOR_SHIFT_CYCLES": "vector_shift",
    "VECTOR_RECI_CYCLES": "vector_reci",
    "VECTOR_MAX_CYCLES": "vector_max",
    "VECTOR_SUM_CYCLES": "vector_sum",
    "SCALAR_FP_LONGEST_OPERATE_CYCLES": "scalar_fp_longest",
    "SCALAR_FP_BASIC_CYCLES": "scalar_fp_basic",
    "SCALAR_FP_EXP_CYCLES": "scalar_fp_exp",
    "SCALAR_FP_SQRT_CYCLES": "scalar_fp_sqrt",
    "SCALAR_FP_RECI_CYCLES": "scalar_fp_reci",
    "SCALAR_INT_BASIC_CYCLES": "scalar_int_basic",
}


def _fp(exponent: int, mantissa: int, *, sign: bool = True) -> TomlTable:
    return {"type": "Fp", "sign": sign, "exponent": exponent, "mantissa": mantissa}


def _mx(element: TomlTable) -> TomlTable:
    return {"format": "Mx", "block": 8, "ELEM": element, "SCALE": _fp(8, 0, sign=False)}


_FORMATS: dict[str, TomlTable] = {
    "bf16": {"format": "Plain", "DATA_TYPE": _fp(8, 7)},
    "mxfp8_e4m3": _mx(_fp(4, 3)),
    "mxfp8_e5m2": _mx(_fp(5, 2)),
    "int32": {"format": "Plain", "DATA_TYPE": {"type": "Int", "width": 32}},
}


class SettingsWarning(UserWarning):
    """A settings file holds keys that no part of the machine reads."""


@dataclass
class _Reader:
    """Takes the known keys out of one table of a file; what is left over is unknown."""

    path: Path
    unknown: list[str] = field(default_factory=list[str])

    def error(self, what: str, hint: str | None = None) -> TargetError:
        return TargetError(what, where=str(self.path), hint=hint)

    def table(self, parent: TomlTable, key: str, where: str) -> TomlTable:
        value = parent.pop(key, None)
        if not isinstance(value, dict):
            raise self.error(f"{where}{key} is missing or not a table")
        return cast("TomlTable", value)

    def integer(self, parent: TomlTable, key: str, where: str) -> int:
        value = parent.pop(key, None)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.error(f"{where}{key} is missing or not an integer")
        return value

    def leave(self, table: TomlTable, where: str) -> None:
        self.unknown += [f"{where}{key}" for key in table]

    def target(self, table: TomlTable, name: str, where: str) -> Target:
        config = self.table(table, "CONFIG", where)
        geometry: dict[str, int] = {}
        for key, attribute in _CONFIG_KEYS.items():
            entry = self.table(config, key, f"{where}CONFIG.")
            geometry[attribute] = self.integer(entry, "value", f"{where}CONFIG.{key}.")
            self.leave(entry, f"{where}CONFIG.{key}.")
        numerics = self.numerics(config, f"{where}CONFIG.")
        config.pop(_IGNORED_CONFIG_KEY, None)
        self.leave(config, f"{where}CONFIG.")

        precision = self.table(table, "PRECISION", where)
        formats = {
            attribute: self.format(self.table(precision, key, f"{where}PRECISION."), f"{where}PRECISION.{key}")
            for key, attribute in _PRECISION_KEYS.items()
        }
        self.leave(precision, f"{where}PRECISION.")

        latency = self.table(table, "LATENCY", where)
        columns: dict[str, dict[str, int]] = {"dc_lib_en": {}, "dc_lib_dis": {}}
        for key, attribute in _LATENCY_KEYS.items():
            entry = self.table(latency, key, f"{where}LATENCY.")
            for column, cycles in columns.items():
                cycles[attribute] = self.integer(entry, column, f"{where}LATENCY.{key}.")
            self.leave(entry, f"{where}LATENCY.{key}.")
        self.leave(latency, f"{where}LATENCY.")
        self.leave(table, where)

        dc_enabled = bool(geometry.pop("dc_enabled"))
        return Target(
            name=name,
            **geometry,
            dc_enabled=dc_enabled,
            latencies_dc=Latencies(**columns["dc_lib_en"]),
            latencies_no_dc=Latencies(**columns["dc_lib_dis"]),
            precisions=Precisions(**formats),
            numerics=numerics,
        )

    def numerics(self, config: TomlTable, where: str) -> Numerics:
        if _NUMERICS_KEY not in config:
            return "plena"
        entry = self.table(config, _NUMERICS_KEY, where)
        value = entry.pop("value", None)
        self.leave(entry, f"{where}{_NUMERICS_KEY}.")
        for known in get_args(Numerics):
            if value == known:
                return known
        raise self.error(f"{where}{_NUMERICS_KEY}.value is not one of {', '.join(get_args(Numerics))}")

    def format(self, entry: TomlTable, where: str) -> str:
        # SCALAR_FP is the one entry that is a bare data type.
        form: TomlTable = entry if "format" in entry else {"format": "Plain", "DATA_TYPE": entry}
        for name, known in _FORMATS.items():
            if form == known:
                return name
        raise self.error(f"{where}: the machine cannot honour {form}", hint=f"it knows {', '.join(_FORMATS)}")


def read_settings(path: str | Path) -> Target:
    """The target described by a settings file: its TRANSACTIONAL table, or the ANALYTIC one where that is absent.

    Warns with a `SettingsWarning` that lists the keys nothing reads.

    Raises:
        TargetError: the file is missing or malformed, lacks a value, or describes a machine that cannot exist.
    """
    path = Path(path)
    try:
        content: TomlTable = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"cannot read the settings: {error.strerror}", where=str(path)) from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TargetError(f"cannot read the settings: {error}", where=str(path), hint="they are a plena_settings.toml") from error
    reader = _Reader(path)
    tables = [table for table in ("TRANSACTIONAL", "ANALYTIC") if table in content]
    if not tables:
        raise reader.error("there is neither a TRANSACTIONAL nor an ANALYTIC table", hint="settings are a plena_settings.toml")
    target = reader.target(reader.table(content, tables[0], ""), path.stem, f"{tables[0]}.")
    # Of the table that does not describe this machine only the names are of interest.
    reader.leave({key: None for key in content if key not in ("MODE", *tables)}, "")
    if reader.unknown:
        warnings.warn(f"{path}: unknown keys: {', '.join(reader.unknown)}", SettingsWarning, stacklevel=2)
    return target


def write_settings(target: Target, path: str | Path) -> None:
    """Write `target` as a settings file, the same machine in both tables; `read_settings` gives it back."""
    lines = ["[MODE]", 'active = "transactional"']
    for table in ("TRANSACTIONAL", "ANALYTIC"):
        for key, attribute in _CONFIG_KEYS.items():
            lines += ["", f"[{table}.CONFIG.{key}]", f"value = {int(getattr(target, attribute))}"]
        lines += ["", f"[{table}.CONFIG.{_IGNORED_CONFIG_KEY}]", "value = 512"]
        # The public form stays as it is for the machine that it describes.
        if target.numerics != "plena":
            lines += ["", f"[{table}.CONFIG.{_NUMERICS_KEY}]", f'value = "{target.numerics}"']
        for key, attribute in _PRECISION_KEYS.items():
            form = _FORMATS[getattr(target.precisions, attribute)]
            lines += _toml_table(f"{table}.PRECISION.{key}", _bare(form) if key == "SCALAR_FP" else form)
        for key, attribute in _LATENCY_KEYS.items():
            lines += ["", f"[{table}.LATENCY.{key}]"]
            lines.append(f"dc_lib_en = {getattr(target.latencies_dc, attribute)}")
            lines.append(f"dc_lib_dis = {getattr(target.latencies_no_dc, attribute)}")
    Path(path).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _bare(form: TomlTable) -> TomlTable:
    return cast("TomlTable", form["DATA_TYPE"])


def _toml_table(name: str, values: TomlTable) -> list[str]:
    lines = ["", f"[{name}]"]
    nested: list[str] = []
    for key, value in values.items():
        if isinstance(value, dict):
            nested += _toml_table(f"{name}.{key}", cast("TomlTable", value))
        elif isinstance(value, bool):
            lines.append(f"{key} = {str(value).lower()}")
        else:
            lines.append(f'{key} = "{value}"' if isinstance(value, str) else f"{key} = {value}")
    return lines + nested
