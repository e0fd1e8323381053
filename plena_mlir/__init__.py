"""plena-mlir: from PyTorch transformers to the PLENA instruction set, every level executable.

The names below are the public API. Each loads on first use, because some bring torch and transformers with them, which take
seconds to import and which tools on IR or machine code do not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plena_mlir.compiler import CompiledProgram, compile_and_run, compile_hf_model, load_bundle
    from plena_mlir.emulator import run_program
    from plena_mlir.errors import PlenaError
    from plena_mlir.frontend import import_model
    from plena_mlir.interpreters.isa import run_isa
    from plena_mlir.interpreters.tensor import run_tensor
    from plena_mlir.interpreters.tile import run_tile
    from plena_mlir.target import Target, load_target
    from plena_mlir.verify.compare import compare

__version__ = "0.1.0"

_HOMES = {
    "CompiledProgram": "plena_mlir.compiler",
    "PlenaError": "plena_mlir.errors",
    "Target": "plena_mlir.target",
    "compare": "plena_mlir.verify.compare",
    "compile_and_run": "plena_mlir.compiler",
    "compile_hf_model": "plena_mlir.compiler",
    "import_model": "plena_mlir.frontend",
    "load_bundle": "plena_mlir.compiler",
    "load_target": "plena_mlir.target",
    "run_isa": "plena_mlir.interpreters.isa",
    "run_program": "plena_mlir.emulator",
    "run_tensor": "plena_mlir.interpreters.tensor",
    "run_tile": "plena_mlir.interpreters.tile",
}

__all__ = [
    "CompiledProgram",
    "PlenaError",
    "Target",
    "__version__",
    "compare",
    "compile_and_run",
    "compile_hf_model",
    "import_model",
    "load_bundle",
    "load_target",
    "run_isa",
    "run_program",
    "run_tensor",
    "run_tile",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
