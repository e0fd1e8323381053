"""Every pass of the real pipeline, executed before and after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import FloatAttr, IntegerAttr, ModuleOp, f64, i64
from xdsl.passes import ModulePass

from plena_mlir.compiler import compile_hf_model
from plena_mlir.dialects import plena_isa, plena_tensor, plena_tile
from plena_mlir.dialects.plena import set_target
from plena_mlir.errors import MiscompileError
from plena_mlir.frontend.importer import ImportedModel, import_model
from plena_mlir.passes import get_all_passes
from plena_mlir.passes.pipelines import isa_passes, tensor_pipeline, tile_pipeline
from plena_mlir.target import load_target
from plena_mlir.verify.execution import Executor, Level, level_of
from plena_mlir.verify.pass_checks import CHANGES, PassChecker


def tiny(seq: int, **options: object) -> ImportedModel:
    from transformers import LlamaConfig

    scope = options.pop("scope", "model")
    config = LlamaConfig(
        **{
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 4,
            "vocab_size": 20,
            "max_position_embeddings": 64,
            **options,
        }
    )
    return import_model(config, seq_len=seq, random_weights=0, scope=scope)


@pytest.fixture(scope="module")
def model() -> ImportedModel:
    """Two layers, keys in two blocks of an 8-lane machine."""
    return tiny(9)


def passes_of(model: ImportedModel, **options: object) -> tuple[ModulePass, ...]:
    return (*tensor_pipeline(model.store), *tile_pipeline(**options), *isa_passes())


def checked(model: ImportedModel, passes: tuple[ModulePass, ...], target: str) -> tuple[PassChecker, list[Level | None]]:
    """The checker after a pipeline, and the levels it went through."""
    module = model.module.clone()
    set_target(module, load_target(target))
    checker = PassChecker(Executor(model.sample_inputs(0), model.store))
    checker.start(module)
    levels = []
    for step in passes:
        step.apply(Context(), module)
        checker.after(step.name, module)
        levels.append(level_of(module))
    return checker, levels


@pytest.mark.parametrize(("target", "strategy"), [("8x4x4", "auto"), ("8x4x4", "micro"), ("16x4x16", "broadcast")])
def test_every_pass_of_the_pipeline_computes_what_it_was_given(model, target, strategy):
    checker, levels = checked(model, passes_of(model, strategy=strategy), target)
    assert set(levels) == set(Level)
    assert checker.skipped == []


def test_hidden_states_with_biases_compute_the_same():
    model = tiny(3, scope="decoder", attention_bias=True, mlp_bias=True)
    checker, _ = checked(model, passes_of(model), "8x8x8")
    assert checker.skipped == []


def test_dropping_positions_keeps_the_last_row(model):
    checker, _ = checked(model, tensor_pipeline(model.store, logits="last"), "8x4x4")
    assert checker.skipped == []


def test_every_declared_change_belongs_to_a_pass():
    assert set(CHANGES) <= set(get_all_passes())


@dataclass(frozen=True)
class Sabotage(ModulePass):
    """Runs a real pass under its name, then spoils what it left."""

    real: ModulePass
    spoil: object

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.real.name)

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        self.real.apply(ctx, op)
        self.spoil(op)


def first(module: ModuleOp, kind: type, number: int = 0):
    return [op for op in module.walk() if isinstance(op, kind)][number]


def other_epsilon(module: ModuleOp) -> None:
    first(module, plena_tensor.RmsNormOp).properties["eps"] = FloatAttr(0.1, f64)


def other_scale(module: ModuleOp) -> None:
    first(module, plena_tile.AttentionOp).properties["mask_kind"] = plena_tile.StringAttr("none")


def other_address(module: ModuleOp) -> None:
    """Two buffers that live at the same time at one place."""
    allocs = [op for op in module.walk() if isinstance(op, plena_tile.AllocOp) and op.address.value.data]
    vram = [op for op in allocs if plena_tile.space_of(plena_tile.as_buffer(op.buffer)) is plena_tile.Space.VRAM]
    for op in vram:
        op.properties["address"] = IntegerAttr(0, i64)


def other_immediate(module: ModuleOp) -> None:
    op = first(module, plena_isa.LiOp, -1)
    op.properties["value"] = IntegerAttr(op.value.value.data + 8, op.value.type)


@pytest.mark.parametrize(
    ("name", "spoil", "caught_by"),
    [
        ("raise-norms", other_epsilon, "raise-norms"),
        ("convert-tensor-to-tile", other_scale, "convert-tensor-to-tile"),
        # The tile interpreter gives every buffer memory of its own: addresses matter from the next level on.
        ("plan-memory", other_address, "convert-tile-to-isa"),
        ("hoist-invariants", other_immediate, "hoist-invariants"),
    ],
)
def test_a_pass_that_changes_what_is_computed_is_named(model, name, spoil, caught_by):
    passes = tuple(Sabotage(step, spoil) if step.name == name else step for step in passes_of(model))
    with pytest.raises(MiscompileError, match=f"^{caught_by}: the pass changes what the program computes"):
        checked(model, passes, "8x4x4")


def test_nan_is_never_within_a_bound(model):
    from plena_mlir.verify.pass_checks import _compare

    before = np.ones((2, 3), np.float32)
    after = before.copy()
    after[1, 2] = np.nan
    with pytest.raises(MiscompileError, match=r"first at \(1, 2\): 1 before, nan after"):
        _compare(before, after, "expand-matmul", CHANGES["expand-matmul"])


@pytest.mark.slow
def test_the_compiler_checks_its_passes_on_request(model, monkeypatch):
    import plena_mlir.passes.pipelines as pipelines

    program = compile_hf_model(model, target="8x4x4", verify_by_execution=True)
    assert "isa" in program.stages
    wrong = tuple(Sabotage(step, other_immediate) if step.name == "hoist-invariants" else step for step in isa_passes())
    monkeypatch.setattr(pipelines, "isa_passes", lambda **_: wrong)
    with pytest.raises(MiscompileError, match=r"^hoist-invariants"):
        compile_hf_model(model, target="8x4x4", verify_by_execution=True)
    compile_hf_model(model, target="8x4x4")
