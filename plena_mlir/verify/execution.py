"""Run IR of any level on the same inputs, so that what a pass left can be compared with what it was given.

An `Executor` follows one program down the levels: at the tile level it learns what HBM holds and, once memory is planned, where;
that is what the ISA level, which has neither names nor shapes, runs on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation
from xdsl.utils.hints import isa

from plena_mlir.backend.asm_encoder import encode
from plena_mlir.backend.hbm_image import HbmImage
from plena_mlir.backend.staging import Inputs, arrange_inputs, arrays_of, ids_words, staged_data
from plena_mlir.dialects import plena_isa, plena_tensor, plena_tile
from plena_mlir.dialects.plena import target_of
from plena_mlir.dialects.plena_isa.registers import PlenaRegisterType, physical_index
from plena_mlir.emulator import RunResult, run_program
from plena_mlir.errors import ExecutionError
from plena_mlir.interface import ProgramInterface, describe, find_output
from plena_mlir.interpreters.isa import run_isa
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.interpreters.tile_memory import globals_of, ids_of
from plena_mlir.passes.isa.fp_constants import preloaded_constants
from plena_mlir.target import MX_BLOCK
from plena_mlir.target.layout import GlobalData

Array: TypeAlias = NDArray[Any]
F32: TypeAlias = NDArray[np.float32]

_RANDOM_HBM_BYTES = 4 << 20
_INT_WORDS = 64


class Level(Enum):
    """The dialect that a module is written in."""

    TENSOR = "tensor"
    TILE = "tile"
    ISA = "isa"


class Store(Protocol):
    """Where parameters come from, by name."""

    def get(self, name: str) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class Memories:
    """What the memories of the machine hold when a program starts: HBM, and the first words of FP SRAM and INT SRAM."""

    hbm: HbmImage
    fpsram: F32
    intsram: NDArray[np.uint32]


@dataclass(frozen=True)
class Execution:
    """What one run gave.

    Attributes:
        output: the program's output [rows, features]; without a known output, the rows of Vector SRAM up to the last written one.
        memory: the rows of Vector SRAM that the machine left; None above the ISA level.
    """

    level: Level
    output: F32
    memory: F32 | None = None


def level_of(module: ModuleOp) -> Level | None:
    """The lowest level that an operation of the module's code belongs to; None for a module without any.

    Functions that only compute weights stay at the tensor level to the end and do not count.
    """
    found: Level | None = None
    for op in module.walk():
        if isinstance(op, plena_isa.PlenaIsaInstruction):
            return Level.ISA
        if op.name.startswith("plena_tile."):
            found = Level.TILE
        elif found is None and isinstance(op, plena_tensor.TensorOp):
            found = Level.TENSOR
    return found


class Executor:
    """Runs one program at every level that it passes through.

    Args:
        inputs: token ids [S], hidden states [S, H], or whatever the program takes; None for made up ones.
        store: the parameters; without one, HBM holds made-up weights, and the tensor level cannot run.
    """

    def __init__(self, inputs: Inputs | None = None, store: Store | None = None) -> None:
        self._inputs = inputs
        self._store = store
        self._data: Mapping[str, GlobalData] = {}
        self._data_of: tuple[str, ...] = ()
        self._image: HbmImage | None = None
        self._arranged: Mapping[str, Array] = {}
        self._interface: ProgramInterface | None = None

    def can_run(self, module: ModuleOp) -> bool:
        """Whether the module is a program that can run with what is at hand, and leaves a result."""
        match level_of(module):
            case Level.TENSOR:
                return self._store is not None and self._inputs is not None
            case Level.TILE:
                return find_output(module) is not None
            case level:
                return level is Level.ISA

    def run(self, module: ModuleOp, *, hardware: bool = False) -> Execution:
        """Run a module; memories start full of NaN, so that nothing can depend on what nobody wrote.

        Args:
            hardware: at the tensor level, use the number formats and roundings of the machine instead of float32.

        Raises:
            ExecutionError: the module cannot run.
            Trap: the program did what the machine forbids.
        """
        level = level_of(module)
        match level:
            case Level.TENSOR:
                return Execution(level, self.run_tensor(module, hardware=hardware))
            case Level.TILE:
                return Execution(level, self.run_tile(module))
            case Level.ISA:
                return self._run_isa(module)
            case None:
                raise ExecutionError("the module has no code to run")

    # --- levels -----------------------------------------------------------------------------------------------------------------

    def run_tensor(self, module: ModuleOp, *, hardware: bool) -> F32:
        """The output [rows, features] of the tensor level."""
        from plena_mlir.interpreters.tensor import run_tensor

        if self._store is None or self._inputs is None:
            raise ExecutionError("the tensor level needs parameters and inputs")
        precision = "hardware" if hardware else "fp32"
        target = target_of(module) if hardware else None
        (result,) = run_tensor(module, arrays_of(self._inputs), self._store, precision=precision, target=target)
        return np.asarray(result, np.float32).reshape(-1, result.shape[-1])

    def run_tile(self, module: ModuleOp) -> F32:
        """The output [rows, features] of the tile level."""
        data = self.tile_data(module)
        result = run_tile(module, data, self.tile_inputs(module), fill=math.nan)
        place = find_output(module)
        assert place is not None
        return place.unpack(result.output.reshape(-1, result.output.shape[-1]))

    def _run_isa(self, module: ModuleOp) -> Execution:
        result = self.run_machine(module)
        memory = result.machine.vram_rows(0, result.machine.vram_rows_peak)
        if self._interface is None:
            return Execution(Level.ISA, memory, memory)
        place = self._interface.output
        rows = result.machine.vram_rows(place.address // result.machine.target.vlen, place.blocks * place.physical_rows)
        return Execution(Level.ISA, place.unpack(rows), memory)

    def run_machine(self, module: ModuleOp) -> RunResult:
        """Run a plena_isa module: a finished one as machine code, which is fast, any other operation by operation."""
        start, strict = self.memories(module), self._interface is not None
        if any(isinstance(op, plena_isa.LiOp) or not _has_registers(op) for op in module.walk()):
            return run_isa(
                module,
                hbm=start.hbm,
                fpsram=start.fpsram,
                intsram=start.intsram,
                fill=math.nan,
                timing="none",
                strict=strict,
            )
        return run_program(
            encode(module),
            target_of(module),
            hbm=start.hbm,
            fpsram=start.fpsram,
            intsram=start.intsram,
            fill=math.nan,
            timing="none",
            strict=strict,
        )

    # --- what the levels run on ---------------------------------------------------------------------------------------------------

    def tile_data(self, module: ModuleOp) -> Mapping[str, GlobalData]:
        """The bytes of the globals; remembers them, and where they lie once they have addresses."""
        described = tuple(f"{op.sym_name.data} {op.type} {op.layout} {op.init}" for op in globals_of(module))
        if described != self._data_of:
            self._data, self._data_of = self._encode(module), described
        if all(op.address is not None for op in globals_of(module)) and any(
            isinstance(op, plena_tile.AllocOp) and op.address is not None for op in module.walk()
        ):
            self._place(module)
        return self._data

    def _encode(self, module: ModuleOp) -> Mapping[str, GlobalData]:
        if self._store is not None:
            from plena_mlir.backend.image import encode_globals

            return encode_globals(module, self._store)
        data: dict[str, GlobalData] = {}
        for op in globals_of(module):
            assert isa(op.type, plena_tile.Buffer)
            count = math.prod(op.type.get_shape())
            filled = op.role.data in (plena_tile.WEIGHT, plena_tile.INPUT)
            data[op.sym_name.data] = random_data(op.sym_name.data, count) if filled else GlobalData.filled(count, 0.0)
        return data

    def tile_inputs(self, module: ModuleOp) -> dict[str, Array]:
        """The inputs as the tile interpreter takes them."""
        if self._inputs is not None:
            return {name: array for name, array in arrange_inputs(module, self._inputs).items() if name not in self._data}
        # Without a model nobody knows the vocabulary: the first two tokens exist in every one.
        return {name: np.arange(plena_tile.as_buffer(op.buffer).get_shape()[0]) % 2 for name, op in ids_of(module).items()}

    def _place(self, module: ModuleOp) -> None:
        from plena_mlir.backend.image import write_image

        self._interface = describe(module)
        data = dict(self._data)
        if self._inputs is not None:
            data |= staged_data(module, arrange_inputs(module, self._inputs))
        self._image = write_image(data, module)
        self._arranged = self.tile_inputs(module)

    def memories(self, module: ModuleOp) -> Memories:
        """What the memories hold when a plena_isa module starts."""
        address, values = preloaded_constants(module)
        fpsram = np.concatenate([np.full(address, math.nan, np.float32), values])
        if self._interface is None or self._image is None:
            # Bytes that are harmless numbers as elements and as scales: nobody knows which is which.
            content = np.random.default_rng(0).integers(0x70, 0x7D, _RANDOM_HBM_BYTES, np.uint8)
            return Memories(HbmImage(((0, content),)), fpsram, np.zeros(_INT_WORDS, np.uint32))
        return Memories(self._image, fpsram, ids_words(self._interface.ids, self._arranged))


def _has_registers(op: Operation) -> bool:
    """Whether all results of an operation are in physical registers."""
    return all(physical_index(result) is not None for result in op.results if isinstance(result.type, PlenaRegisterType))


def random_data(name: str, count: int) -> GlobalData:
    """Made-up bytes for a tensor of `count` elements: values of either sign with magnitudes around one, the same for a name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    rng = np.random.default_rng(seed)
    elements = rng.integers(0x30, 0x48, count, np.uint8) | (rng.integers(0, 2, count, np.uint8) << 7)
    return GlobalData(elements.astype(np.uint8), rng.integers(124, 127, count // MX_BLOCK, np.uint8))
