"""Stages: captured alike from the tile interpreter and the machine, and checked alone against the golden."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from plena_mlir.compiler import CompiledProgram, compile_hf_model
from plena_mlir.emulator.engine import load_machine
from plena_mlir.emulator.execution import Execution
from plena_mlir.errors import ExecutionError
from plena_mlir.frontend.importer import ImportedModel, import_model
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.target import load_target
from plena_mlir.target.layout import GlobalData
from plena_mlir.verify.machine_stages import machine_stages, operations_by_pc
from plena_mlir.verify.stage_checks import check_program, check_stages
from plena_mlir.verify.stages import Occurrence, PartRows, StageTable, TileStages

LAYER = (
    "input_layernorm/rms_norm",
    "self_attn.q_proj/linear",
    "self_attn.k_proj/linear",
    "self_attn.v_proj/linear",
    "self_attn/rope",
    "self_attn/rope.1",
    "self_attn/attention/scores",
    "self_attn/attention/probabilities",
    "self_attn/attention",
    "self_attn.o_proj/linear",
    "add",
    "post_attention_layernorm/rms_norm",
    "mlp.gate_proj/linear",
    "mlp.act_fn/silu",
    "mlp.up_proj/linear",
    "mlp/mul",
    "mlp.down_proj/linear",
    "add.1",
)


@pytest.fixture(scope="module")
def model() -> ImportedModel:
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=4,
        vocab_size=20,
        max_position_embeddings=64,
    )
    return import_model(config, seq_len=11, random_weights=0)


@pytest.fixture(scope="module")
def program(model: ImportedModel) -> CompiledProgram:
    return compile_hf_model(model, target="8x4x4")


def from_tiles(program: CompiledProgram, parts: dict[Occurrence, PartRows] | None = None):
    watcher = TileStages(StageTable(program.stages["tile"]))
    run_tile(program.stages["tile"], program.weights, {"ids": program.inputs}, watcher=watcher)
    if parts is not None:
        parts.update(watcher.parts)
    return watcher.values


def from_machine(program: CompiledProgram, parts: dict[Occurrence, PartRows] | None = None):
    memories = {"hbm": program.hbm, "fpsram": program.fpsram, "intsram": program.intsram_for(program.inputs)}
    execution = Execution(load_machine(program.target, strict=True, **memories), program.machine_code, timing="none")
    return machine_stages(program.stages["isa"], execution, StageTable(program.stages["tile"]), parts=parts)


@pytest.fixture(scope="module")
def machine(program: CompiledProgram):
    """The stages of the machine and the rows of their parts; tests copy what they change."""
    parts: dict[Occurrence, PartRows] = {}
    return from_machine(program, parts), parts


def checked(program: CompiledProgram, captured, parts=None):
    return check_stages(program.stages["named"], program.inputs, program.source_model.store, captured, parts=parts)


def expected_stages(layers: int) -> list[str]:
    inside = [f"model.layers.{layer}{'/' if name.startswith('add') else '.'}{name}" for layer in range(layers) for name in LAYER]
    return ["model.embed_tokens/embedding", *inside, "model.norm/rms_norm", "lm_head/linear"]


def test_every_instruction_has_its_operation(program):
    from plena_mlir.backend.asm_printer import module_instructions
    from plena_mlir.dialects.plena_isa import LoopOp

    instructions = module_instructions(program.stages["isa"])
    operations = operations_by_pc(program.stages["isa"])
    assert len(operations) == len(instructions)
    for op, instruction in zip(operations, instructions, strict=True):
        assert isinstance(op, LoopOp) or op.mnemonic() == instruction.spec.mnemonic


def test_tiles_and_machine_leave_the_same_values_at_every_stage(program, machine):
    parts, (captured, machine_parts) = {}, machine
    tiles = from_tiles(program, parts)
    assert set(tiles) == set(captured)
    assert len(tiles) == 2 * (len(LAYER) - 2) + 3
    for occurrence, values in tiles.items():
        assert np.array_equal(values, captured[occurrence]), occurrence
        assert np.any(values)
    assert set(parts) == set(machine_parts)
    assert len(parts) == 2 * 2
    for occurrence, rows in parts.items():
        assert np.array_equal(rows.values(), machine_parts[occurrence].values()), occurrence


def test_unrolled_layers_are_told_apart(model):
    target = replace(load_target("8x4x4"), max_loop_instructions=2500)
    unrolled = compile_hf_model(model, target=target)
    assert any("unrolled" in note for note in unrolled.report.notes)
    tiles, machine = from_tiles(unrolled), from_machine(unrolled)
    assert set(tiles) == set(machine)
    assert all(np.array_equal(values, machine[occurrence]) for occurrence, values in tiles.items())


def test_every_stage_of_a_sound_program_passes(program):
    checks = check_program(program)
    assert sorted(check.stage for check in checks) == sorted(expected_stages(2))
    assert all(check.passed for check in checks), [check.failure for check in checks]
    rows, vocabulary = 11, 20
    assert checks[-1].isolated.elements == rows * vocabulary
    # Alone, a product of the same rows and the same weights keeps every bit; on rows of its own the golden drifts.
    assert checks[-1].isolated.bit_exact
    assert 0 < checks[-1].accumulated.rel_rms < 0.05


def test_blocks_of_rows_are_checked_too(model):
    whole = compile_hf_model(model, target="8x4x4")
    target = replace(load_target("8x4x4"), vector_sram_rows=whole.interface.vram_rows_peak - 8)
    blocked = compile_hf_model(model, target=target)
    assert any("blocks of 8 rows" in note for note in blocked.report.notes)
    checks = check_program(blocked)
    assert all(check.passed for check in checks), [(check.stage, check.failure) for check in checks if not check.passed]
    titles = [check.stage for check in checks]
    # One block in a loop, and the rows that are left over behind it.
    assert {"model.layers.1.mlp.gate_proj/linear (block 0)", "model.layers.1.mlp.gate_proj/linear.1"} <= set(titles)
    assert len(set(titles)) == len(titles)


def test_a_wrong_weight_is_found_at_its_own_stage_only(model):
    faulty = compile_hf_model(model, target="8x4x4")
    name = "model.layers.{}.mlp.up_proj.weight"
    data = faulty.weights[name]
    scales = data.scales.copy()
    # The first block of the second layer's weight, doubled.
    scales[scales.size // 2] += 1
    faulty.weights = {**faulty.weights, name: GlobalData(data.elements, scales)}
    failed = [check for check in check_program(faulty) if not check.passed]
    assert [check.stage for check in failed] == ["model.layers.1.mlp.up_proj/linear"]
    assert failed[0].isolated.rel_rms > 0.01


def test_a_stage_that_was_not_captured_is_not_passed_over(program, machine):
    captured = dict(machine[0])
    captured["lm_head/linear", (1,)] = captured["lm_head/linear", ()]
    checks = checked(program, captured)
    assert [check.problem for check in checks if not check.passed] == ["the machine ran it more often than the golden"]
    with pytest.raises(ExecutionError, match="no values of stages"):
        checked(program, {})


SPOILT = [
    pytest.param(lambda x: np.zeros_like(x), id="zeroed"),
    pytest.param(lambda x: np.roll(x, 1, axis=0), id="off by one row"),
    pytest.param(lambda x: np.roll(x.reshape(-1), 1).reshape(x.shape), id="off by one element"),
    pytest.param(lambda x: np.broadcast_to(x[:, :1], x.shape).copy(), id="one column everywhere"),
    pytest.param(lambda x: np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x), id="one NaN"),
]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoiled_stage_does_not_pass(program, machine, spoil):
    captured = dict(machine[0])
    key = ("model.layers.{}.mlp.gate_proj/linear", (1,))
    captured[key] = spoil(captured[key]).astype(np.float32)
    assert "model.layers.1.mlp.gate_proj/linear" in [check.stage for check in checked(program, captured) if not check.passed]


@pytest.mark.parametrize("part", ["scores", "probabilities"])
@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoiled_part_of_attention_does_not_pass(program, machine, spoil, part):
    captured, parts = machine
    key = (f"model.layers.{{}}.self_attn/attention/{part}", (1,))
    rows = PartRows(parts[key].physical_rows)
    for row in spoil(parts[key].values()):
        rows.add(row.astype(np.float32), 0, 0)
    failed = [check.stage for check in checked(program, captured, {**parts, key: rows}) if not check.passed]
    assert f"model.layers.1.self_attn/attention/{part}" in failed


def test_a_key_that_must_not_be_seen_has_to_be_hidden(program, machine):
    captured, parts = deepcopy(machine)
    # The first query's second key: only the largest score of the row matters to whoever compares probabilities.
    row = parts["model.layers.{}.self_attn/attention/scores", (0,)].rows[0]
    assert (row.astype(np.uint32) << 16).view(np.float32)[1] < -(2.0**99)
    row[1] = 0xC100
    failed = [check for check in checked(program, captured, parts) if not check.passed]
    assert failed[0].stage == "model.layers.0.self_attn/attention/scores"
    assert failed[0].problem == "1 keys that must not be seen are not hidden, first (head, query, key) (0, 0, 1)"


def test_rows_of_blocks_that_are_missing_are_a_problem(program, machine):
    captured, parts = deepcopy(machine)
    parts["model.layers.{}.self_attn/attention/probabilities", (1,)].rows.pop()
    failed = [check for check in checked(program, captured, parts) if not check.passed]
    assert [check.stage for check in failed] == ["model.layers.1.self_attn/attention/probabilities"]
    assert "rows of blocks were computed" in failed[0].problem


def test_an_attention_without_captured_rows_is_not_passed_over(program, machine):
    failed = [check for check in checked(program, machine[0], {}) if not check.passed]
    assert [check.problem for check in failed] == ["the machine left no rows of it"] * 4


class Rectified(nn.Module):
    """A relu between two linear layers that lets no element through, or some."""

    def __init__(self, bias: float, last: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)
        nn.init.constant_(self.first.bias, bias)
        nn.init.constant_(self.second.bias, last)
        if not last:
            nn.init.zeros_(self.second.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))


def test_a_stage_of_zeros_is_right_where_the_golden_is_zero_too():
    program = compile_hf_model(Rectified(-100.0, 1.0), inputs=(torch.ones(3, 8),), target="8x4x8")
    (relu,) = (check for check in check_program(program) if check.zero)
    assert "relu" in relu.stage
    assert relu.passed
    assert all(check.passed for check in check_program(program))


def test_a_result_of_zeros_is_no_evidence():
    program = compile_hf_model(Rectified(1.0, 0.0), inputs=(torch.ones(3, 8),), target="8x4x8")
    assert "shows nothing" in check_program(program)[-1].failure


def test_zeros_of_the_machine_alone_are_wrong_and_of_the_golden_alone_too():
    program = compile_hf_model(Rectified(-100.0, 1.0), inputs=(torch.ones(3, 8),), target="8x4x8")
    captured = from_machine(program)
    (relu,) = (occurrence for occurrence in captured if "relu" in occurrence[0])
    for stage, value in ((relu, 1.0), (next(iter(captured)), 0.0)):
        damaged = {**captured, stage: np.full_like(captured[stage], value)}
        checks = check_stages(program.stage("named"), program.inputs, program.source_model.store, damaged)
        (found,) = (check for check in checks if check.occurrence == stage)
        assert not found.passed
