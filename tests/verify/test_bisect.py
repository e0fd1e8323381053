"""Planted faults: the checks that always run notice each, and bisect names the pass, the module, the value and the instruction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from xdsl.dialects.builtin import AffineMapAttr, IntegerAttr, ModuleOp, StringAttr
from xdsl.ir.affine import AffineExpr, AffineMap

import plena_mlir.passes.pipelines as pipelines
from plena_mlir.compiler import CompiledProgram, compile_hf_model
from plena_mlir.dialects import plena_isa, plena_tensor, plena_tile
from plena_mlir.dialects.plena import located_text, stage_of
from plena_mlir.errors import MiscompileError, PlenaError
from plena_mlir.frontend.importer import ImportedModel
from plena_mlir.passes.tile import expand_attention
from plena_mlir.target.layout import GlobalData
from plena_mlir.verify.bisect import bisect_levels, bisect_two_levels, passes_of, passes_of_bundle
from plena_mlir.verify.bisect_programs import bisect_programs, bisect_switch
from plena_mlir.verify.bounds import broken_bounds
from plena_mlir.verify.locate import Divergence
from tests.verify.test_pass_checks import Sabotage, tiny

pytestmark = pytest.mark.slow

Spoil = Callable[[ModuleOp], None]


@pytest.fixture(scope="module")
def model() -> ImportedModel:
    return tiny(9)


@pytest.fixture(scope="module")
def sound(model: ImportedModel) -> CompiledProgram:
    return compile_hf_model(model, target="8x4x4", keep_ir=True)


def compiled(
    model: ImportedModel, monkeypatch: pytest.MonkeyPatch, name: str | None = None, spoil: Spoil | None = None, **options: str
) -> CompiledProgram:
    """A compilation whose pass `name` leaves something else than it should."""
    for pipeline in ("tensor_pipeline", "tile_pipeline", "isa_passes"):
        real = getattr(pipelines, pipeline)

        def spoiled(*args, real=real, **options):
            return tuple(Sabotage(step, spoil) if step.name == name else step for step in real(*args, **options))

        monkeypatch.setattr(pipelines, pipeline, spoiled)
    return compile_hf_model(model, target="8x4x4", keep_ir=True, **options)


def broken_links(program: CompiledProgram) -> list[str]:
    """The comparisons of an ordinary run that fail."""
    comparisons = program.run(compare=("hf", "golden", "tile")).report.comparisons
    return sorted({sentence.partition(":")[0] for sentence in broken_bounds(comparisons, layers=2)})


def located(program: CompiledProgram) -> Divergence:
    found = bisect_levels(program, passes_of(program))
    assert found is not None
    assert found.expected != found.actual
    return found


def of_stage(module: ModuleOp, kind: type, stage: str) -> list:
    return [op for op in module.walk() if isinstance(op, kind) and stage_of(op) == stage]


def test_a_sound_program_has_no_divergence(sound):
    assert bisect_levels(sound, passes_of(sound)) is None


def test_a_norm_weight(model, sound, monkeypatch):
    def other_gain(module: ModuleOp) -> None:
        for op in module.walk():
            if isinstance(op, plena_tensor.ParameterOp) and op.parameter_name.data.endswith("1.post_attention_layernorm.weight"):
                op.parameter_name = StringAttr("model.norm.weight")

    program = compiled(model, monkeypatch, "fold-norm-weights", other_gain)
    assert broken_links(program) == ["hf_vs_tensor_fp32"]
    found = located(program)
    assert found.pass_name == "fold-norm-weights"
    # The gain went into the layers that read the norm.
    assert found.stage == "model.layers.1.mlp.gate_proj/linear"
    assert found.module_path == "model.layers.1.mlp.gate_proj"
    assert found.op == "plena_tensor.linear"
    assert found.instruction is not None
    between = bisect_programs(sound, program, passes_of(sound), passes_of(program))
    assert (between.pass_name, between.stage, between.place) == (found.pass_name, found.stage, found.place)
    assert (between.expected, between.actual) == (pytest.approx(found.expected, 1e-4), pytest.approx(found.actual, 1e-4))


def test_the_sign_of_rope(model, monkeypatch):
    def other_sign(module: ModuleOp) -> None:
        # The first of the products: x * cos + rotated * sin becomes x * cos - rotated * sin.
        (add, *_) = of_stage(module, plena_tile.RowBinaryOp, "model.layers.{}.self_attn/rope")[-1:]
        assert add.kind.data is plena_tile.RowBinary.ADD
        add.kind = plena_tile.RowBinaryAttr(plena_tile.RowBinary.SUB)

    program = compiled(model, monkeypatch, "convert-tensor-to-tile", other_sign)
    assert broken_links(program) == ["golden_vs_emulator"]
    found = located(program)
    assert found.pass_name == "convert-tensor-to-tile"
    assert found.stage == "model.layers.0.self_attn/rope"
    assert found.op == "plena_tensor.rope"
    assert found.instruction.text.startswith("V_SUB_VV")


def test_the_causal_mask_of_the_second_tile(model, monkeypatch):
    """The same triangle for every block of keys, whatever its distance from the diagonal."""
    real = expand_attention._Attention._score_row
    monkeypatch.setattr(
        expand_attention._Attention,
        "_score_row",
        lambda self, block, row, distance, keys: real(self, block, row, 0, keys),
    )
    program = compiled(model, monkeypatch)
    assert broken_links(program) == ["golden_vs_emulator"]
    found = located(program)
    assert found.pass_name == "expand-attention"
    assert found.stage == "model.layers.0.self_attn/attention/scores"
    assert found.module_path == "model.layers.0.self_attn"
    assert found.op == "plena_tensor.attention"
    # Queries 8 and on are the second block of rows; keys 1 to 7, which they may see, lie in the first block of keys.
    assert found.tile == (1, 0)
    assert found.place == (0, 8, 1)
    assert abs(found.expected) < 100
    assert found.actual == -(2.0**100)
    assert found.instruction.text.startswith("V_ADD_VV")


def test_the_stride_of_a_pass(model, monkeypatch):
    """Every block of output columns reads the weight's first columns."""

    def no_stride(module: ModuleOp) -> None:
        for op in of_stage(module, plena_tile.AccumulateOp, "model.layers.{}.mlp.up_proj/linear"):
            matrix = op.operands[1].owner
            tile, _, lane = matrix.map.data.results
            matrix.map = AffineMapAttr(AffineMap(matrix.map.data.num_dims, 0, (tile, AffineExpr.constant(0), lane)))

    program = compiled(model, monkeypatch, "expand-matmul", no_stride, strategy="micro")
    assert broken_links(program) == ["golden_vs_emulator"]
    found = located(program)
    assert found.pass_name == "expand-matmul"
    assert found.stage == "model.layers.0.mlp.up_proj/linear"
    # The first BLEN columns are right.
    assert found.place[1] >= 4
    assert found.tile == (0, 0)
    assert found.instruction.text.startswith("M_MM_WO")


