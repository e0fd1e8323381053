"""A saved program: the same bytes every time, and the same results when it is read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plena_mlir import CompiledProgram, compile_and_run, compile_hf_model, load_bundle
from plena_mlir.errors import LoweringError, ModelImportError, PlenaError
from plena_mlir.program import RunOutcome
from plena_mlir.verify.compare import compare
from tests.end_to_end.models import gqa


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def counts(outcome: RunOutcome) -> dict[str, object]:
    """What a run counted."""
    report = outcome.report.to_json()
    return {section: report[section] for section in ("instructions", "cycles", "hbm_bytes")}


@pytest.fixture(scope="module")
def bundle(program: CompiledProgram, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "bundle"
    program.save(folder)
    return folder


def test_saving_twice_gives_the_same_bytes(program, bundle, tmp_path) -> None:
    program.save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(bundle)


def test_compiling_twice_gives_the_same_bytes(bundle, tmp_path) -> None:
    compile_hf_model(gqa(), target="8x4x4", seq_len=9, random_weights=0).save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(bundle)


def test_a_loaded_bundle_saves_the_same_bytes(bundle, tmp_path) -> None:
    load_bundle(bundle).save(tmp_path / "again")
    assert contents(tmp_path / "again") == contents(bundle)


def test_a_loaded_bundle_gives_the_same_output(program, bundle) -> None:
    here, there = program.run(), load_bundle(bundle).run(compare=("tile",))
    np.testing.assert_array_equal(there.output, here.output)
    assert there.report.comparisons["tile_vs_emulator"].bit_exact
    assert counts(there) == counts(here)


def test_a_bundle_of_hidden_states(tmp_path) -> None:
    program = compile_hf_model(gqa(), target="8x8x8", seq_len=5, num_layers=1, scope="decoder", random_weights=0)
    program.save(tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    np.testing.assert_array_equal(loaded.inputs, program.inputs)
    np.testing.assert_array_equal(loaded.run(compare=("tile",)).output, program.run().output)


def test_other_tokens_run_on_the_same_program(program, bundle) -> None:
    ids = [3, 1, 4, 1, 5, 9, 2, 6, 96]
    here, there = program.run(input_ids=ids, compare=("hf", "tile")), load_bundle(bundle).run(input_ids=ids)
    np.testing.assert_array_equal(there.output, here.output)
    assert here.report.comparisons["tile_vs_emulator"].bit_exact
    assert here.report.comparisons["hf_vs_emulator"].rel_rms <= 0.25
    assert compare(here.output, program.run().output).cosine < 0.9


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1] * 8, "8 token ids are given for a program of 9"),
        ([1] * 8 + [97], "token id 97 at position 8 is not in the vocabulary of 97"),
        ([1] * 8 + [-1], "token id -1 at position 8 is not in the vocabulary of 97"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(program, ids, message) -> None:
    with pytest.raises(ModelImportError, match=message):
        program.run(input_ids=ids)
    with pytest.raises(ModelImportError, match=message):
        program.run(inputs=np.array(ids))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "slow"}, r"there is no engine 'slow' \(one of fast, interpreter\)"),
        ({"compare": ["hf", "torch"]}, r"there is no level to compare with 'torch' \(one of hf, golden, tile, isa\)"),
        ({"compare": "hf,golden"}, "there is no level to compare with 'hf,golden'"),
    ],
)
def test_a_run_refuses_what_it_does_not_know(program, options, message) -> None:
    with pytest.raises(PlenaError, match=message):
        program.run(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compile_to": "rtl"}, r"there is no level 'rtl' \(one of tensor, tile, isa, asm\)"),
        ({"strategy": "fast"}, "there is no strategy 'fast'"),
        ({"logits": "first"}, "there is no choice of logits 'first'"),
        ({"target": None}, "None is no target"),
    ],
)
def test_a_compilation_refuses_what_it_does_not_know(options, message) -> None:
    with pytest.raises(PlenaError, match=message):
        compile_hf_model(gqa(), **options)


def test_both_engines_give_the_same_bits_and_counts(program) -> None:
    fast, interpreter = program.run(), program.run(engine="interpreter")
    np.testing.assert_array_equal(interpreter.output.view(np.uint32), fast.output.view(np.uint32))
    assert counts(interpreter) == counts(fast)


def test_a_shape_without_weights_saves_but_does_not_run(tmp_path) -> None:
    program = compile_hf_model(gqa(), target="8x4x4", seq_len=3, num_layers=1)
    program.save(tmp_path / "bundle")
    names = set(contents(tmp_path / "bundle"))
    assert {"program.asm", "program.mem", "manifest.json"} <= names
    assert not names & {"hbm.bin", "inputs.npz"}
    for each in (program, load_bundle(tmp_path / "bundle")):
        with pytest.raises(ModelImportError) as caught:
            each.run()
        assert "weights" in str(caught.value)


@pytest.mark.parametrize("level", ["tensor", "tile"])
def test_what_was_not_compiled_is_missed(level, tmp_path) -> None:
    program = compile_hf_model(gqa(), target="8x4x4", seq_len=3, num_layers=1, random_weights=0, compile_to=level)
    program.save(tmp_path / "bundle")
    loaded = load_bundle(tmp_path / "bundle")
    assert set(loaded.stages) == set(program.stages)
    for each in (program, loaded):
        with pytest.raises(LoweringError, match="no IR of the isa level"):
            each.run()


def test_ir_of_every_pass_is_kept_when_asked(tmp_path) -> None:
    program = compile_hf_model(gqa(), target="8x4x4", seq_len=3, num_layers=1, random_weights=0, keep_ir=True)
    program.save(tmp_path / "bundle")
    passes = [path.stem for path in sorted((tmp_path / "bundle" / "ir").iterdir())]
    for name in ("import", "raise-attention", "roll-layers", "convert-tensor-to-tile", "plan-memory", "allocate-registers"):
        assert any(name in kept for kept in passes), name
    np.testing.assert_array_equal(load_bundle(tmp_path / "bundle").run().output, program.run().output)


def test_compile_and_run_leaves_a_bundle(program, tmp_path) -> None:
    outcome = compile_and_run(gqa(), tmp_path / "build", target="8x4x4", seq_len=9, random_weights=0, compare=("tile",))
    np.testing.assert_array_equal(outcome.output, program.run().output)
    np.testing.assert_array_equal(load_bundle(tmp_path / "build").run().output, outcome.output)
