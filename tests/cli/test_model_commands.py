"""`plena compile` and `plena run` hand their options on, and judge and print what comes back.

The compiler is a recorder here: what it does with the options is tested with the compiler.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from plena_mlir.cli.plena import main
from plena_mlir.errors import ModelImportError
from plena_mlir.golden_precision import GoldenPrecision
from plena_mlir.report import ModelSummary, Report
from plena_mlir.target import Target, load_target
from plena_mlir.target.settings import write_settings
from plena_mlir.verify.compare import compare

EXACT = compare([1.0, 2.0], [1.0, 2.0])
WRONG = compare([1.0, 2.5], [1.0, 2.0])


RUN = ("run", "clm-60m", "--random-weights", "3")


@dataclass
class RecordingCompiler:
    """Stands for `plena_mlir.compiler`: keeps the arguments, returns a program that keeps the arguments."""

    report: Report = field(
        default_factory=lambda: Report(
            target="8x4x4",
            model=ModelSummary(name="clm-60m", layers=2, seq=7, scope="model"),
            static_instructions=12,
            comparisons={"tile_vs_emulator": EXACT},
        )
    )
    target: Target = field(default_factory=lambda: load_target("8x4x4"))
    compiled: dict[str, Any] = field(default_factory=dict)
    ran: dict[str, Any] = field(default_factory=dict)
    saved: Path | None = None

    def compile_hf_model(self, model: str, **options: Any) -> RecordingCompiler:
        if model == "gpt-5":
            raise ModelImportError("unknown model 'gpt-5'")
        print("a library talks on stdout")
        self.compiled = {"model": model, **options}
        return self

    def load_bundle(self, folder: str) -> RecordingCompiler:
        self.compiled = {"bundle": folder}
        return self

    def save(self, folder: Path) -> None:
        self.saved = folder

    def estimate(self, *, timing: str, phases: object) -> Report:
        self.ran = {"timing": timing}
        return replace(self.report, dynamic_instructions=34)

    def run(self, **options: Any) -> SimpleNamespace:
        self.ran = options
        return SimpleNamespace(report=self.report, compared={})


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> RecordingCompiler:
    recorder = RecordingCompiler()
    module = ModuleType("plena_mlir.compiler")
    module.compile_hf_model = recorder.compile_hf_model  # type: ignore[attr-defined]
    module.load_bundle = recorder.load_bundle  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "plena_mlir.compiler", module)
    return recorder


@pytest.fixture
def bundle(tmp_path: Path) -> str:
    (tmp_path / "manifest.json").write_text("{}")
    return str(tmp_path)


def without_phases(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name != "phases"}


def test_compile_hands_on_every_option(compiler, capsys):
    argv = "compile clm-60m --target 8x4x4 --seq 7 --layers 2 --scope decoder --random-weights 3 --logits last"
    assert main([*argv.split(), "--compile-to", "tile", "-o", "out"]) == 0
    assert without_phases(compiler.compiled) == {
        "model": "clm-60m",
        "target": load_target("8x4x4"),
        "seq_len": 7,
        "num_layers": 2,
        "scope": "decoder",
        "random_weights": 3,
        "output": None,
        "attention": None,
        "batch": None,
        "lengths": None,
        "padding_side": "right",
        "logits": "last",
        "strategy": "auto",
        "compile_to": "tile",
        "keep_ir": True,
        "verify": False,
        "verify_by_execution": False,
    }
    assert compiler.saved == Path("out")
    assert "instructions.static  12" in capsys.readouterr().out


def test_compile_tells_what_a_run_will_cost(compiler, capsys):
    assert main("compile clm-60m --timing analytic -o out".split()) == 0
    assert compiler.ran == {"timing": "analytic"}
    assert "instructions.dynamic  34" in capsys.readouterr().out


def test_defaults(compiler):
    assert main([*RUN]) == 0
    assert without_phases(compiler.compiled) == {
        "model": "clm-60m",
        "target": load_target("64x16x64"),
        "seq_len": 64,
        "num_layers": None,
        "scope": "model",
        "random_weights": 3,
        "output": None,
        "attention": None,
        "batch": None,
        "lengths": None,
        "padding_side": "right",
        "logits": "all",
        "strategy": "auto",
        "compile_to": "asm",
        "keep_ir": False,
        "verify": False,
    }
    assert without_phases(compiler.ran) == {
        "engine": "fast",
        "timing": "both",
        "compare": (),
        "input_ids": None,
        "golden_precision": None,
    }


def test_a_shape_is_not_compiled_for_a_run_that_needs_weights(compiler, capsys):
    assert main(["run", "clm-60m"]) == 1
    assert "clm-60m: this model has no weights" in capsys.readouterr().err
    assert compiler.compiled == {}


def test_no_model_is_compiled_for_a_folder_that_cannot_be_written(compiler, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for argv in (["compile", "clm-60m", "-o"], [*RUN, "--compare", "hf", "--plots"]):
        assert main([*argv, str(tmp_path / "file" / "out")]) == 1
        assert "file: is a file, not a folder" in capsys.readouterr().err
    assert compiler.compiled == {}


def test_run_hands_on_every_option(compiler, tmp_path):
    settings = tmp_path / "m.toml"
    write_settings(load_target("16x4x8"), settings)
    argv = "--engine interpreter --timing none --compare hf,golden --golden kv,weights --ids 5,6,7 --hbm-size 20G"
    assert main([*RUN, *argv.split(), "--settings", str(settings)]) == 0
    assert compiler.compiled["target"] == replace(load_target("16x4x8"), name="m", hbm_size=20 << 30)
    assert compiler.compiled["seq_len"] == 3
    assert without_phases(compiler.ran) == {
        "engine": "interpreter",
        "timing": "none",
        "compare": ("hf", "golden"),
        "input_ids": (5, 6, 7),
        "golden_precision": GoldenPrecision(weights=True, kv=True),
    }


def test_ids_that_do_not_fill_the_sequence_are_refused(compiler, capsys):
    assert main([*RUN, "--ids", "5,6", "--seq", "7"]) == 1
    assert capsys.readouterr().err == "plena: error: --ids gives 2 token ids for a sequence of 7\n"


def test_json_is_one_object_alone_on_stdout(compiler, capsys):
    assert main([*RUN, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == compiler.report.to_json()
    assert captured.err == "a library talks on stdout\n"


def test_a_broken_bound_fails_the_run_after_its_report(compiler, capsys):
    compiler.report = Report(target="8x4x4", comparisons={"tile_vs_emulator": WRONG})
    assert main([*RUN, "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["compare"]["tile_vs_emulator"]["bit_exact"] is False
    assert captured.err.endswith("plena: error: tile_vs_emulator: not bit exact, max_abs 0.5\n")


def test_the_table_for_people_shows_each_comparison_and_note(compiler, capsys):
    compiler.report = Report(target="8x4x4", comparisons={"tile_vs_emulator": EXACT}, notes=("layers are unrolled",))
    assert main([*RUN]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "target  8x4x4"
    shares = ["100.00%"] * 3
    assert ["tile_vs_emulator", "0", "0", "0", "inf", "1.000000", *shares, "2", "exact"] in [line.split() for line in lines]
    assert lines[-1] == "note: layers are unrolled"


def test_the_table_for_people_names_the_worst_elements(compiler, capsys):
    compiler.report = Report(target="8x4x4", comparisons={"golden_vs_hf": WRONG, "hf_vs_emulator": EXACT})
    assert main([*RUN]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[rows.index(["worst", "elements", "index", "actual", "reference", "error"]) + 1] == [
        "golden_vs_hf", "(1,)", "2.5", "2", "0.5",
    ]  # fmt: skip


def test_a_golden_that_leaves_something_out_has_no_bound(compiler, capsys):
    compiler.report = Report(target="8x4x4", comparisons={"golden_vs_emulator": WRONG})
    for options, status in (("", 1), ("--golden hardware", 1), ("--golden fp32", 0), ("--golden weights,kv", 0)):
        assert main([*RUN, "--compare", "golden", *options.split()]) == status
        assert ("golden_vs_emulator: rel_rms" in capsys.readouterr().err) == bool(status)


def test_a_folder_with_a_manifest_is_a_bundle(compiler, bundle):
    assert main(["run", bundle, "--target", "8x4x4"]) == 0
    assert compiler.compiled == {"bundle": bundle}


def test_a_bundle_refuses_another_machine(compiler, bundle, capsys):
    assert main(["run", bundle, "--target", "16x4x4"]) == 1
    assert "was compiled for target 8x4x4, and 16x4x4 is another machine" in capsys.readouterr().err


def test_a_bundle_refuses_options_of_its_compilation(compiler, bundle, capsys):
    assert main(["run", bundle, "--seq", "7", "--hbm-size", "20G"]) == 1
    assert "--hbm-size, --seq cannot change a compiled bundle" in capsys.readouterr().err


def test_an_error_is_one_line_and_prints_no_report(compiler, capsys):
    assert main(["run", "gpt-5", "--json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "plena: error: unknown model 'gpt-5'\n"


def test_a_bug_is_one_line_too(compiler, monkeypatch, capsys):
    def fail(**_: Any) -> None:
        raise KeyError("x\ny")

    monkeypatch.setattr(compiler, "run", fail)
    assert main([*RUN]) == 1
    err = capsys.readouterr().err
    assert "internal error, please report it: KeyError" in err
    assert "Traceback" not in err


def test_ids_of_a_batch_are_those_of_all_its_rows(compiler, capsys):
    assert main("run clm-60m --random-weights 3 --lengths 3,2 --ids 1,2,3,4,5,0".split()) == 0
    assert compiler.compiled["seq_len"] == 3
    assert main("run clm-60m --random-weights 3 --lengths 3,2 --seq 4 --ids 1,2,3,4,5,0".split()) == 1
    assert "--ids gives 6 token ids for 2 sequences of 4, padding included" in capsys.readouterr().err