def test_an_immediate(model, monkeypatch):
    def other_immediate(module: ModuleOp) -> None:
        ops = of_stage(module, plena_isa.SAddiIntOp, "lm_head/linear")
        op = max(ops, key=lambda op: op.imm.value.data)
        op.properties["imm"] = IntegerAttr(op.imm.value.data + 64, op.imm.type)

    program = compiled(model, monkeypatch, "legalize-immediates", other_immediate)
    assert "tile_vs_emulator" in broken_links(program)
    found = located(program)
    assert found.pass_name == "legalize-immediates"
    assert found.stage == "lm_head/linear"


def test_a_register(model, sound, monkeypatch):
    def other_register(module: ModuleOp) -> None:
        (op,) = of_stage(module, plena_isa.VMulVvOp, "model.layers.{}.mlp/mul")
        op.operands[2] = op.operands[1]

    program = compiled(model, monkeypatch, "allocate-registers", other_register)
    assert broken_links(program) == ["golden_vs_emulator", "tile_vs_emulator"]
    found = located(program)
    assert found.pass_name == "allocate-registers"
    assert found.stage == "model.layers.0.mlp/mul"
    assert found.instruction.text.startswith("V_MUL_VV")
    assert found.instruction.op == "plena_isa.v_mul_vv"
    between = bisect_programs(sound, program, passes_of(sound), passes_of(program))
    assert (between.pass_name, between.stage, between.instruction) == (found.pass_name, found.stage, found.instruction)
    with pytest.raises(MiscompileError, match=r"^allocate-registers"):
        compile_hf_model(model, target="8x4x4", verify_by_execution=True)


def test_an_mx_scale(model, sound):
    program = compile_hf_model(model, target="8x4x4", keep_ir=True)
    name = "model.layers.{}.mlp.down_proj.weight"
    data = program.weights[name]
    scales = data.scales.copy()
    scales[0] += 2
    program.weights = {**program.weights, name: GlobalData(data.elements, scales)}
    assert broken_links(program) == ["golden_vs_emulator"]
    # Every level reads the same bytes, so no pass is at fault; the golden encodes the weight itself.
    found = located(program)
    assert found.pass_name is None
    assert found.stage == "model.layers.0.mlp.down_proj/linear"
    assert f"tensor {name}, scale 0" in found.reason
    between = bisect_programs(sound, program, passes_of(sound), passes_of(program))
    assert between.pass_name is None
    assert between.stage == found.stage
    assert between.place[1] == found.place[1]
    assert f"tensor {name}, scale 0" in between.reason


