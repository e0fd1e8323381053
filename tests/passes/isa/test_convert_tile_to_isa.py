"""convert-tile-to-isa and what follows: tile programs give the same bits on the tile interpreter and on the engine."""

from __future__ import annotations

import numpy as np

from plena_mlir.dialects import plena_tile as pt
from tests.isa_programs import assert_same_bits
from tests.tile_programs import Program


def exact(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).integers(-3, 4, shape) / 4).astype(np.float32)


def test_rows_in_three_nested_loops() -> None:
    program = Program()
    source = program.hbm("x", (4, 8, 8), exact((4, 8, 8)), pt.Precision.ACT)
    x, out = program.rows(4, 8), program.rows(8, 8, "output")
    with program.loop(4) as block, program.loop(8, step=4) as row:
        program.add(pt.LoadRowsOp(program.at(source, block, row, 0), program.at(x, block, row, 0)))
    with program.loop(2) as i, program.loop(4) as j, program.loop(8) as k:
        program.add(
            pt.RowBinaryOp(pt.RowBinary.ADD, program.at(out, i * 4 + j, k, 0), program.at(x, j, k, 0), program.at(x, i, k, 0))
        )
    assert_same_bits(program)
