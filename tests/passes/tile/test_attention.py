"""Attention on tiles: one, two, three and ragged blocks of keys, grouped heads, heads of any width, every kind of mask.

Most tests retrieve: each key is one of `PERIOD` codes of signs, each query asks for one code with a gain that makes the softmax a
selection. Row r then gets the mean of the values whose keys match among those it may see, exactly, and a single key too many or too
few, or a head that reads another head's keys, changes it. Codes repeat, so that hidden keys match as well as visible ones.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects.builtin import DictionaryAttr, IntegerAttr, i64
from xdsl.ir import SSAValue

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from plena_mlir.interface import MEMORY_ATTRIBUTE
from plena_mlir.passes.isa.convert_tile_to_isa import ConvertTileToIsaPass
from plena_mlir.target import Precisions, load_target
from tests.tensor_programs import Strategy, TensorProgram, exact, execute, lower, normal

TARGETS = ["8x4x4", "8x8x8", "16x4x4", "16x4x16"]
PERIOD = 11
GAIN = 64.0


def codes(kv_heads: int, size: int) -> np.ndarray:
    """[PERIOD, kv_heads * size] of signs; no two codes of a head agree."""
    values = (np.arange(PERIOD)[:, None, None] + 16 + 5 * np.arange(kv_heads)[:, None]) >> (np.arange(size) % 5) & 1
    return (2.0 * values - 1.0).astype(np.float32).reshape(PERIOD, -1)


def asked(rows: int, heads: int) -> np.ndarray:
    """The code that each row of each query head asks for: one that the row can always see."""
    draws = np.random.default_rng(7).integers(0, 1 << 20, (rows, heads))
    return draws % np.minimum(np.arange(rows) + 1, PERIOD)[:, None]


def retrieval(
    program: TensorProgram, rows: int, heads: int, kv_heads: int, size: int, visible: np.ndarray, **options
) -> tuple[tuple[SSAValue, np.ndarray], np.ndarray]:
    """Attention whose rows retrieve, its inputs, and the exact result when row r sees the keys `visible[r]`."""
    k, v = codes(kv_heads, size)[np.arange(rows) % PERIOD], exact(rows, kv_heads * size, seed=3)
    wanted = asked(rows, heads)
    group = heads // kv_heads
    q = np.concatenate(
        [GAIN * codes(kv_heads, size).reshape(PERIOD, kv_heads, size)[wanted[:, h], h // group] for h in range(heads)], axis=1
    )
    # Each part begins a block of 8, so that its values share no scale with those of another.
    values = np.concatenate([np.pad(part, ((0, 0), (0, -part.shape[1] % 8))) for part in (k, v, q)], axis=1)
    x = program.hidden(*values.shape)
    parts: list[SSAValue] = []
    start = 0
    for name, part in (("k", k), ("v", v), ("q", q)):
        parts.append(program.linear(x, name, np.eye(values.shape[1], dtype=np.float32)[start : start + part.shape[1]]))
        start += -(-part.shape[1] // 8) * 8
    result = program.attention(parts[2], parts[0], parts[1], heads, kv_heads, **options)
    expected = np.zeros((rows, heads, size))
    for h in range(heads):
        match = visible & (np.arange(rows)[None, :] % PERIOD == wanted[:, h, None])
        assert match.any(axis=1).all()
        expected[:, h] = match @ v.reshape(rows, kv_heads, size)[:, h // group] / match.sum(axis=1, keepdims=True)
    return (result, values), expected.reshape(rows, -1)


def check(target: str, visible: np.ndarray, heads: int, kv_heads: int, size: int, strategy: Strategy = "auto", **options) -> None:
    program = TensorProgram(target)
    (result, inputs), expected = retrieval(program, visible.shape[0], heads, kv_heads, size, visible, **options)
    outcome = execute(program, result, inputs, strategy)
    # exp stops at -88, so that a hidden key weighs 6e-39.
    np.testing.assert_allclose(outcome.tile, expected, rtol=0, atol=1e-36)


def causal(rows: int) -> np.ndarray:
    return np.tri(rows, dtype=bool)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [1, 7, 8, 17, 22])
def test_causal_rows_see_what_came_before(target, rows) -> None:
    """From one ragged block to three blocks of keys."""
    check(target, causal(rows), heads=2, kv_heads=1, size=8)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("strategy", ["micro", "broadcast"])
def test_both_strategies(target, strategy) -> None:
    check(target, causal(18), heads=2, kv_heads=2, size=8, strategy=strategy)


@pytest.mark.parametrize(("heads", "kv_heads"), [(1, 1), (3, 3), (4, 2), (6, 2), (3, 1)])
def test_query_heads_read_the_keys_of_their_group(heads, kv_heads) -> None:
    check("8x4x4", causal(9), heads, kv_heads, size=8)


@pytest.mark.parametrize("target", ["8x4x4", "8x8x8", "16x4x4"])
@pytest.mark.parametrize("size", [5, 16, 20])
@pytest.mark.parametrize("rows", [5, 18])
def test_heads_narrower_and_wider_than_a_tile(target, size, rows) -> None:
    check(target, causal(rows), heads=2, kv_heads=1, size=size)


@pytest.mark.parametrize("target", ["8x4x4", "16x4x4"])
@pytest.mark.parametrize("rows", [5, 8, 18])
def test_without_a_mask_every_row_sees_every_key_and_no_padding(target, rows) -> None:
    check(target, np.ones((rows, rows), bool), heads=2, kv_heads=1, size=8, mask_kind=pt.MaskKind.NONE)


@pytest.mark.parametrize("target", ["8x4x4", "16x4x4"])
@pytest.mark.parametrize("window", [11, 13, 17, 40])
def test_a_sliding_window_forgets(target, window) -> None:
    """Windows wider than PERIOD always hold a match."""
    visible = causal(22) & ~np.tri(22, k=-window, dtype=bool)
    check(target, visible, heads=2, kv_heads=1, size=8, mask_kind=pt.MaskKind.SLIDING, window=window)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rows", [6, 21])
def test_random_values_stay_close_to_the_golden(target, rows) -> None:
    program = TensorProgram(target)
    x = program.hidden(rows, 24)
    q, k, v = (
        program.linear(x, name, normal(size, 24, seed=seed) / 5)
        for seed, (name, size) in enumerate((("q", 32), ("k", 16), ("v", 16)))
    )
    outcome = execute(program, program.attention(q, k, v, 4, 2), normal(rows, 24))
    assert outcome.error <= 0.01
    assert outcome.cost <= 0.15


@pytest.mark.parametrize("rows", [6, 21])
def test_scores_of_any_size_are_safe(rows) -> None:
    """Far beyond what exp takes: nothing overflows, nothing is lost."""
    program = TensorProgram("8x4x4")
    x = program.hidden(rows, 8)
    q = program.linear(x, "q", 1024 * np.eye(8, dtype=np.float32))
    outcome = execute(program, program.attention(q, x, x, 1, 1), exact(rows, 8))
    assert outcome.error <= 0.004


def test_a_scale_that_was_not_folded_is_refused() -> None:
    program = TensorProgram("8x4x4")
    x = program.hidden(4, 8)
    cache = program.add(pt.QuantizeOp(x, pt.QuantizeFormat.KV)).result
    op = pt.AttentionOp(x, cache, cache, heads=1, kv_heads=1, scale=0.5, mask_kind=pt.MaskKind.CAUSAL)
    with pytest.raises(LoweringError, match=r"scale 0\.5 is left over .*fold-attention-scale"):
        lower(program, program.add(op).result)


def test_caches_that_are_read_in_another_format_are_refused() -> None:
    program = TensorProgram(replace(load_target("8x4x4"), precisions=Precisions(m_kv="mxfp8_e5m2")))
    x = program.hidden(4, 8)
    with pytest.raises(LoweringError, match="writes keys and values as mxfp8_e4m3 and reads them back as mxfp8_e5m2"):
        lower(program, program.attention(x, x, x, 1, 1))


def test_caches_of_another_format() -> None:
    program = TensorProgram(replace(load_target("8x4x4"), precisions=Precisions(m_kv="mxfp8_e5m2", v_kv="mxfp8_e5m2")))
    x = program.hidden(12, 8)
    outcome = execute(program, program.attention(x, x, x, 1, 1), normal(12, 8))
    assert outcome.error <= 0.01
    assert 0.05 <= outcome.cost <= 0.2


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("rows", "mask_kind", "window"), [(7, pt.MaskKind.CAUSAL, None), (20, pt.MaskKind.SLIDING, 5)])
def test_sinks_take_their_share_of_the_softmax(target: str, rows: int, mask_kind: pt.MaskKind, window: int | None) -> None:
    """Every head has a sink of its own: far below all scores, far above them, and among them."""
    heads, sinks = 3, np.array([-30.0, 30.0, 0.5], np.float32)
    program = TensorProgram(target)
    x = program.hidden(rows, 24)
    q, k, v = (program.linear(x, name, normal(24, 24, seed=seed)) for seed, name in enumerate("qkv"))
    keys, values = (program.add(pt.QuantizeOp(value, pt.QuantizeFormat.KV)).result for value in (k, v))
    table = program.table("sinks", sinks)
    attention = pt.AttentionOp(
        q, keys, values, heads=heads, kv_heads=heads, scale=1.0, mask_kind=mask_kind, window=window, sinks=table
    )
    outcome = execute(program, program.add(attention).result, normal(rows, 24) / 4)
    assert outcome.error <= 0.03
    by_head = np.abs(outcome.tile.reshape(rows, heads, 8)).max((0, 2))
    assert by_head[1] < 1e-6
    assert min(by_head[0], by_head[2]) > 0.3


@pytest.mark.parametrize(("edge", "fits"), [(504, True), (512, False)])
def test_running_maxima_and_sums_may_take_all_words_that_constants_leave(edge: int, fits: bool):
    # Two words for each row of a block: 1,008 and 1,024 of 1,024.
    program = TensorProgram(f"{edge}x8x{edge}")
    parts = [program.linear(program.hidden(edge + 1, 8), name, normal(8, 8)) for name in "qkv"]
    module = lower(program, program.attention(*parts, 1, 1)).module
    memory = module.attributes[MEMORY_ATTRIBUTE]
    assert isinstance(memory, DictionaryAttr)
    assert memory.data["fpram_words"] == IntegerAttr(2 * edge, i64)
    with nullcontext() if fits else pytest.raises(LoweringError, match="FP SRAM has 1024 words"):
        ConvertTileToIsaPass().apply(Context(), module)
