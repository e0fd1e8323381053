"""plan-memory: buffers that are never live together share space, those that are do not, and what does not fit says why."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from xdsl.context import Context
from xdsl.dialects.builtin import DictionaryAttr, ModuleOp
from xdsl.ir import SSAValue

from plena_mlir.compiler import compile_hf_model
from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import name_location
from plena_mlir.errors import LoweringError, MemoryTooSmallError
from plena_mlir.frontend import import_model
from plena_mlir.interface import MEMORY_ATTRIBUTE
from plena_mlir.passes.tile.placement import Interval, live_at_once, peak, place
from plena_mlir.passes.tile.plan_memory import PlanMemoryPass
from plena_mlir.target import HBM_BLOCK, load_target
from plena_mlir.verify.memory import check_memory
from tests.tile_programs import Program


def plan(program: Program) -> dict[str, int]:
    """Run the pass with its validator; what the module says it occupies."""
    module = program.finish()
    PlanMemoryPass(verify=True).apply(Context(), module)
    return recorded(module)


def recorded(module: ModuleOp) -> dict[str, int]:
    attribute = module.attributes[MEMORY_ATTRIBUTE]
    assert isinstance(attribute, DictionaryAttr)
    return {key: value.value.data for key, value in attribute.data.items()}


def address(buffer: SSAValue) -> int:
    assert isinstance(buffer.owner, pt.AllocOp)
    assert buffer.owner.address is not None
    return buffer.owner.address.value.data


def touch(program: Program, *buffers: SSAValue) -> None:
    for buffer in buffers:
        program.zero_row(program.at(buffer, 0, 0, 0))


def test_buffers_that_are_never_live_together_share_rows() -> None:
    program = Program()
    buffers = [program.rows(1, 4) for _ in range(3)]
    for buffer in buffers:
        touch(program, buffer)
    assert plan(program)["vram_rows"] == 4
    assert [address(buffer) for buffer in buffers] == [0, 0, 0]


def test_a_buffer_used_in_a_loop_lives_through_all_of_it() -> None:
    program = Program()
    outer, later = program.rows(1, 4), program.rows(1, 4)
    with program.loop(2):
        touch(program, outer)
        scratch = program.rows(1, 2)
        touch(program, scratch)
    touch(program, later)
    assert plan(program)["vram_rows"] == 6
    assert address(outer) == address(later) == 0
    assert address(scratch) == 32


def test_buffers_of_one_iteration_share_rows_within_it() -> None:
    program = Program()
    with program.loop(2):
        first, second = program.rows(1, 4), program.rows(1, 4)
        touch(program, first)
        touch(program, second)
    assert plan(program)["vram_rows"] == 4


def test_accesses_through_views_count() -> None:
    program = Program()
    first, second = program.rows(2, 4), program.rows(1, 4)
    view = program.slice(first, [1, 0, 0], [1, 4, 8])
    touch(program, first, second, view)
    assert plan(program)["vram_rows"] == 12


def test_the_output_lives_to_the_end_and_token_ids_from_the_start() -> None:
    program = Program()
    out, later = program.rows(1, 4, "output"), program.rows(1, 4)
    ids, index = program.alloc(pt.Space.INTRAM, [5], "ids"), program.alloc(pt.Space.INTRAM, [3])
    touch(program, out, later)
    for buffer in (index, ids):
        program.add(pt.LoadIndexOp(program.at(buffer, 0)))
    used = plan(program)
    assert (used["vram_rows"], used["intram_words"]) == (8, 8)


def test_each_memory_counts_in_its_own_units() -> None:
    program = Program()
    program.hbm("a", (3, 8, 8))
    program.hbm("b", (8,))
    words, tiles = program.alloc(pt.Space.FPRAM, [9]), program.alloc(pt.Space.MRAM, [2, 8, 8])
    vram = program.rows(3, 4)
    program.add(pt.RowFillOp(program.at(vram, 0, 0, 0), program.at(words, 0)))
    program.add(pt.AccumulateOp(pt.Accumulator.MM, program.at(vram, 0, 0, 0), program.at(tiles, 1, 0, 0)))
    assert plan(program) == {
        "hbm_bytes": 256 + 9,
        "vram_rows": 12,
        "mram_tiles": 2,
        "fpram_words": 9,
        "intram_words": 0,
    }
    globals_ = [op for op in program.module.body.block.ops if isinstance(op, pt.GlobalOp)]
    assert [op.address.value.data for op in globals_ if op.address is not None] == [0, 256]


def test_the_plan_does_not_depend_on_an_earlier_one() -> None:
    program = Program()
    first, second = program.rows(1, 4), program.rows(1, 8)
    touch(program, first, second, first)
    used = plan(program)
    places = (address(first), address(second))
    PlanMemoryPass().apply(Context(), program.module)
    assert (recorded(program.module), address(first), address(second)) == (used, *places)


# --- refusals -------------------------------------------------------------------------------------------------------------------


def refusal(program: Program) -> str:
    with pytest.raises(LoweringError) as caught:
        plan(program)
    return str(caught.value)


def test_too_many_rows_are_refused_with_the_peak_and_the_largest_buffers() -> None:
    program = Program(replace(load_target("8x4x4"), vector_sram_rows=16))
    buffers = [program.rows(1, rows) for rows in (4, 12, 8)]
    buffers[1].owner.location = name_location("model.layers.0.mlp")  # pyright: ignore[reportAttributeAccessIssue]
    buffers[2].name_hint = "scores"
    touch(program, *buffers, *buffers)
    assert refusal(program) == (
        "target 8x4x4: Vector SRAM is too small: the program needs 24 rows, the target has 16; 24 are live at once, the largest "
        "12 rows of model.layers.0.mlp, 8 rows of scores, 4 rows of a buffer without a name "
        "(use a shorter sequence, or a target with a larger VECTOR_SRAM_SIZE)"
    )


@pytest.mark.parametrize(
    ("space", "shape", "message"),
    [
        (pt.Space.MRAM, [3, 8, 8], "Matrix SRAM is too small: the program needs 3 tiles, the target has 2"),
        (pt.Space.FPRAM, [1025], "FP SRAM is too small: the program needs 1,025 words, the target has 1,024"),
        (pt.Space.INTRAM, [2000], "INT SRAM is too small: the program needs 2,000 words, the target has 1,024"),
    ],
)
def test_every_memory_is_limited(space: pt.Space, shape: list[int], message: str) -> None:
    program = Program(replace(load_target("8x4x4"), matrix_sram_rows=16))
    program.alloc(space, shape)
    assert message in refusal(program)


def test_tensors_beyond_hbm_are_refused_by_how_much() -> None:
    program = Program(replace(load_target("8x4x4"), hbm_size=128))
    program.hbm("a", (8, 8))
    program.hbm("b", (2, 8, 8))
    assert refusal(program).startswith(
        "target 8x4x4: HBM is too small: the tensors take 272 bytes, 144 more than there are; "
        "the largest are 144 bytes of b, 72 bytes of a"
    )


def test_the_hbm_that_a_refusal_asks_for_holds_the_rows_that_a_fetch_reads_beyond_the_tensors() -> None:
    gib = 1 << 30

    def program(hbm_size: int) -> Program:
        program = Program(replace(load_target("8x4x4"), hbm_size=hbm_size, prefetch_m_rows=128))
        weights = program.hbm("a", (gib // 72, 8, 8))
        tiles = program.alloc(pt.Space.MRAM, [16, 8, 8])
        program.add(pt.LoadMatrixOp(program.at(weights, 0, 0, 0), program.at(tiles, 0, 0, 0)))
        return program

    # The tensor ends 64 bytes before the GiB does, a fetch of 16 tiles from its last one beyond it.
    refused = refusal(program(gib))
    assert "the tensors take 1,073,741,760 bytes" in refused
    assert "(--hbm-size 2G)" in refused
    assert plan(program(2 * gib))["hbm_bytes"] == gib - 64


def test_a_tensor_whose_scales_are_out_of_reach_is_refused() -> None:
    program = Program(replace(load_target("8x4x4"), hbm_size=1 << 40))
    program.hbm("a", (1 << 29, 8))
    assert "global a: it has 4,294,967,296 elements" in refusal(program)


# --- placement ------------------------------------------------------------------------------------------------------------------

INTERVALS = st.lists(
    st.builds(lambda start, length, size: Interval(start, start + length, size), *(st.integers(0, n) for n in (30, 12, 9))),
    max_size=25,
)


@given(INTERVALS)
def test_no_two_intervals_that_meet_overlap(intervals: list[Interval]) -> None:
    offsets = place(intervals)
    memory = np.full((64, peak(intervals, offsets)), -1)
    for index, (interval, offset) in enumerate(zip(intervals, offsets, strict=True)):
        taken = memory[interval.start : interval.stop + 1, offset : offset + interval.size]
        assert (taken == -1).all()
        taken[...] = index


@given(INTERVALS)
def test_the_bound_is_what_is_live_at_the_worst_point(intervals: list[Interval]) -> None:
    worst = max((sum(i.size for i in intervals if i.start <= point <= i.stop) for point in range(64)), default=0)
    assert sum(intervals[index].size for index in live_at_once(intervals)) == worst
    assert peak(intervals, place(intervals)) >= worst


@given(st.randoms(use_true_random=False))
def test_plans_of_random_programs_are_sound(random: Random) -> None:
    program = Program()

    def body(depth: int, visible: list[SSAValue]) -> None:
        for _ in range(random.randint(1, 4)):
            choice = random.random()
            if choice < 0.4:
                visible = [*visible, program.rows(1, random.randint(1, 5))]
            elif choice < 0.6 and depth < 3:
                with program.loop(2):
                    body(depth + 1, visible)
            elif visible:
                touch(program, random.choice(visible))

    body(0, [])
    body(0, [])
    module = program.finish()
    PlanMemoryPass().apply(Context(), module)
    assert check_memory(module) == []


def test_what_fetches_read_behind_the_last_tensor_lies_in_hbm_too():
    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        vocab_size=24,
        max_position_embeddings=64,
    )
    model = import_model(config, seq_len=5, scope="decoder", random_weights=0)
    machine = replace(load_target("8x4x8"), prefetch_m_rows=64)
    with pytest.raises(MemoryTooSmallError, match="fetches of whole amounts reach") as refusal:
        compile_hf_model(model, target=replace(machine, hbm_size=HBM_BLOCK), compile_to="tile")
    size = -(-refusal.value.needed // HBM_BLOCK) * HBM_BLOCK
    with pytest.raises(MemoryTooSmallError, match="HBM is too small"):
        compile_hf_model(model, target=replace(machine, hbm_size=size - HBM_BLOCK), compile_to="tile")
    outcome = compile_hf_model(model, target=replace(machine, hbm_size=size)).run(timing="none", compare=("tile",))
    assert outcome.report.comparisons["tile_vs_emulator"].bit_exact
