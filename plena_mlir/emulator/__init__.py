"""The emulator: machine state, instruction semantics as compiled kernels, and the engine that runs programs."""

from plena_mlir.emulator.emulate import emulate
from plena_mlir.emulator.engine import Cycles, RunResult, execute, run_program
from plena_mlir.emulator.files import write_dumps
from plena_mlir.emulator.machine import Machine

__all__ = ["Cycles", "Machine", "RunResult", "emulate", "execute", "run_program", "write_dumps"]
