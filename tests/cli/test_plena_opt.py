"""plena-opt: options in both spellings, problems on one line, nothing half written."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest

from plena_mlir.cli.plena_opt import PlenaOptMain, main
from plena_mlir.target import load_target

ALLOCATED = "%0 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp<gp1>\n"
TWICE = """
%0 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp
%1 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp
%2 = plena_isa.c_set_addr_reg %0, %1 : (!plena_isa.gp, !plena_isa.gp) -> !plena_isa.addr<a1>
"""
UNUSED = "%0 = plena_isa.s_lui_int 3 : () -> !plena_isa.gp\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.mlir"
    path.write_text(UNUSED)
    return path


def fails(capsys: pytest.CaptureFixture[str], *argv: str | Path) -> tuple[int | str | None, str]:
    """Exit status and the one line on stderr of a failing run, which leaves stdout empty."""
    status: int | str | None
    try:
        status = main([str(argument) for argument in argv])
    except SystemExit as exit:
        status = exit.code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("plena-opt: error: ")
    assert err.count("\n") == 1
    assert status != 0
    return status, err


def test_passes_run_in_xdsl_and_mlir_spelling(source: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(source)]) == 0
    assert "s_lui_int" in capsys.readouterr().out
    for argv in (["-p", "dce,cse"], ["--pass-pipeline", "builtin.module(dce,cse)"], ["--pass-pipeline", " builtin.module( dce ) "]):
        assert main([str(source), *argv]) == 0
        assert "s_lui_int" not in capsys.readouterr().out


def test_ir_after_all_shows_each_pass(source: Path, capsys: pytest.CaptureFixture[str]):
    source.write_text(TWICE)
    assert main([str(source), "-p", "dce,cse", "--mlir-print-ir-after-all"]) == 0
    _, after_dce, after_cse = capsys.readouterr().err.split("// -----// IR Dump After ")
    assert after_dce.startswith("DeadCodeElimination (dce) //----- //")
    assert after_cse.startswith("CommonSubexpressionElimination (cse) //----- //")
    assert [text.count("s_lui_int") for text in (after_dce, after_cse)] == [2, 1]


def test_ir_tree_dir_writes_a_file_per_pass(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source.write_text(TWICE)
    folder = tmp_path / "a" / "ir"
    assert main([str(source), "-p", "dce,cse", "--mlir-print-ir-after-all", "--mlir-print-ir-tree-dir", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["00-dce.mlir", "01-cse.mlir"]
    assert [(folder / name).read_text().count("s_lui_int") for name in ("00-dce.mlir", "01-cse.mlir")] == [2, 1]
    assert capsys.readouterr().err == ""


def test_timing_lists_every_pass(source: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(source), "-p", "cse,dce", "--mlir-timing"]) == 0
    err = capsys.readouterr().err
    assert [line.split()[-1] for line in err.splitlines()[-3:]] == ["cse", "dce", "Total"]


def test_target_attaches_the_machine(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.mlir"
    assert main([str(source), "--target", "8x4x4", "-o", str(out)]) == 0
    assert '#plena.target<{name = "8x4x4"' in out.read_text()
    # The same target again is no contradiction, another one is.
    assert main([str(out), "--target", "8x4x4"]) == 0
    capsys.readouterr()
    status, err = fails(capsys, out, "--target", "16x4x4")
    assert status == 1
    assert "the module is for target 8x4x4, which contradicts --target 16x4x4" in err


def test_assembly_goes_in_and_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = tmp_path / "program.asm"
    source.write_text("S_LUI_INT gp1, 3 ; model.norm\n")
    assert main([str(source), "-t", "plena-asm{comments=true}"]) == 0
    assert capsys.readouterr().out == source.read_text()


def test_misplaced_operands_are_corrected_with_a_warning_or_reproduced(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    source = tmp_path / "program.asm"
    source.write_text("V_RECI_V gp1, gp2, 1\nM_MV_WO gp1, 32\n")
    assert main([str(source), "-t", "plena-asm"]) == 0
    out, err = capsys.readouterr()
    assert out == source.read_text()
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["plena-opt", "warning", f"{source}:1:20"],
        ["plena-opt", "warning", f"{source}:2:14"],
    ]
    assert main([str(source), "-t", "plena-asm", "--reference-encoding"]) == 0
    out, err = capsys.readouterr()
    # The flag lands where V_RECI_V does not look, so that no instruction has this word; the offset comes out as a sixteenth.
    assert out == ".word 0x00004854\nM_MV_WO gp1, 2\n"
    assert err == ""


def test_version_names_both_packages(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("plena-opt ")
    assert "xdsl 0.74.0" in out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("-p", "no-such-pass"), "no-such-pass"),
        (("-p", "cse{"), "Expected argument name"),
        (("-p", "cse{x=1}"), '"x"'),
        (("--pass-pipeline", "func.func(cse)"), r"must have the form builtin.module(...)"),
        (("--pass-pipeline", "builtin.module(cse"), r"must have the form builtin.module(...)"),
        (("--pass-pipeline", "builtin.module(cse)", "-p", "cse"), "exclude each other"),
        (("--target", "64x5x16"), "64x5x16"),
        (("--target", "plena-asm"), "the output format is -t"),
        (("-t", "no-such-format"), "no-such-format"),
        (("-t", "plena-asm{comments=3}"), "expected <class 'bool'>"),
        (("--no-such-option",), "--no-such-option"),
        (("--mlir-print-ir-tree-dir", "d", "--split-input-file"), "--split-input-file"),
    ],
)
def test_wrong_usage_exits_2(argv: tuple[str, ...], message: str, source: Path, capsys: pytest.CaptureFixture[str]):
    status, err = fails(capsys, source, *argv)
    assert status == 2
    assert message in err


@pytest.mark.parametrize(
    ("text", "argv", "message"),
    [
        ("\n  plena_isa.c_set_scale_reg %0 : (!plena_isa.gp) -> ()", (), "in.mlir:2:55: values used but not defined"),
        ("%0 = plena_isa.nothing", (), "in.mlir:1:"),
        ('"plena_isa.c_set_scale_reg"() : () -> ()', (), "`plena_isa.c_set_scale_reg`: "),
        (UNUSED, ("-t", "plena-asm"), "no physical register (run allocate-registers first)"),
        ('%0 = plena_isa.li 3 : !plena_isa.gp loc("model.norm")', ("-t", "plena-asm"), "model.norm: the pseudo instruction"),
        (ALLOCATED, ("-o", "/no/such/folder/out.mlir"), "/no/such/folder: "),
    ],
)
def test_bad_input_exits_1(text: str, argv: tuple[str, ...], message: str, source: Path, capsys: pytest.CaptureFixture[str]):
    source.write_text(text)
    status, err = fails(capsys, source, *argv)
    assert status == 1
    assert message in err


def test_missing_binary_and_foreign_files_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert "No such file" in fails(capsys, tmp_path / "none.mlir")[1]
    binary = tmp_path / "binary.mlir"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "not UTF-8" in fails(capsys, binary)[1]
    asm = tmp_path / "bad.asm"
    asm.write_text("C_BREAK\nS_ADD_INT gp1\n")
    assert "bad.asm:2:14: " in fails(capsys, asm)[1]


def test_a_failure_leaves_the_output_file_as_it_was(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.asm"
    out.write_text("before")
    fails(capsys, source, "-t", "plena-asm", "-o", out)
    assert out.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mlir", "out.asm"]


def test_our_errors_are_diagnostics_to_verify_diagnostics(source: Path, capsys: pytest.CaptureFixture[str]):
    assert main([str(source), "-t", "plena-asm", "--verify-diagnostics"]) == 0
    assert "no physical register" in capsys.readouterr().out


def test_standard_input_is_the_default(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    class Stdin:
        buffer = io.BytesIO(ALLOCATED.encode())

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert main(["-t", "plena-asm"]) == 0
    assert capsys.readouterr().out == "S_LUI_INT gp1, 3\n"


def test_registers_itself_without_an_entry_point(monkeypatch: pytest.MonkeyPatch):
    """A checkout on the path, not installed, has no entry point."""
    from xdsl.universe import XDSL_UNIVERSE, Universe

    monkeypatch.setattr(Universe, "get_multiverse", staticmethod(lambda: XDSL_UNIVERSE))
    tool = PlenaOptMain([])
    assert {"plena", "plena_isa"} <= set(tool.ctx.registered_dialect_names)
    assert "plena-asm" in tool.available_targets


def test_stock_xdsl_opt_sees_our_output_format(source: Path):
    source.write_text(ALLOCATED)
    command = [sys.executable, "-m", "xdsl.tools.xdsl_opt", str(source), "-t", "plena-asm"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "S_LUI_INT gp1, 3\n"


def test_never_imports_torch_or_transformers(source: Path):
    code = (
        "import sys\nfrom plena_mlir.cli.plena_opt import main, PlenaOptMain\n"
        "status = main(sys.argv[1:])\n"
        "tool = PlenaOptMain([])\n"
        "for load in [tool.available_passes[n] for n in __import__('plena_mlir.passes').passes.get_all_passes()]: load()\n"
        "heavy = sorted({'torch', 'transformers'} & set(sys.modules))\n"
        "sys.exit(f'status {status}, imported {heavy}' if status or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), "--target", load_target("8x4x4").name, "-p", "dce"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


TILE = """
!r = memref<1x4x8xbf16, #plena_tile<space vram>>
plena_tile.global "w" {type = memref<1x4x8x!plena_tile.mx<#plena_tile<precision act>>, #plena_tile<space hbm>>, role = "weight"}
func.func @main() {
  %w = plena_tile.get_global @w : memref<1x4x8x!plena_tile.mx<#plena_tile<precision act>>, #plena_tile<space hbm>>
  %out = plena_tile.alloc {role = "output"} : !r
  %from = plena_tile.at %w affine_map<() -> (0, 0, 0)>() : memref<1x4x8x!plena_tile.mx<#plena_tile<precision act>>, #plena_tile<space hbm>> -> !plena_tile.ref<#plena_tile<space hbm>>
  %to = plena_tile.at %out affine_map<() -> (0, 0, 0)>() : !r -> !plena_tile.ref<#plena_tile<space vram>>
  plena_tile.load_rows %from -> %to
  func.return
}
"""  # noqa: E501


def test_verify_by_execution_runs_tiles_and_instructions_without_torch(tmp_path: Path):
    (tmp_path / "in.mlir").write_text(TILE)
    command = (
        "import sys; from plena_mlir.cli.plena_opt import main; status = main(sys.argv[1:]);"
        "sys.exit(status or 'torch' in sys.modules)"
    )
    passes = "plan-memory,convert-tile-to-isa,dedup-config,hoist-invariants,allocate-registers,legalize-immediates"
    argv = ["in.mlir", "--target", "8x4x4", "-p", passes, "--verify-by-execution", "-t", "plena-asm"]
    done = subprocess.run([sys.executable, "-c", command, *argv], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "H_PREFETCH_V" in done.stdout
    assert done.stderr == ""


def test_verify_by_execution_names_the_pass_that_changes_a_value(tmp_path: Path, monkeypatch, capsys):
    from xdsl.dialects.builtin import IntegerAttr, i64

    from plena_mlir.dialects import plena_tile
    from plena_mlir.passes.tile.split_k import SplitKPass

    def spoil(self, ctx, op):
        fill = next(inner for inner in op.walk() if isinstance(inner, plena_tile.RowShiftOp))
        fill.properties["amount"] = IntegerAttr(2, i64)

    shift = "  plena_tile.row_shift %to, %to by 1 : i64\n"
    (tmp_path / "in.mlir").write_text(TILE.replace("  func.return", shift + "  func.return"))
    monkeypatch.setattr(SplitKPass, "apply", spoil)
    monkeypatch.chdir(tmp_path)
    status, err = fails(capsys, "in.mlir", "--target", "8x4x4", "-p", "split-k", "--verify-by-execution")
    assert status == 1
    assert "split-k: the pass changes what the program computes" in err
    assert main(["in.mlir", "--target", "8x4x4", "-p", "split-k"]) == 0


NETWORK = """
func.func @main(%ids: tensor<5xi64>) -> tensor<5x6xf32> {
  %table = plena_tensor.parameter "embed.weight" : tensor<9x8xf32>
  %x = plena_tensor.embedding %table, %ids : tensor<9x8xf32>, tensor<5xi64> -> tensor<5x8xf32>
  %up = plena_tensor.parameter "layers.0.up.weight" : tensor<8x8xf32>
  %y = plena_tensor.linear %x, %up : (tensor<5x8xf32>, tensor<8x8xf32>) -> tensor<5x8xf32> loc("layers.0.up")
  %z = plena_tensor.add %x, %y : tensor<5x8xf32>, tensor<5x8xf32> -> tensor<5x8xf32> loc("layers.0")
  %up1 = plena_tensor.parameter "layers.1.up.weight" : tensor<8x8xf32>
  %y1 = plena_tensor.linear %z, %up1 : (tensor<5x8xf32>, tensor<8x8xf32>) -> tensor<5x8xf32> loc("layers.1.up")
  %z1 = plena_tensor.add %z, %y1 : tensor<5x8xf32>, tensor<5x8xf32> -> tensor<5x8xf32> loc("layers.1")
  %head = plena_tensor.parameter "head.weight" : tensor<6x8xf32>
  %logits = plena_tensor.linear %z1, %head : (tensor<5x8xf32>, tensor<6x8xf32>) -> tensor<5x6xf32> loc("head")
  func.return %logits : tensor<5x6xf32>
}
"""


def test_verify_by_execution_makes_up_parameters_at_the_tensor_level(tmp_path: Path, monkeypatch, capsys):
    """From plena_tensor to registers, rolled layers included; and a pass that takes a weight for another is named."""
    from plena_mlir.passes.pipelines import isa_passes, tensor_pipeline, tile_pipeline
    from plena_mlir.passes.tensor import roll_layers

    passes = ",".join(step.name for step in (*tensor_pipeline(), *tile_pipeline(), *isa_passes()))
    (tmp_path / "in.mlir").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    argv = ["in.mlir", "--target", "8x4x4", "-p", passes, "--verify-by-execution"]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert "plena_isa.h_prefetch_m" in out
    assert err == ""
    real = roll_layers.RollLayersPass.apply

    def first_layer_again(self, ctx, op):
        real(self, ctx, op)
        (loop,) = (inner for inner in op.walk() if inner.name == "scf.for")
        loop.operands[1] = loop.operands[2]

    monkeypatch.setattr(roll_layers.RollLayersPass, "apply", first_layer_again)
    status, err = fails(capsys, *argv)
    assert status == 1
    assert "roll-layers: the pass changes what the program computes" in err


def test_an_internal_error_leaves_a_reproducer_that_shows_it_again(source: Path, tmp_path: Path, monkeypatch, capsys):
    from plena_mlir.passes.isa.dedup_config import DedupConfigPass

    def fail(self, ctx, op):
        raise KeyError("no such register")

    monkeypatch.setattr(DedupConfigPass, "apply", fail)
    monkeypatch.setenv("PLENA_CRASH_DIR", str(tmp_path / "crashes"))
    source.write_text(TWICE)
    status, err = fails(capsys, source, "-p", "cse,dedup-config,dce", "--target", "8x4x4")
    assert status == 1
    assert "dedup-config: internal error: KeyError: 'no such register' (please report it with " in err
    (reproducer,) = (tmp_path / "crashes").iterdir()
    assert f"replay: plena-opt -p 'dedup-config' {reproducer}" in err
    text = reproducer.read_text()
    assert "// KeyError: 'no such register'" in text
    assert "xdsl 0.74.0" in text
    assert "target 8x4x4" in text
    # What cse removed is gone: this is the input of the pass that failed, with the target.
    assert text.count("s_lui_int") == 1
    status, err = fails(capsys, reproducer, "-p", "dedup-config")
    assert "internal error: KeyError" in err
