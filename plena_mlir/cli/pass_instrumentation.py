"""What `plena-opt` can show about each pass, under MLIR's option names: the IR after it and the time it took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import TextIO

from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.printer import Printer

from plena_mlir.files import make_folder, write_file


@dataclass
class PassInstrumentation:
    """Follows a pass pipeline through its callbacks.

    Attributes:
        print_after_all: print the IR after each pass to the error stream, unless `tree_dir` is given.
        tree_dir: write the IR after each pass to `NN-pass.mlir` in this folder, which is made.
        debuginfo: print locations.
        current: name of the pass that is running or was the last to run; None before the first.
        running: whether a pass is running right now.
    """

    print_after_all: bool = False
    tree_dir: Path | None = None
    debuginfo: bool = False
    current: str | None = None
    running: bool = False
    seconds: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    _count: int = 0
    _started: float = field(default_factory=time.perf_counter)

    def pass_starts(self, next_pass: ModulePass) -> None:
        """Call right before a pass runs."""
        self.current = next_pass.name
        self.running = True
        self._started = time.perf_counter()

    def pass_ended(self, previous_pass: ModulePass) -> None:
        """Call right after a pass ran, before anything else takes time."""
        self.running = False
        self.seconds.append((previous_pass.name, time.perf_counter() - self._started))

    def dump(self, module: ModuleOp, previous_pass: ModulePass, errors: TextIO) -> None:
        """Show the IR that a pass left."""
        name = previous_pass.name
        if self.tree_dir is not None:
            make_folder(self.tree_dir)
            write_file(self.tree_dir / f"{self._count:02}-{name}.mlir", self._text(module))
        elif self.print_after_all:
            errors.write(f"// -----// IR Dump After {type(previous_pass).__name__} ({name}) //----- //\n{self._text(module)}\n")
        self._count += 1

    def print_timing(self, errors: TextIO) -> None:
        """The time of every pass, in the form of `mlir-opt --mlir-timing`."""
        total = sum(seconds for _, seconds in self.seconds)
        rule = f"===-{'-' * 73}-==="
        rows = [*self.seconds, ("Total", total)]
        lines = "".join(f"  {s:8.4f} ({100 * s / total if total else 0:5.1f}%)  {name}\n" for name, s in rows)
        errors.write(
            f"{rule}\n{'... Execution time report ...':^79}\n{rule}\n"
            f"  Total Execution Time: {total:.4f} seconds\n\n  ----Wall Time----  ----Name----\n{lines}"
        )

    def _text(self, module: ModuleOp) -> str:
        stream = StringIO()
        Printer(stream, print_debuginfo=self.debuginfo).print_op(module)
        return stream.getvalue() + "\n"
