"""Small programs in canonical plena_tensor for tests of the tile lowering, and their execution at both levels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from xdsl.builder import Builder
from xdsl.context import Context
from xdsl.dialects import arith, func, scf
from xdsl.dialects.builtin import FunctionType, IndexType, IntegerAttr, ModuleOp, TensorType, f32, i64
from xdsl.ir import Block, Operation, Region, SSAValue
from xdsl.passes import ModulePass
from xdsl.rewriter import InsertPoint

from plena_mlir.backend.image import encode_globals
from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import name_location, set_target
from plena_mlir.interface import ProgramInterface, describe
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.passes.pipelines import tile_pipeline
from plena_mlir.passes.tensor.verify_canonical import VerifyCanonicalPass
from plena_mlir.target import Target, load_target
from plena_mlir.target.layout import GlobalData

F32 = NDArray[np.float32]
Array = NDArray[Any]
Strategy = Literal["auto", "micro", "broadcast"]
OpT = TypeVar("OpT", bound=Operation)


def exact(*shape: int, seed: int = 0, largest: int = 3) -> F32:
    """Small multiples of 1/4: each is exact in MXFP8, and short sums of products are exact in bf16."""
    return (np.random.default_rng(seed).integers(-largest, largest + 1, shape) / 4).astype(np.float32)


def signs(*shape: int, seed: int = 0) -> F32:
    """-1, 0 and 1: sums of up to 256 products are exact in bf16."""
    return np.random.default_rng(seed).integers(-1, 2, shape).astype(np.float32)


def normal(*shape: int, seed: int = 0) -> F32:
    """N(0, 1), which no format of the machine holds exactly."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


