"""The `plena-asm` output of `plena-opt`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, ClassVar

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.utils.target import Target

from plena_mlir.backend.asm_printer import print_asm


@dataclass(frozen=True)
class PlenaAsmTarget(Target):
    """Assembly text of an allocated plena_isa module.

    Attributes:
        comments: follow each instruction by `; ` and the module path it implements.
    """

    name: ClassVar[str] = "plena-asm"

    comments: bool = False

    def emit(self, ctx: Context, module: ModuleOp, output: IO[str]) -> None:
        output.write(print_asm(module, comments=self.comments))
