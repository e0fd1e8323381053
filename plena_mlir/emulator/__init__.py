"""The emulator: machine state, instruction semantics as compiled kernels, and the engine that runs programs."""

from plena_mlir.emulator.attribution import Share, attribute
from plena_mlir.emulator.emulate import emulate
from plena_mlir.emulator.engine import execute, load_machine, run_program
from plena_mlir.emulator.estimate import Estimate, estimate_program
from plena_mlir.emulator.execution import Execution
from plena_mlir.emulator.files import write_dumps
from plena_mlir.emulator.machine import Machine
from plena_mlir.emulator.result import Cycles, RunResult

__all__ = [
    "Cycles",
    "Estimate",
    "Execution",
    "Machine",
    "RunResult",
    "Share",
    "attribute",
    "emulate",
    "estimate_program",
    "execute",
    "load_machine",
    "run_program",
    "write_dumps",
]
