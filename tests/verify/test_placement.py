"""The validators of transfers, of rolled layers and of the HBM image: they accept what the compiler makes, and no mutant of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from xdsl.dialects import arith, scf
from xdsl.dialects.builtin import AffineMapAttr, IndexType, IntegerAttr, ModuleOp, i64
from xdsl.ir import Operation
from xdsl.ir.affine import AffineExpr, AffineMap

from plena_mlir.backend.image import encode_globals
from plena_mlir.compiler import CompiledProgram, compile_hf_model
from plena_mlir.dialects import plena_isa, plena_tile
from plena_mlir.errors import ImageError, LoweringError
from plena_mlir.target import load_target
from plena_mlir.target.layout import GlobalData
from plena_mlir.verify.image_layout import check_image
from plena_mlir.verify.layer_reads import check_layer_reads
from plena_mlir.verify.transfer_registers import check_transfer_registers
from plena_mlir.verify.transfers import check_transfers
from tests.tile_programs import Program
from tests.verify.test_pass_checks import tiny

UP = "model.layers.{}.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def program() -> CompiledProgram:
    """Biases, and features that fill no block, on a machine that fetches a tile and a half; checked as it is made."""
    model = tiny(9, hidden_size=12, intermediate_size=20, head_dim=6, attention_bias=True)
    target = replace(load_target("8x4x4"), prefetch_m_rows=12)
    return compile_hf_model(model, target=target, verify=True)


def first(module: ModuleOp, kind: type, place: str = "") -> object:
    return next(op for op in module.walk() if isinstance(op, kind) and place in str(op.location))


def shifted(module: ModuleOp, kind: type, operand: int, by: int) -> None:
    """Move a place of the first operation of a kind by some elements of its last dimension."""
    at = first(module, kind).operands[operand].owner
    *outer, last = at.map.data.results
    at.map = AffineMapAttr(AffineMap(at.map.data.num_dims, 0, (*outer, last + by)))


@pytest.mark.parametrize(
    ("kind", "operand", "by", "message"),
    [
        (plena_tile.LoadMatrixOp, 0, -8, "outside its tensor"),
        (plena_tile.LoadMatrixOp, 0, 1 << 20, "outside its tensor"),
        (plena_tile.LoadMatrixOp, 0, 4, "inside a block of 8"),
        (plena_tile.LoadMatrixOp, 1, 1 << 20, "exceeds its buffer"),
        (plena_tile.LoadMatrixOp, 1, 3, "does not start at a row"),
        (plena_tile.LoadRowsOp, 0, 1 << 20, "outside its tensor"),
        (plena_tile.LoadRowsOp, 1, -8, "exceeds its buffer"),
        (plena_tile.StoreRowsOp, 1, -8, "outside its tensor"),
        (plena_tile.StoreRowsOp, 0, 4, "does not start at a row"),
    ],
)
def test_a_transfer_to_another_place_is_found(program, kind, operand, by, message):
    module = program.stage("tile").clone()
    shifted(module, kind, operand, by)
    with pytest.raises(LoweringError, match=message):
        check_transfers(module)


def test_the_last_iteration_counts_too(program):
    """A stride of one tile too many stays inside the tensor until the loops are nearly over."""
    module = program.stage("tile").clone()
    at = first(module, plena_tile.LoadMatrixOp, "up_proj").operands[0].owner
    *outer, output, tiles, row, lane = at.map.data.results
    at.map = AffineMapAttr(AffineMap(at.map.data.num_dims, 0, (*outer, output + 1, tiles, row, lane)))
    with pytest.raises(LoweringError, match=r"outside its tensor.*in \d+ of \d+ iterations"):
        check_transfers(module)


def test_scales_in_two_blocks_are_found():
    """Rows of 24 lanes without a gap: the three scale bytes of row 21 start one byte before the end of a block."""
    program = Program("24x4x8")
    tensor, rows = program.hbm("x", (32, 24)), program.rows(1, 32)
    with program.loop(32) as row:
        program.add(plena_tile.LoadRowsOp(program.at(tensor, row, 0), program.at(rows, 0, 0, 0)))
    module = program.finish()
    (tensor_op,) = (op for op in module.body.block.ops if isinstance(op, plena_tile.GlobalOp))
    tensor_op.properties["address"] = IntegerAttr(0, i64)
    with pytest.raises(LoweringError, match=r"two blocks of 64 bytes: x, element 504, in 1 of 32 iterations"):
        check_transfers(module)


def always_the_first_layer(expressions: list[AffineExpr]) -> None:
    expressions[0] = AffineExpr.constant(0)


def layers_backwards(expressions: list[AffineExpr]) -> None:
    expressions[0] = expressions[0] * -1 + 1


def one_layer_further(expressions: list[AffineExpr]) -> None:
    expressions[0] = expressions[0] + 1


def stride_of_a_layer_and_a_tile(expressions: list[AffineExpr]) -> None:
    expressions[2] = expressions[2] + expressions[0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (always_the_first_layer, "iteration 1 of the loop over layers reads layer 0"),
        (layers_backwards, "iteration 0 of the loop over layers reads layer 1"),
        (one_layer_further, "iteration 0 of the loop over layers reads layer 1"),
        (stride_of_a_layer_and_a_tile, "iteration 1 of the loop over layers reads layer 2"),
    ],
)
def test_an_iteration_that_reads_another_layer_is_found(program, spoil: Callable[[list[AffineExpr]], None], message):
    module = program.stage("tile").clone()
    view = first(module, plena_tile.LoadMatrixOp, "up_proj").operands[0].owner.source.owner
    expressions = list(view.map.data.results)
    spoil(expressions)
    view.map = AffineMapAttr(AffineMap(view.map.data.num_dims, 0, tuple(expressions)))
    with pytest.raises(LoweringError, match=f"up_proj: {message}"):
        check_layer_reads(program.stage("imported"), module)


def loops_around(op: Operation) -> list[scf.ForOp]:
    """From the innermost out."""
    loops: list[scf.ForOp] = []
    while isinstance(op := op.parent_op(), scf.ForOp):
        loops.append(op)
    return loops


def test_an_iteration_that_reads_less_of_its_layer_is_found(program):
    module = program.stage("tile").clone()
    inner, *_, outer = loops_around(first(module, plena_tile.LoadMatrixOp, "up_proj"))
    inner.operands[0] = outer.body.block.args[0]
    with pytest.raises(LoweringError, match="up_proj: layers 0 and 1 read different elements"):
        check_layer_reads(program.stage("imported"), module)


@pytest.mark.parametrize(("lower", "upper", "layer"), [(0, 1, 1), (1, 2, 0)])
def test_a_loop_of_one_iteration_too_few_is_found(program, lower, upper, layer):
    module = program.stage("tile").clone()
    loop = loops_around(first(module, plena_tile.LoadMatrixOp, "up_proj"))[-1]
    for bound, value in ((0, lower), (1, upper)):
        constant = arith.ConstantOp.from_int_and_width(value, IndexType())
        loop.parent.insert_op_before(constant, loop)
        loop.operands[bound] = constant.result
    with pytest.raises(LoweringError, match=rf"no iteration reads model.layers.{layer}\..*1 layers are left out"):
        check_layer_reads(program.stage("imported"), module)


def test_loops_that_start_behind_the_first_layer_are_read_as_such():
    class Layer(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + torch.relu(super().forward(x))

    # The first layer reads the input, which the host arranges for each reader: another program than that of the two others.
    model = torch.nn.Sequential(OrderedDict(layers=torch.nn.Sequential(*(Layer(8, 8) for _ in range(3)))))
    program = compile_hf_model(model, target="8x4x8", inputs=torch.zeros(1, 8, 8), compile_to="tile", verify=True)
    (loop,) = (op for op in program.stage("tensor").walk() if isinstance(op, scf.ForOp))
    assert loop.lb.owner.value.value.data == 1
    module = program.stage("tile").clone()
    loop = loops_around(first(module, plena_tile.LoadMatrixOp, "{}"))[-1]
    loop.operands[1] = loop.operands[2]
    with pytest.raises(LoweringError, match=r"no iteration reads layers\.2\..*1 layers are left out"):
        check_layer_reads(program.stage("imported"), module)


def other_scale_register(module: ModuleOp) -> None:
    op = first(module, plena_isa.CSetScaleRegOp)
    op.operands[0] = first(module, plena_isa.GetGpOp).rd


def other_stride_flag(module: ModuleOp) -> None:
    op = first(module, plena_isa.HPrefetchMOp)
    op.stride = IntegerAttr(1 - op.stride.value.data, op.stride.type)


def other_base(module: ModuleOp) -> None:
    op = first(module, plena_isa.CSetAddrRegOp)
    op.operands[0], op.operands[1] = op.operands[1], op.operands[0]


@pytest.mark.parametrize("spoil", [other_scale_register, other_stride_flag, other_base])
def test_a_transfer_with_other_registers_is_found(program, spoil: Callable[[ModuleOp], None]):
    module = program.stage("isa").clone()
    check_transfer_registers(program.stage("tile"), module)
    spoil(module)
    with pytest.raises(LoweringError, match=r"H_\w+ (has base|reads a base)"):
        check_transfer_registers(program.stage("tile"), module)


def swapped_tiles(elements: np.ndarray, scales: np.ndarray) -> None:
    elements[:64], elements[64:128] = elements[64:128].copy(), elements[:64].copy()


def one_row_further(elements: np.ndarray, scales: np.ndarray) -> None:
    elements[:] = np.roll(elements, 8)


def transposed_tile(elements: np.ndarray, scales: np.ndarray) -> None:
    elements[:64] = elements[:64].reshape(8, 8).T.reshape(-1)


def one_scale_more(elements: np.ndarray, scales: np.ndarray) -> None:
    scales[scales.size // 2] += 1


def zeroed(elements: np.ndarray, scales: np.ndarray) -> None:
    elements[:] = 0


def second_layer_is_the_first(elements: np.ndarray, scales: np.ndarray) -> None:
    half = elements.size // 2
    elements[half:], scales[half // 8 :] = elements[:half], scales[: half // 8]


@pytest.mark.parametrize(
    "spoil", [swapped_tiles, one_row_further, transposed_tile, one_scale_more, zeroed, second_layer_is_the_first]
)
def test_an_image_that_holds_something_else_is_found(program, spoil):
    module, store = program.stage("tile"), program.source_model.store
    data = encode_globals(module, store)
    found = data[UP].copy()
    spoil(found.elements, found.scales)
    with pytest.raises(ImageError, match=r"up_proj.weight, layer \d: element"):
        check_image(module, {**data, UP: found}, store)


def test_a_tensor_of_another_size_is_found(program):
    module, store = program.stage("tile"), program.source_model.store
    data = encode_globals(module, store)
    short = GlobalData(data[UP].elements[:-8], data[UP].scales[:-1])
    with pytest.raises(ImageError, match="elements and"):
        check_image(module, {**data, UP: short}, store)
    with pytest.raises(ImageError, match="does not hold it"):
        check_image(module, {name: found for name, found in data.items() if name != UP}, store)
