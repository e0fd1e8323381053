"""An internal error of a pass leaves a reproducer, whoever ran the pass, and the command it prints shows the error again."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from xdsl.dialects.builtin import AffineMapAttr, ModuleOp
from xdsl.ir.affine import AffineMap

from plena_mlir.cli.plena import main
from plena_mlir.cli.plena_opt import main as plena_opt
from plena_mlir.compiler import compile_hf_model
from plena_mlir.dialects import plena_tile
from plena_mlir.dialects.plena_tensor import ParameterOp
from plena_mlir.errors import CompilerCrash
from plena_mlir.frontend.importer import ImportedModel
from plena_mlir.passes.isa.dedup_config import DedupConfigPass
from plena_mlir.passes.tensor.raise_attention import RaiseAttentionPass
from plena_mlir.passes.tensor.raise_rope import RaiseRopePass
from plena_mlir.passes.tile.expand_matmul import ExpandMatmulPass
from plena_mlir.passes.tile.plan_memory import PlanMemoryPass
from plena_mlir.passes.tile.split_k import SplitKPass
from tests.verify.test_pass_checks import tiny

MODEL_OPTIONS = "--target 8x4x4 --seq 3 --layers 1 --random-weights 0".split()


@pytest.fixture(scope="module")
def model() -> ImportedModel:
    return tiny(3, num_hidden_layers=1)


@pytest.fixture
def crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of reproducers."""
    monkeypatch.setenv("PLENA_CRASH_DIR", str(tmp_path / "crashes"))
    return tmp_path / "crashes"


def broken(self: object, ctx: object, op: ModuleOp) -> None:
    raise KeyError("a bug")