class Weights:
    """A parameter store that is a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, F32] = {}

    def get(self, name: str) -> F32:
        return self.values[name]


class TensorProgram:
    """`@main` of a new module, with weights as `parameter` ops and activations quantised as assign-precision would."""

    def __init__(self, target: str | Target) -> None:
        self.target = load_target(target) if isinstance(target, str) else target
        self.module = ModuleOp([])
        set_target(self.module, self.target)
        self.main = Block()
        self.builder = Builder(InsertPoint.at_end(self.main))
        self.store = Weights()
        self.layer: SSAValue | None = None
        self.first_layer = 0
        self._number = 0

    def add(self, op: OpT) -> OpT:
        """Insert an op, with a location of its own."""
        self._number += 1
        op.location = name_location(f"{op.name.rpartition('.')[2]}.{self._number}")
        self.builder.insert(op)
        return op

    # --- arguments and weights ------------------------------------------------------------------------------------------------

    def hidden(self, rows: int, features: int) -> SSAValue:
        """Hidden states [rows, features], staged by the host."""
        argument = self.main.insert_arg(TensorType(f32, [rows, features]), len(self.main.args))
        return self.add(pt.QuantizeOp(argument, pt.QuantizeFormat.ACT)).result

    def ids(self, count: int) -> SSAValue:
        """Token ids [count]."""
        return self.main.insert_arg(TensorType(i64, [count]), len(self.main.args))

    def parameter(self, name: str, values: F32) -> SSAValue:
        """A parameter; inside `layers`, `values` [layers, ...] holds those of every layer and `name` has a `{}`."""
        if self.layer is None:
            self.store.values[name] = values
            return self.add(pt.ParameterOp(name, TensorType(f32, values.shape))).result
        for index, layer_values in enumerate(values, self.first_layer):
            self.store.values[name.format(index)] = layer_values
        return self.add(pt.ParameterOp(name, TensorType(f32, values.shape[1:]), self.layer)).result

    def weight(self, name: str, values: F32) -> SSAValue:
        """A weight of a linear layer, one MX tensor."""
        return self.add(pt.QuantizeOp(self.parameter(name, values), pt.QuantizeFormat.WEIGHT)).result

    def table(self, name: str, values: F32) -> SSAValue:
        """A constant that must be exact: two MX tensors."""
        return self.add(pt.QuantizeOp(self.parameter(name, values), pt.QuantizeFormat.EXACT, 2)).result

    # --- activations ----------------------------------------------------------------------------------------------------------

    def linear(self, x: SSAValue, name: str, weight: F32, bias: F32 | None = None) -> SSAValue:
        w = self.weight(f"{name}.weight", weight)
        return self.add(pt.LinearOp(x, w, None if bias is None else self.table(f"{name}.bias", bias))).result

    def attention(
        self,
        q: SSAValue,
        k: SSAValue,
        v: SSAValue,
        heads: int,
        kv_heads: int,
        mask_kind: pt.MaskKind = pt.MaskKind.CAUSAL,
        window: int | None = None,
    ) -> SSAValue:
        keys, values = (self.add(pt.QuantizeOp(value, pt.QuantizeFormat.KV)).result for value in (k, v))
        return self.add(
            pt.AttentionOp(q, keys, values, heads=heads, kv_heads=kv_heads, scale=1.0, mask_kind=mask_kind, window=window)
        ).result

    @contextmanager
    def layers(self, count: int, *carried: SSAValue, first: int = 0):
        """A loop over layers `first` .. `first + count - 1`: gives (carried values inside, function that ends the loop)."""
        bounds = [arith.ConstantOp(IntegerAttr(value, IndexType())) for value in (first, first + count, 1)]
        for bound in bounds:
            self.add(bound)
        block = Block(arg_types=[IndexType(), *(value.type for value in carried)])
        outer, results = self.builder.insertion_point, list[SSAValue]()
        self.builder.insertion_point = InsertPoint.at_end(block)
        self.layer, self.first_layer = block.args[0], first

        def end(*values: SSAValue) -> list[SSAValue]:
            self.add(scf.YieldOp(*values))
            self.builder.insertion_point = outer
            self.layer = None
            results.extend(self.add(scf.ForOp(*bounds, list(carried), Region(block))).results)
            return results

        yield block.args[1:], end

    def finish(self, result: SSAValue) -> ModuleOp:
        """The module, verified and in canonical form."""
        self.add(func.ReturnOp(result))
        type = FunctionType.from_lists(self.main.arg_types, [result.type])
        self.module.body.block.add_op(func.FuncOp("main", type, Region(self.main)))
        self.module.verify()
        VerifyCanonicalPass().apply(Context(), self.module)
        return self.module


@dataclass(frozen=True)
class Lowered:
    """A program at the tile level."""

    module: ModuleOp
    interface: ProgramInterface
    data: Mapping[str, GlobalData]

    def run(self, inputs: Array, fill: float = 0.0) -> F32:
        """The output [rows, features]."""
        key = "input" if self.interface.staged else "ids"
        return self.interface.output.unpack(run_tile(self.module, self.data, {key: inputs}, fill=fill).output)


@dataclass(frozen=True)
class Outcome:
    """The output of one program by three executions, [rows, features] each."""

    tile: F32
    hardware: F32
    fp32: F32

    @property
    def error(self) -> float:
        """Relative RMS of the tile level against the hardware golden."""
        return rms(self.tile - self.hardware) / rms(self.hardware)

    @property
    def cost(self) -> float:
        """Relative RMS of the tile level against float32: what the formats cost."""
        return rms(self.tile - self.fp32) / rms(self.fp32)


def rms(values: F32) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def lower(
    program: TensorProgram, result: SSAValue, strategy: Strategy = "auto", passes: Sequence[ModulePass] | None = None
) -> Lowered:
    """Through the tile pipeline, every pass verified, with the memory plan checked."""
    module = program.finish(result).clone()
    for step in tile_pipeline(strategy=strategy, verify=True) if passes is None else passes:
        step.apply(Context(), module)
        module.verify()
    return Lowered(module, describe(module), encode_globals(module, program.store))


def execute(program: TensorProgram, result: SSAValue, inputs: Array, strategy: Strategy = "auto") -> Outcome:
    """Run a program at the tensor and at the tile level; what memory holds at the start must not matter."""
    lowered = lower(program, result, strategy)
    tile, poisoned = (lowered.run(inputs, fill) for fill in (0.0, math.nan))
    np.testing.assert_array_equal(tile, poisoned)
    hardware, fp32 = (
        run_tensor(program.module, [inputs], program.store, precision=precision, target=program.target)[0]
        for precision in ("hardware", "fp32")
    )
    assert np.isfinite(tile).all()
    assert rms(fp32) > 0
    return Outcome(tile, hardware, fp32)


def assert_exact(
    build: Callable[[TensorProgram], SSAValue], target: str | Target, inputs: Array, strategy: Strategy = "auto"
) -> F32:
    """Every element of the tile level's output is the one that exact arithmetic gives; the output."""
    program = TensorProgram(target)
    outcome = execute(program, build(program), inputs, strategy)
    np.testing.assert_array_equal(outcome.tile, outcome.fp32)
    return outcome.tile
