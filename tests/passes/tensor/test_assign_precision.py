"""assign-precision: weights are stored in the MX blocks that the image has, wherever their inputs come from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType
from xdsl.ir import Region, SSAValue

from plena_mlir.backend.image import encode_globals
from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.interface import describe
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.passes.pipelines import tile_pipeline
from plena_mlir.passes.tensor.assign_precision import AssignPrecisionPass
from plena_mlir.passes.tensor.tile_vram import Tiling, apply_tiling
from tests.tensor_programs import F32, Lowered, TensorProgram, normal, rms

SIZE = 4
"""Features of a head: half an MX block."""

UNEVEN = np.repeat([256, 1], SIZE).astype(np.float32)
"""Factors of the two heads: weights that undo them have elements of one block that round to zero beside those of the other head."""

Chain = Callable[[TensorProgram, SSAValue], pt.TensorOp]


def attended(program: TensorProgram) -> SSAValue:
    x = program.hidden(8, 16)
    q, k, v = (program.parameter(name, normal(8, 16, seed=ord(name)) / 4) for name in "qkv")
    v = program.add(pt.MulOp(program.add(pt.LinearOp(x, v)).result, program.parameter("uneven", UNEVEN))).result
    q, k = (program.add(pt.LinearOp(x, weight)).result for weight in (q, k))
    return program.add(pt.AttentionOp(q, k, v, heads=2, kv_heads=2, scale=1.0, mask_kind=pt.MaskKind.NONE)).result


def normalised(program: TensorProgram) -> SSAValue:
    x = program.add(pt.LinearOp(program.hidden(8, 16), program.parameter("up", normal(8, 16)))).result
    norm = program.add(pt.RmsNormOp(x, None, 1e-6, groups=2)).result
    return program.add(pt.MulOp(norm, program.parameter("uneven", UNEVEN))).result


CHAINS: dict[str, Chain] = {
    "relu": lambda _, x: pt.ReluOp(x),
    "maximum": lambda program, x: pt.MaximumOp(x, program.add(pt.splat(-1000.0))),
    "minimum": lambda program, x: pt.MinimumOp(program.add(pt.splat(1000.0)), x),
    "a row added in front": lambda program, x: pt.AddOp(program.parameter("row", normal(8, seed=9)), x),
    "slice": lambda _, x: pt.SliceOp(x, 0, 2, 6),
    "sum_rows": lambda _, x: pt.SumRowsOp(x, 2),
    "concat of rows": lambda _, x: pt.ConcatOp([x, x], 0),
    "concat of features": lambda _, x: pt.ConcatOp([x, x], 1),
}


def assert_golden_is_tile(program: TensorProgram, result: SSAValue, parts: int = 1) -> None:
    """Assign the precisions, split the features if asked to, and compare the two executions."""
    program.add(func.ReturnOp(result))
    main = func.FuncOp("main", FunctionType.from_lists(program.main.arg_types, [result.type]), Region(program.main))
    program.module.body.block.add_op(main)
    AssignPrecisionPass().apply(Context(), program.module)
    apply_tiling(program.module, Tiling(0, parts))

    x = normal(8, 16, seed=5)
    golden = run_tensor(program.module, [x], program.store, precision="hardware", target=program.target)[0]
    module = program.module.clone()
    for step in tile_pipeline(verify=True):
        step.apply(Context(), module)
    tile = Lowered(module, describe(module), encode_globals(module, program.store)).run(x)
    assert tile.shape == pt.shape_of(result)
    assert rms(tile - golden) <= 0.02 * rms(golden)


def undoing(features: int, outputs: int) -> F32:
    """A weight for what `UNEVEN` multiplied."""
    return normal(outputs, features, seed=4) / np.tile(UNEVEN, features // UNEVEN.size)


@pytest.mark.parametrize("source", [attended, normalised])
@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_golden_and_image_divide_a_weight_into_the_same_blocks(source: Callable[[TensorProgram], SSAValue], chain: Chain):
    program = TensorProgram("8x4x8")
    inner = program.add(chain(program, source(program))).result
    down = program.parameter("down", undoing(pt.shape_of(inner)[1], 8))
    assert_golden_is_tile(program, program.add(pt.LinearOp(inner, down)).result)


def test_parts_of_a_weight_keep_its_blocks():
    program = TensorProgram("8x4x8")
    up, down = program.parameter("up", undoing(8, 16)), program.parameter("down", normal(8, 16))
    wide = program.add(pt.ReluOp(program.add(pt.LinearOp(attended(program), up)))).result
    assert_golden_is_tile(program, program.add(pt.LinearOp(wide, down)).result, parts=2)
    assert sum(isinstance(op, pt.LinearOp) for op in program.module.walk()) == 3 + 4
