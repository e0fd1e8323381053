"""The one exception family users meet.

Every message says what is wrong, where (module path, op, line), which limit it breaks and what to do about it. Commands
print the message on one line and exit; only errors outside this family are bugs of the compiler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class PlenaError(Exception):
    """Base of every error that plena-mlir raises on purpose.

    Args:
        what: the problem, in one clause.
        where: module path, op name, file:line, program counter.
        hint: what lifts the limit or what to try instead.
    """

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        message = what if where is None else f"{where}: {what}"
        super().__init__(message if hint is None else f"{message} ({hint})")


class TargetError(PlenaError):
    """A target name, geometry, settings file or precision that the machine cannot have."""


class ModelImportError(PlenaError):
    """A model, checkpoint, config or graph that cannot be imported exactly."""


class NoWeightsError(ModelImportError):
    """A model that is known by its shape only is to be run."""

    def __init__(self, what: str, *, where: str | None = None) -> None:
        hint = "give random weights by a seed (--random-weights SEED), or a checkpoint folder"
        super().__init__(f"{what} has no weights: its model is given as a shape only", where=where, hint=hint)


class LoweringError(PlenaError):
    """Something a pass cannot lower exactly, or a program that does not fit the target."""


class MemoryTooSmallError(LoweringError):
    """A program needs more of an on-chip memory than the target has.

    Attributes:
        memory: the memory's name in plena_tile: vram, mram, fpram, intram or hbm.
        needed: what would be enough, in the unit that the message counts in.
    """

    def __init__(self, what: str, *, memory: str, needed: int, where: str | None = None, hint: str | None = None) -> None:
        self.memory = memory
        self.needed = needed
        super().__init__(what, where=where, hint=hint)


class AsmError(PlenaError):
    """Malformed assembly text; `where` is `file:line:column`."""


class EncodingError(PlenaError):
    """A field that does not fit its instruction word, or a word that is no instruction."""


class ImageError(PlenaError):
    """An HBM, FP SRAM or INT SRAM image that cannot be written or loaded."""


class BundleError(PlenaError):
    """A bundle folder that is incomplete, inconsistent or of another schema."""


class Trap(PlenaError):
    """The machine stopped: the emulated program did what the hardware forbids.

    Attributes:
        pc: index of the instruction that trapped.
        text: its assembly text.
        values: what the registers that it names held, by name.
    """

    def __init__(
        self, what: str, *, pc: int, text: str, values: Mapping[str, int | float] | None = None, where: str | None = None
    ) -> None:
        self.pc = pc
        self.text = text
        self.values = dict(values or {})
        place = f"pc {pc}: {text}"
        held = ", ".join(f"{name} = {value}" for name, value in self.values.items())
        super().__init__(what, where=place if where is None else f"{where}: {place}", hint=held or None)


class ExecutionError(PlenaError):
    """IR that cannot be executed: an access outside its buffer, a missing input, an operation without a meaning at that level."""


class ComparisonError(PlenaError):
    """Results that cannot be compared: other shapes, values that are not finite, a reference that shows nothing."""


class MiscompileError(PlenaError):
    """A pass changed what a program computes, which an execution before and after it showed: a bug of the compiler."""


class CompilerCrash(PlenaError):
    """An internal error of a pass. The message names the reproducer that was written and the command that replays it."""


def check_choice(kind: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value that is none of the choices.

    Args:
        kind: what is chosen, for the message: a strategy, an engine.

    Raises:
        PlenaError: it is none of them.
    """
    if value not in choices:
        raise PlenaError(f"there is no {kind} {value!r}", hint=f"one of {', '.join(map(str, choices))}")