def test_two_levels(sound):
    assert bisect_two_levels(sound, "tile", "emulator") is None
    assert bisect_two_levels(sound, "hardware", "tile") is None
    assert bisect_two_levels(sound, "hardware", "emulator") is None
    weights = bisect_two_levels(sound, "hardware", "no_weight_quant")
    assert weights.stage.startswith("model.layers.0.self_attn.")
    assert weights.stage.endswith("_proj/linear")
    assert weights.expected != weights.actual


def test_two_settings_of_a_switch(sound):
    # Every form of a product sums exactly and rounds once.
    assert bisect_switch(sound, "strategy", ("micro", "broadcast")) is None
    precision = bisect_switch(sound, "golden", ("fp32", "hardware"))
    assert precision.stage == "model.embed_tokens/embedding"
    # A pass that only makes the code shorter may be left out without a difference; where gains are folded, weights round otherwise.
    assert bisect_switch(sound, "pass", ("hoist-invariants",)) is None
    gains = bisect_switch(sound, "pass", ("fold-norm-weights",))
    assert gains.pass_name == "assign-precision"
    assert gains.stage == "model.layers.0.input_layernorm/rms_norm"
    for switch, values in (
        ("strategy", ("micro", "fast")),
        ("strategy", ("micro",)),
        ("pass", ("no-such-pass",)),
        ("speed", ("1",)),
    ):
        with pytest.raises(PlenaError):
            bisect_switch(sound, switch, values)


def test_an_instruction_that_wrote_elsewhere(model, monkeypatch):
    """Nothing of the stage wrote the value: what is named is the instruction that should have."""

    def other_place(module: ModuleOp) -> None:
        (op,) = of_stage(module, plena_isa.VMulVvOp, "model.layers.{}.mlp/mul")
        op.operands[0] = op.operands[2]

    found = located(compiled(model, monkeypatch, "allocate-registers", other_place))
    assert found.pass_name == "allocate-registers"
    assert found.stage == "model.layers.0.mlp/mul"
    assert found.instruction.text.startswith("V_MUL_VV")
    assert not found.instruction.wrote


def test_a_program_that_stops(model, sound, monkeypatch):
    def half_a_row(module: ModuleOp) -> None:
        (op, *_) = of_stage(module, plena_isa.SAddiIntOp, "model.layers.{}.mlp/mul")
        op.properties["imm"] = IntegerAttr(op.imm.value.data + 4, op.imm.type)

    program = compiled(model, monkeypatch, "legalize-immediates", half_a_row)
    for found in (
        bisect_levels(program, passes_of(program)),
        bisect_programs(sound, program, passes_of(sound), passes_of(program)),
    ):
        assert found.pass_name == "legalize-immediates"
        assert found.stage == "model.layers.{}.mlp/mul"
        assert found.instruction.text in found.reason
        assert found.instruction.executed > found.instruction.pc


@dataclass(frozen=True)
class OtherParameter:
    """A parameter store with one other value."""

    real: object
    name: str

    def get(self, name: str) -> np.ndarray:
        values = self.real.get(name)
        return values if name != self.name else values * np.float32(1.5)

    def __getattr__(self, attribute: str) -> object:
        return getattr(self.real, attribute)


def test_two_models(model, sound):
    """The same program of other weights: the parameter is named, and the op that reads it."""
    name = "model.layers.1.post_attention_layernorm.weight"
    program = compile_hf_model(replace(model, store=OtherParameter(model.store, name)), target="8x4x4", keep_ir=True)
    found = bisect_programs(sound, program, passes_of(sound), passes_of(program))
    assert found.pass_name == "import"
    assert f"{name} (0,) is " in found.reason
    assert found.module_path == "model.layers.1.post_attention_layernorm"
    assert found.expected != found.actual


def test_an_immediate_of_what_runs(sound, tmp_path):
    """The file that is run was changed, and what the last pass left was not."""
    sound.save(tmp_path / "bundle")
    path = tmp_path / "bundle" / "ir" / "isa.mlir"
    (name, last) = passes_of(sound)[-1]
    op = of_stage(last, plena_isa.SAddiIntOp, "lm_head/linear")[-1]
    op.properties["imm"] = IntegerAttr(op.imm.value.data + 64, op.imm.type)
    path.write_text(located_text(last) + "\n")
    assert passes_of_bundle(tmp_path / "bundle")[-1][0] == f"isa.mlir (changed after {name})"
    program = replace(sound, stages={**sound.stages, "isa": last})
    found = bisect_levels(program, passes_of_bundle(tmp_path / "bundle"))
    assert found.pass_name == f"isa.mlir (changed after {name})"
    assert found.stage == "lm_head/linear"
