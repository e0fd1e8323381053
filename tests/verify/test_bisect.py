"""Planted faults, each caught and located."""

from __future__ import annotations

import pytest
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, StringAttr

import plena_mlir.passes.pipelines as pipelines
from plena_mlir.compiler import compile_hf_model
from plena_mlir.dialects import plena_isa, plena_tensor, plena_tile
from plena_mlir.dialects.plena import stage_of
from plena_mlir.frontend.importer import ImportedModel
from plena_mlir.target.layout import GlobalData
from plena_mlir.verify.bisect import bisect_levels, passes_of
from plena_mlir.verify.bisect_programs import bisect_programs
from plena_mlir.verify.locate import Divergence
from tests.verify.test_pass_checks import Sabotage, tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model() -> ImportedModel:
    return tiny(9)


def located(model: ImportedModel, name: str, spoil, monkeypatch) -> Divergence:
    """What bisect says of a compilation whose pass `name` leaves something else than it should."""
    for pipeline in ("tensor_pipeline", "tile_pipeline", "isa_passes"):
        real = getattr(pipelines, pipeline)

        def spoiled(*args, real=real, **options):
            return tuple(Sabotage(step, spoil) if step.name == name else step for step in real(*args, **options))

        monkeypatch.setattr(pipelines, pipeline, spoiled)
    program = compile_hf_model(model, target="8x4x4", keep_ir=True)
    found = bisect_levels(program, passes_of(program))
    assert found is not None
    return found


def of_stage(module: ModuleOp, kind: type, stage: str) -> list:
    return [op for op in module.walk() if isinstance(op, kind) and stage_of(op) == stage]


def test_a_sound_program_has_no_divergence(model):
    program = compile_hf_model(model, target="8x4x4", keep_ir=True)
    assert bisect_levels(program, passes_of(program)) is None


def test_a_norm_weight(model, monkeypatch):
    def other_gain(module: ModuleOp) -> None:
        for op in module.walk():
            if isinstance(op, plena_tensor.ParameterOp) and op.parameter_name.data.endswith("0.input_layernorm.weight"):
                op.parameter_name = StringAttr("model.norm.weight")

    found = located(model, "fold-norm-weights", other_gain, monkeypatch)
    assert found.pass_name == "fold-norm-weights"


def test_the_sign_of_rope(model, monkeypatch):
    def other_sign(module: ModuleOp) -> None:
        # The first of the products: x * cos + rotated * sin becomes x * cos - rotated * sin.
        (add, *_) = of_stage(module, plena_tile.RowBinaryOp, "model.layers.{}.self_attn/rope")[-1:]
        assert add.kind.data is plena_tile.RowBinary.ADD
        add.kind = plena_tile.RowBinaryAttr(plena_tile.RowBinary.SUB)

    found = located(model, "convert-tensor-to-tile", other_sign, monkeypatch)
    assert found.pass_name == "convert-tensor-to-tile"
    assert found.stage == "model.layers.0.self_attn/rope"
    assert found.instruction.text.startswith("V_SUB_VV")


def test_an_immediate(model, monkeypatch):
    def other_immediate(module: ModuleOp) -> None:
        ops = of_stage(module, plena_isa.SAddiIntOp, "lm_head/linear")
        op = max(ops, key=lambda op: op.imm.value.data)
        op.properties["imm"] = IntegerAttr(op.imm.value.data + 64, op.imm.type)

    found = located(model, "legalize-immediates", other_immediate, monkeypatch)
    assert found.pass_name == "legalize-immediates"
    assert found.stage == "lm_head/linear"
    assert found.expected != found.actual


def test_an_mx_scale(model):
    program = compile_hf_model(model, target="8x4x4", keep_ir=True)
    sound = compile_hf_model(model, target="8x4x4", keep_ir=True)
    name = "model.layers.{}.mlp.down_proj.weight"
    data = program.weights[name]
    scales = data.scales.copy()
    scales[0] += 2
    program.weights = {**program.weights, name: GlobalData(data.elements, scales)}
    # Every level reads the same bytes, so no pass is at fault; the golden encodes the weight itself.
    found = bisect_levels(program, passes_of(program))
    assert found.pass_name is None
    assert found.stage == "model.layers.0.mlp.down_proj/linear"
    between = bisect_programs(sound, program, passes_of(sound), passes_of(program))
    assert between.pass_name is None
    assert between.stage == found.stage
    assert between.place[1] == found.place[1]
