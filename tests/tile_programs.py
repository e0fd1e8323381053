"""Small plena_tile programs for tests: a module with a target, globals and a @main to emit into."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from xdsl.builder import Builder
from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType, ModuleOp
from xdsl.ir import Block, Region, SSAValue
from xdsl.rewriter import InsertPoint

from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import set_target
from plena_mlir.interpreters.tile import TileResult, run_tile
from plena_mlir.numerics import MXFP8_E4M3, mx_encode
from plena_mlir.passes.tile.emitter import Emitter
from plena_mlir.target import Target, load_target
from plena_mlir.target.layout import GlobalData

F32 = NDArray[np.float32]


class Program(Emitter):
    """An `Emitter` at the end of @main of a new module."""

    def __init__(self, target: str | Target = "8x4x4") -> None:
        machine = load_target(target) if isinstance(target, str) else target
        self.main = Block()
        super().__init__(machine, Builder(InsertPoint.at_end(self.main)))
        self.module = ModuleOp([])
        set_target(self.module, machine)
        self.data: dict[str, GlobalData] = {}

    def hbm(
        self,
        name: str,
        shape: tuple[int, ...],
        values: NDArray[np.float32] | None = None,
        precision: pt.Precision = pt.Precision.WEIGHT,
        role: str = "weight",
    ) -> SSAValue:
        """A global, and its data if there are values, which must be exact in MXFP8."""
        type = pt.buffer_type(pt.Space.HBM, pt.MxType(pt.PrecisionAttr(precision)), shape)
        self.module.body.block.add_op(pt.GlobalOp(name, type, role))
        if values is not None:
            elements, scales = mx_encode(np.asarray(values, np.float32).reshape(shape), MXFP8_E4M3)
            self.data[name] = GlobalData(elements.reshape(-1), scales.reshape(-1))
        return self.add(pt.GetGlobalOp(name, type)).buffer

    def load_block(self, source: SSAValue, target: SSAValue, rows: int) -> None:
        """Rows 0 .. of column block 0 of `source` [blocks, rows, VLEN] into those of `target`."""
        with self.loop(rows, step=self.target.prefetch_v_rows) as row:
            self.add(pt.LoadRowsOp(self.at(source, 0, row, 0), self.at(target, 0, row, 0)))

    def finish(self) -> ModuleOp:
        """The module, verified."""
        self.add(func.ReturnOp())
        self.module.body.block.add_op(func.FuncOp("main", FunctionType.from_lists([], []), Region(self.main)))
        self.module.verify()
        return self.module


def exact(shape: tuple[int, ...], seed: int = 0) -> F32:
    """Values whose products and sums are exact in every precision of the machine: small integers over 4."""
    return (np.random.default_rng(seed).integers(-3, 4, shape) / 4).astype(np.float32)


def run(program: Program, *, fill: float = math.nan, **inputs: object) -> TileResult:
    return run_tile(program.finish(), program.data, {name: np.asarray(value) for name, value in inputs.items()}, fill=fill)
