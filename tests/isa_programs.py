"""From a plena_tile test program to machine code and a run on the engine, compared with the tile interpreter."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.passes import ModulePass
from xdsl.utils.hints import isa

from plena_mlir.backend.asm_encoder import encode
from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import target_of
from plena_mlir.emulator import RunResult, run_program
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.passes.isa.fp_constants import preloaded_constants
from plena_mlir.passes.pipelines import isa_passes
from tests.tile_programs import Program

_HBM_ALIGNMENT = 64


def place_buffers(module: ModuleOp, hbm_base: int = 0) -> None:
    """Give every buffer an address, one after the other in its memory."""
    target = target_of(module)
    unit = {pt.Space.VRAM: target.vlen, pt.Space.MRAM: target.tile_elements, pt.Space.FPRAM: 1, pt.Space.INTRAM: 1}
    ends = dict.fromkeys(pt.Space, 0) | {pt.Space.HBM: hbm_base}
    for op in module.walk():
        if isinstance(op, pt.GlobalOp):
            assert isa(op.type, pt.Buffer)
            op.address = IntegerAttr(ends[pt.Space.HBM], i64)
            size = math.prod(op.type.get_shape()) * 9 // 8
            ends[pt.Space.HBM] += -(-size // _HBM_ALIGNMENT) * _HBM_ALIGNMENT
        elif isinstance(op, pt.AllocOp):
            assert isa(op.buffer.type, pt.Buffer)
            space = pt.space_of(op.buffer.type)
            op.address = IntegerAttr(ends[space], i64)
            ends[space] += -(-math.prod(op.buffer.type.get_shape()) // unit[space]) * unit[space]


def lower(module: ModuleOp, passes: Sequence[ModulePass] | None = None) -> ModuleOp:
    """A copy of a module, lowered to allocated plena_isa."""
    lowered = module.clone()
    context = Context()
    for one in isa_passes(verify=True) if passes is None else passes:
        one.apply(context, lowered)
        lowered.verify()
    return lowered


def preload(lowered: ModuleOp, fill: float = 0.0) -> NDArray[np.float32]:
    """The FP SRAM at the start of a lowered program."""
    address, values = preloaded_constants(lowered)
    return np.concatenate([np.full(address, fill, np.float32), values])


def run_lowered(program: Program, module: ModuleOp, lowered: ModuleOp, *, fill: float, ids: Sequence[int] = ()) -> RunResult:
    """Run a lowered program on the engine, with the program's HBM data where the module's addresses say."""
    segments: list[tuple[int, NDArray[np.uint8]]] = []
    for op in module.body.block.ops:
        if isinstance(op, pt.GlobalOp) and op.sym_name.data in program.data:
            data = program.data[op.sym_name.data]
            assert op.address is not None
            segments.append((op.address.value.data, np.concatenate([data.elements, data.scales])))
    return run_program(
        encode(lowered),
        program.target,
        hbm=segments,
        fpsram=preload(lowered, fill),
        intsram=np.array(ids, np.uint32),
        fill=fill,
        timing="none",
    )


def assert_same_bits(program: Program, *, ids: Sequence[int] = (), passes: Sequence[ModulePass] | None = None) -> ModuleOp:
    """Lower the program, run it on the tile interpreter and on the engine under both fills, and compare every bit of the output.

    Returns the lowered module."""
    module = program.finish()
    place_buffers(module)
    lowered = lower(module, passes)
    outputs: list[NDArray[np.float32]] = []
    for fill in (0.0, math.nan):
        expected = run_tile(module, program.data, {"ids": np.array(ids)} if ids else {}, fill=fill).output
        result = run_lowered(program, module, lowered, fill=fill, ids=ids)
        actual = output_of(module, result).reshape(expected.shape)
        np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))
        outputs.append(actual)
    np.testing.assert_array_equal(outputs[0], outputs[1])
    return lowered


def output_of(module: ModuleOp, result: RunResult) -> NDArray[np.float32]:
    """The flat elements of the buffer with role "output" after a run."""
    for op in module.walk():
        if isinstance(op, pt.AllocOp) and op.role is not None and op.role.data == "output":
            assert isa(op.buffer.type, pt.Buffer)
            assert op.address is not None
            start = op.address.value.data
            lanes = target_of(module).vlen
            return result.machine.vram_rows(start // lanes, math.prod(op.buffer.type.get_shape()) // lanes).reshape(-1)
    raise AssertionError("the program has no output")
