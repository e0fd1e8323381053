"""tile-vram: programs that exceed Vector SRAM are cut until they fit, and still compute the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from transformers import LlamaConfig, Qwen3Config
from xdsl.context import Context
from xdsl.dialects import func
from xdsl.ir import SSAValue

from plena_mlir.backend.image import encode_globals
from plena_mlir.compiler import compile_hf_model
from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path, set_target
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.errors import LoweringError, MemoryTooSmallError
from plena_mlir.frontend import import_model
from plena_mlir.frontend.importer import ImportedModel
from plena_mlir.interface import describe
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.passes.pipelines import tensor_pipeline, tile_pipeline
from plena_mlir.passes.tensor.row_blocks import ROW_BLOCKS_ATTRIBUTE, tile_rows
from plena_mlir.passes.tensor.tile_vram import TileVramPass, Tiling, apply_tiling
from plena_mlir.passes.tile.lower import lower_to_tiles
from plena_mlir.target import load_target
from plena_mlir.verify.bounds import broken_bounds
from tests.families.families import FAMILIES
from tests.tensor_programs import Lowered, TensorProgram, exact, lower, signs

CONFIG = LlamaConfig(
    hidden_size=48,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=8,
    vocab_size=100,
    max_position_embeddings=64,
)


def canonical(seq_len: int) -> ImportedModel:
    imported = import_model(CONFIG, seq_len=seq_len, scope="decoder", random_weights=0)
    set_target(imported.module, load_target("16x4x16"))
    for step in tensor_pipeline(imported.store):
        step.apply(Context(), imported.module)
    return imported


@pytest.mark.parametrize("seq_len", [32, 40])
@pytest.mark.parametrize("tiling", [Tiling(16, 1), Tiling(16, 2), Tiling(0, 4)], ids=str)
def test_a_tiled_program_computes_the_same(seq_len: int, tiling: Tiling):
    imported = canonical(seq_len)
    inputs = [imported.sample_inputs(0)]
    before = run_tensor(imported.module, inputs, imported.store)[0]
    apply_tiling(imported.module, tiling)
    imported.module.verify()
    after = run_tensor(imported.module, inputs, imported.store)[0]
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()


def test_whole_rows_round_alike_in_blocks():
    imported = canonical(40)
    inputs = [imported.sample_inputs(0)]
    before = run_tensor(imported.module, inputs, imported.store, precision="hardware")[0]
    apply_tiling(imported.module, Tiling(16, 1))
    after = run_tensor(imported.module, inputs, imported.store, precision="hardware")[0]
    # torch sums blocks of another height in another order, so that single values round to their neighbours.
    assert np.sqrt(np.mean((after - before) ** 2) / np.mean(before**2)) <= 0.02


@pytest.mark.parametrize(
    ("rows", "note"),
    [(600, "blocks of 16 rows"), (500, "blocks of 16 rows, intermediate features in 2 parts")],
)
def test_a_program_is_cut_until_it_fits(rows: int, note: str):
    target = replace(load_target("16x4x16"), vector_sram_rows=rows)
    program = compile_hf_model(CONFIG, target=target, seq_len=40, scope="decoder", random_weights=0, verify=True)
    assert f"Vector SRAM of {rows} rows: {note}" in program.report.notes
    report = program.run(compare=("hf", "golden", "tile")).report
    assert report.vram_rows_peak is not None
    assert report.vram_rows_peak <= rows
    assert report.comparisons["tile_vs_emulator"].bit_exact
    assert not broken_bounds(report.comparisons, layers=2)


@pytest.mark.slow
def test_the_last_row_is_taken_from_the_blocks():
    target = replace(load_target("16x4x16"), vector_sram_rows=700)
    program = compile_hf_model(CONFIG, target=target, seq_len=40, logits="last", random_weights=0)
    assert [note for note in program.report.notes if "blocks of 16 rows" in note]
    report = program.run(compare=("hf", "golden", "tile")).report
    assert report.comparisons["tile_vs_emulator"].bit_exact
    assert report.comparisons["golden_vs_emulator"].rel_rms <= 0.05


@pytest.mark.slow
def test_blocks_do_not_overwrite_the_keys_that_later_blocks_of_the_layer_before_read():
    # Layers that differ are not rolled: one loop over blocks computes the attention of a layer and the keys of the next.
    config = Qwen3Config(
        **{**CONFIG.to_dict(), "num_hidden_layers": 2, "use_sliding_window": True, "sliding_window": 8},
        layer_types=["full_attention", "sliding_attention"],
    )
    target = replace(load_target("16x4x16"), vector_sram_rows=700)
    program = compile_hf_model(config, target=target, seq_len=40, scope="decoder", random_weights=0, verify=True)
    assert [note for note in program.report.notes if "blocks of 16 rows" in note]
    report = program.run(compare=("hf", "golden", "tile")).report
    assert not broken_bounds(report.comparisons, layers=2)


def test_each_block_of_queries_reads_its_rows_of_an_explicit_mask():
    # Windows to both sides follow no rule of the machine's masks.
    (family,) = (family for family in FAMILIES if family.name == "ModernBERT")
    target = replace(load_target("16x4x16"), vector_sram_rows=700)
    program = compile_hf_model(family.config(), target=target, seq_len=40, random_weights=0, verify=True, **family.options)
    assert [note for note in program.report.notes if "blocks of 16 rows" in note]
    report = program.run(compare=("hf", "golden", "tile")).report
    assert not broken_bounds(report.comparisons, layers=2)


def test_a_program_that_fits_stays_as_it_is():
    program = compile_hf_model(CONFIG, target="16x4x16", seq_len=40, scope="decoder", random_weights=0)
    assert not [note for note in program.report.notes if "Vector SRAM" in note]


def test_what_cannot_fit_is_refused_with_the_shortfall():
    target = replace(load_target("16x4x16"), vector_sram_rows=200)
    with pytest.raises(LoweringError, match=r"needs [\d,]+ rows, the target has 200"):
        compile_hf_model(CONFIG, target=target, seq_len=40, scope="decoder", random_weights=0)


# --- tables of one row per position ---------------------------------------------------------------------------------------------


Reader = Callable[[SSAValue, SSAValue], pt.TensorOp]
READERS: dict[str, Reader] = {
    "add": pt.AddOp,
    "sub": pt.SubOp,
    "mul": lambda x, table: pt.MulOp(table, x),
    "concat": lambda x, table: pt.ConcatOp([x, table], 1),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_each_block_reads_its_rows_of_a_table(reader: Reader):
    program = TensorProgram("8x4x8")
    x = program.linear(program.hidden(20, 8), "a", signs(8, 8))
    inner = program.add(reader(x, program.table("table", signs(20, 8, seed=1))))
    result = program.linear(inner.result, "b", signs(8, shape_of(inner.result)[1], seed=2))
    module = program.finish(result)
    x = exact(20, 8, largest=1)
    before = run_tensor(module, [x], program.store)[0]
    apply_tiling(module, Tiling(8, 1))
    module.verify()
    assert any(ROW_BLOCKS_ATTRIBUTE in op.attributes for op in module.walk())
    for step in tile_pipeline(verify=True):
        step.apply(Context(), module)
    after = Lowered(module, describe(module), encode_globals(module, program.store)).run(x)
    np.testing.assert_array_equal(after, before)


def test_a_table_that_no_rule_divides_is_refused():
    program = TensorProgram("8x4x8")
    table = program.table("table", signs(20, 8))
    mask = program.add(pt.ReluOp(program.linear(program.hidden(20, 8), "a", signs(8, 8)))).result
    result = program.add(pt.WhereOp(mask, table, table)).result
    main = program.main
    main.add_op(func.ReturnOp(result))
    with pytest.raises(LoweringError, match=r"plena_tensor.where reads a weight of shape \(20, 8\)"):
        tile_rows(main, 20, 8)


def test_a_table_that_differs_by_layer_is_not_read_in_blocks():
    # Three layers, three blocks: neither number may be taken for the other.
    program = TensorProgram("8x4x8")
    with program.layers(3, program.linear(program.hidden(24, 8), "a", signs(8, 8))) as ((x,), end):
        table = program.add(pt.QuantizeOp(program.parameter("{}.table", signs(3, 24, 8)), pt.QuantizeFormat.EXACT)).result
        (result,) = end(program.add(pt.AddOp(x, table)).result)
    module = program.finish(result)
    tiled = module.clone()
    apply_tiling(tiled, Tiling(8, 1))
    with pytest.raises(LoweringError, match=r"\{\}\.table differs by layer"):
        lower_to_tiles(Context(), tiled)
    # So the pass asks for the memory of the whole.
    lower_to_tiles(Context(), whole := module.clone())
    set_target(module, replace(program.target, vector_sram_rows=describe(whole).vram_rows_peak - 1))
    with pytest.raises(MemoryTooSmallError) as refused:
        TileVramPass().apply(Context(), module)
    assert refused.value.needed == describe(whole).vram_rows_peak


# --- parts of the features ------------------------------------------------------------------------------------------------------


def mlp(width: int, vector_sram_rows: int) -> tuple[TensorProgram, SSAValue]:
    """Two products with `width` features between them, on eight rows of eight; every sum is exact in bf16."""
    program = TensorProgram(replace(load_target("8x4x8"), vector_sram_rows=vector_sram_rows))
    wide = program.linear(program.hidden(8, 8), "up", signs(width, 8, seed=1))
    active = program.add(pt.ReluOp(wide)).result
    return program, program.linear(active, "down", signs(8, width, seed=2))


def test_the_smallest_parts_are_tried_also_where_no_power_of_two_reaches_them():
    def rows_in_parts(parts: int) -> int:
        program, result = mlp(56, 1 << 20)
        module = program.finish(result)
        apply_tiling(module, Tiling(0, parts))
        lower_to_tiles(Context(), module)
        return describe(module).vram_rows_peak

    least = rows_in_parts(7)
    assert least < rows_in_parts(4)
    program, result = mlp(56, least)
    lowered = lower(program, result, passes=(TileVramPass(), *tile_pipeline(verify=True)))
    assert lowered.interface.vram_rows_peak == least
    x = signs(8, 8)
    np.testing.assert_array_equal(lowered.run(x), run_tensor(program.module, [x], program.store)[0])
    program, result = mlp(56, least - 1)
    module = program.finish(result)
    with pytest.raises(MemoryTooSmallError) as refused:
        TileVramPass().apply(Context(), module)
    assert refused.value.needed == least


def test_what_computes_a_part_belongs_to_the_module_of_the_whole():
    program, result = mlp(32, 1 << 20)
    module = program.finish(result)
    before = {(type(op), module_path(op)) for op in module.walk() if isinstance(op, pt.TensorOp)}
    apply_tiling(module, Tiling(0, 2))
    parts = [op for op in module.walk() if isinstance(op, pt.TensorOp) and not isinstance(op, pt.AddOp | pt.SliceOp)]
    assert [type(op) for op in parts].count(pt.LinearOp) == 4
    assert {(type(op), module_path(op)) for op in parts} == before
    assert all(module_path(op) for op in module.walk() if isinstance(op, pt.AddOp | pt.SliceOp))


@pytest.mark.slow
def test_what_a_refusal_asks_for_is_enough_and_a_row_less_is_not():
    imported = import_model(CONFIG, seq_len=40, scope="decoder", random_weights=0)
    target = load_target("16x4x16")

    def rows_used(rows: int) -> int | None:
        tight = replace(target, vector_sram_rows=rows)
        return compile_hf_model(imported, target=tight, compile_to="tile").report.vram_rows_peak

    with pytest.raises(MemoryTooSmallError) as first:
        rows_used(1)
    needed = first.value.needed
    with pytest.raises(MemoryTooSmallError) as second:
        rows_used(needed - 1)
    assert second.value.needed == needed
    assert rows_used(needed) == needed