def replayed(message: str, crashes: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The reproducer's text, after the command in the message has shown the error again."""
    (reproducer,) = crashes.glob("*.mlir")
    found = re.search(r"replay: (plena-opt -p .*?\.mlir)", message)
    assert found is not None
    command, *arguments = shlex.split(found[1])
    assert (command, arguments[-1]) == ("plena-opt", str(reproducer))
    capsys.readouterr()
    assert plena_opt(arguments) != 0
    assert "internal error: KeyError: 'a bug'" in capsys.readouterr().err
    return reproducer.read_text()


@pytest.mark.parametrize(
    ("failing", "level"),
    [(RaiseRopePass, "plena_tensor."), (SplitKPass, "plena_tile.matmul"), (DedupConfigPass, "plena_isa.")],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_compilation_leaves_what_the_pass_was_given(model, failing, level, crashes, monkeypatch, capsys):
    monkeypatch.setattr(failing, "apply", broken)
    with pytest.raises(CompilerCrash, match=rf"^{failing.name}: internal error: KeyError: 'a bug' \(please report") as caught:
        compile_hf_model(model, target="8x4x4")
    text = replayed(str(caught.value), crashes, capsys)
    header, error, versions = text.splitlines()[:3]
    assert header.startswith(f"// plena-opt -p '{failing.name}' plena-crash-")
    assert error == "// KeyError: 'a bug'"
    assert re.fullmatch(r"// plena-mlir \S+, xdsl \S+, Python \S+; target 8x4x4", versions)
    assert level in text


@pytest.mark.parametrize("command", ["compile", "run"])
def test_commands_print_one_line_with_the_command_that_replays(command, crashes, tmp_path, monkeypatch, capsys):
    from transformers import LlamaConfig

    config = LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=16)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(DedupConfigPass, "apply", broken)
    output = ["-o", str(tmp_path / "bundle")] if command == "compile" else []
    assert main([command, str(tmp_path / "model"), *MODEL_OPTIONS, *output]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert not (tmp_path / "bundle").exists()
    text = replayed(shown.err, crashes, capsys)
    assert "plena_isa." in text
    assert "plena.target" in text


def fails_on_a_weight(self: RaiseAttentionPass, ctx: object, op: ModuleOp) -> None:
    """A bug that shows only where the smallest element of one parameter is what the model's seed makes it."""
    gate = next(found for found in op.walk() if isinstance(found, ParameterOp) and "gate_proj" in found.parameter_name.data)
    if self.store is not None and self.store.get(gate.parameter_name.data).min() < 0:
        raise KeyError("a bug")


def test_what_a_pass_read_from_the_store_is_replayed_with_it(model, crashes, monkeypatch, capsys):
    monkeypatch.setattr(RaiseAttentionPass, "apply", fails_on_a_weight)
    with pytest.raises(CompilerCrash) as caught:
        compile_hf_model(model, target="8x4x4")
    text = replayed(str(caught.value), crashes, capsys)
    (constants,) = crashes.glob("*.npz")
    assert re.match(rf"// plena-opt -p 'raise-attention' --constants {constants.name} plena-crash-\w+\.mlir\n", text)
    with np.load(constants) as held:
        (name,) = held.files
        assert np.array_equal(held[name], model.store.get(name))
        positive = {name: np.abs(held[name])}
    (reproducer,) = crashes.glob("*.mlir")
    np.savez(constants, **positive)  # the error is that of the values, not of the file
    assert plena_opt(["-p", "raise-attention", "--constants", str(constants), str(reproducer)]) == 0
    np.savez(constants, other=positive[name])
    assert plena_opt(["-p", "raise-attention", "--constants", str(constants), str(reproducer)]) == 1
    assert f"there is no constant {name} (it holds other)" in capsys.readouterr().err


def test_parameters_too_large_to_keep_are_asked_for(model, crashes, monkeypatch, capsys):
    monkeypatch.setattr(RaiseAttentionPass, "apply", fails_on_a_weight)
    monkeypatch.setattr("plena_mlir.verify.crash.MOST_CONSTANTS", 16)
    with pytest.raises(
        CompilerCrash, match=r"the pass read \d+ bytes of parameters, which are too many to keep: the file"
    ) as caught:
        compile_hf_model(model, target="8x4x4")
    (reproducer,) = crashes.iterdir()
    found = re.search(
        r"^// the pass read .*: write them to (\S+\.npz) by numpy\.savez, under their names: (\S+) \[", reproducer.read_text(), re.M
    )
    assert found is not None
    np.savez(crashes / found[1], **{found[2]: model.store.get(found[2])})  # as it asks
    replayed(str(caught.value), crashes, capsys)


def test_a_folder_that_cannot_be_written_does_not_hide_the_error(model, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PLENA_CRASH_DIR", str(tmp_path / "file" / "crashes"))
    monkeypatch.setattr(SplitKPass, "apply", broken)
    with pytest.raises(CompilerCrash, match=r"split-k: internal error: KeyError: 'a bug' \(no reproducer was written: "):
        compile_hf_model(model, target="8x4x4")


def test_a_pass_that_leaves_invalid_ir_is_an_internal_error_of_that_pass(model, crashes, monkeypatch):
    def invalid(self: object, ctx: object, op: ModuleOp) -> None:
        at = next(found for found in op.walk() if isinstance(found, plena_tile.AtOp))
        at.map = AffineMapAttr(AffineMap(at.map.data.num_dims, 0, at.map.data.results[:-1]))

    monkeypatch.setattr(SplitKPass, "apply", invalid)
    monkeypatch.setattr(ExpandMatmulPass, "apply", lambda self, ctx, op: None)
    monkeypatch.setattr(PlanMemoryPass, "apply", lambda self, ctx, op: None)
    with pytest.raises(CompilerCrash, match=r"^split-k: internal error: VerifyException: .*map .* has \d results"):
        compile_hf_model(model, target="8x4x4", compile_to="tile")
    (reproducer,) = crashes.iterdir()
    assert reproducer.read_text().startswith("// plena-opt -p 'split-k'")
