"""lit configuration: run with `lit lit_tests` from the environment that plena-mlir is installed in."""

import os
import sys
from pathlib import Path

import lit.formats

here = Path(__file__).parent

# `config` is defined by lit before it reads this file.
config.name = "plena-mlir"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".asm", ".test"]
config.excludes = ["Inputs"]
config.test_source_root = str(here)
config.test_exec_root = str(here / "Output")

# `plena-opt`, `plena` and `filecheck` are those of the interpreter that runs lit, whatever else is on the path.
config.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
for name in ("NUMBA_CACHE_DIR", "PYTHONPATH", "HOME", "LANG"):
    if name in os.environ:
        config.environment[name] = os.environ[name]
