"""From a plena_tile test program to machine code, run on the tile interpreter, the ISA interpreter and the engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xdsl.context import Context
from xdsl.dialects.builtin import IntegerAttr, ModuleOp, i64
from xdsl.parser import Parser
from xdsl.passes import ModulePass
from xdsl.utils.hints import isa

from plena_mlir.backend.asm_encoder import encode
from plena_mlir.backend.asm_printer import print_asm
from plena_mlir.dialects import get_all_dialects
from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import set_target, target_of
from plena_mlir.emulator import RunResult, run_program
from plena_mlir.interpreters.isa import run_isa
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.passes.isa.fp_constants import preloaded_constants
from plena_mlir.passes.pipelines import isa_passes
from plena_mlir.target import load_target
from tests.tile_programs import Program

_HBM_ALIGNMENT = 64


def parse_isa(text: str, target: str = "8x4x4") -> ModuleOp:
    """A plena_isa module from text."""
    context = Context()
    for name, factory in get_all_dialects().items():
        context.register_dialect(name, factory)
    module = Parser(context, text).parse_module()
    set_target(module, load_target(target))
    module.verify()
    return module


def apply(module: ModuleOp, *passes: ModulePass) -> ModuleOp:
    """The module after some passes, verified after each."""
    for one in passes:
        one.apply(Context(), module)
        module.verify()
    return module


def assembly(module: ModuleOp) -> list[str]:
    """The lines of an allocated module."""
    return print_asm(module).splitlines()


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


@dataclass
class Execution:
    """A finished test program and what it runs on. `module` is its tile form with addresses."""

    program: Program
    module: ModuleOp
    ids: Sequence[int]

    def expected(self, fill: float) -> NDArray[np.float32]:
        """The output according to the tile interpreter."""
        inputs = {"ids": np.array(self.ids)} if self.ids else {}
        return run_tile(self.module, self.program.data, inputs, fill=fill).output

    def engine(self, lowered: ModuleOp, fill: float, *, strict: bool = True) -> NDArray[np.float32]:
        """The output of a lowered program on the engine."""
        result = run_program(
            encode(lowered),
            self.program.target,
            hbm=self._hbm(),
            timing="none",
            strict=strict,
            max_instructions=5_000_000,
            **self._srams(lowered, fill),
        )
        return self._output(result)

    def interpreter(self, lowered: ModuleOp, fill: float) -> NDArray[np.float32]:
        """The output of a plena_isa program, allocated or not, operation by operation."""
        return self._output(run_isa(lowered, hbm=self._hbm(), timing="none", strict=True, **self._srams(lowered, fill)))

    def stages(self, passes: Sequence[ModulePass]) -> Iterator[tuple[str, ModuleOp]]:
        """The module after each of the passes."""
        module = self.module.clone()
        for one in passes:
            apply(module, one)
            yield one.name, module

    def _hbm(self) -> list[tuple[int, NDArray[np.uint8]]]:
        segments: list[tuple[int, NDArray[np.uint8]]] = []
        for op in self.module.body.block.ops:
            if isinstance(op, pt.GlobalOp) and op.sym_name.data in self.program.data:
                data = self.program.data[op.sym_name.data]
                assert op.address is not None
                segments.append((op.address.value.data, np.concatenate([data.elements, data.scales])))
        return segments

    def _srams(self, lowered: ModuleOp, fill: float) -> dict[str, object]:
        address, values = preloaded_constants(lowered)
        words = np.concatenate([np.full(address, fill, np.float32), values])
        return {"fpsram": words, "intsram": np.array(self.ids, np.uint32), "fill": fill}

    def _output(self, result: RunResult) -> NDArray[np.float32]:
        for op in self.module.walk():
            if isinstance(op, pt.AllocOp) and op.role is not None and op.role.data == "output":
                assert isa(op.buffer.type, pt.Buffer)
                assert op.address is not None
                shape, lanes = op.buffer.type.get_shape(), self.program.target.vlen
                rows = result.machine.vram_rows(op.address.value.data // lanes, math.prod(shape) // lanes)
                return rows.reshape(shape)
        raise AssertionError("the program has no output")


def assert_same_bits(program: Program, *, ids: Sequence[int] = (), every_pass: bool = True, hbm_base: int = 0) -> ModuleOp:
    """Lower the program and compare every bit of its output, on the engine under both memory fills and, if `every_pass`, on the
    ISA interpreter after each pass.

    Returns the lowered module.
    """
    module = program.finish()
    place_buffers(module, hbm_base)
    execution = Execution(program, module, ids)
    expected = execution.expected(math.nan)
    np.testing.assert_array_equal(execution.expected(0.0), expected)
    assert not np.isnan(expected).any(), "the program writes NaN"
    lowered = module
    for name, lowered in execution.stages(isa_passes(verify=True)):
        if every_pass:
            actual = execution.interpreter(lowered, math.nan)
            np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32), f"after {name}")
    for fill in (0.0, math.nan):
        actual = execution.engine(lowered, fill)
        np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))
    return lowered
