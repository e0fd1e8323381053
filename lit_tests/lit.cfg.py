"""lit configuration: run with `lit lit_tests` from the environment that plena-mlir is installed in."""

import os
import sys
from pathlib import Path

import lit.formats

here = Path(__file__).parent

config.name = "plena-mlir"  # noqa: F821 - lit defines `config` before it reads this file
config.test_format = lit.formats.ShTest(execute_external=False)  # noqa: F821
config.suffixes = [".mlir", ".asm", ".test"]  # noqa: F821
config.excludes = ["Inputs"]  # noqa: F821
config.test_source_root = str(here)  # noqa: F821
config.test_exec_root = str(here / "Output")  # noqa: F821

# `plena-opt`, `plena` and `filecheck` are those of the interpreter that runs lit, whatever else is on the path.
config.environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # noqa: F821
for name in ("NUMBA_CACHE_DIR", "HOME", "LANG"):
    if name in os.environ:
        config.environment[name] = os.environ[name]  # noqa: F821
