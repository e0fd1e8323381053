"""The plena dialect: what all levels of the compiler share. It holds the attributes of a module that every
level knows, among them its target, and the helpers that keep the Hugging Face module path on every operation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import StringIO

from xdsl.dialects import func
from xdsl.dialects.builtin import (
    ArrayAttr,
    CallSiteLoc,
    DenseArrayBase,
    DictionaryAttr,
    FusedLoc,
    IntegerAttr,
    LocationAttr,
    ModuleOp,
    NameLoc,
    NoneAttr,
    StringAttr,
    UnknownLoc,
    i1,
    i64,
)
from xdsl.ir import Attribute, Dialect, Operation, ParametrizedAttribute
from xdsl.irdl import irdl_attr_definition
from xdsl.printer import Printer
from xdsl.utils.exceptions import VerifyException

from plena_mlir.errors import LoweringError, TargetError
from plena_mlir.target import Target

TARGET_ATTRIBUTE = "plena.target"
"""Name of the module attribute that holds the target."""


@irdl_attr_definition
class TargetAttr(ParametrizedAttribute):
    """The machine a module is compiled for: `#plena.target<{name = "64x16x64", mlen = 64 : i64, ...}>`, the entries of
    `Target.to_dict`. Every entry must be there, and the whole must be a legal machine.
    """

    name = "plena.target"

    fields: DictionaryAttr

    @staticmethod
    def of(target: Target) -> TargetAttr:
        """The attribute of a target."""
        return TargetAttr(_dictionary(target.to_dict()))

    def target(self) -> Target:
        """The target of the attribute.

        Raises:
            TargetError: an entry is missing, unknown or illegal.
        """
        return Target.from_dict(_mapping(self.fields))

    def verify(self) -> None:
        try:
            self.target()
        except TargetError as error:
            raise VerifyException(str(error)) from error


def _dictionary(values: Mapping[str, object]) -> DictionaryAttr:
    return DictionaryAttr({key: _attribute(key, value) for key, value in values.items()})


def _attribute(key: str, value: object) -> Attribute:
    match value:
        case bool():
            return IntegerAttr(int(value), i1)
        case int():
            return IntegerAttr(value, i64)
        case str():
            return StringAttr(value)
        case Mapping():
            return _dictionary(value)
        case _:
            raise TargetError(f"target entry {key} = {value!r} has no attribute form")


def _mapping(attribute: DictionaryAttr) -> dict[str, object]:
    return {key: _value(key, value) for key, value in attribute.data.items()}


def _value(key: str, attribute: Attribute) -> object:
    match attribute:
        case IntegerAttr():
            return bool(attribute.value.data) if attribute.type == i1 else attribute.value.data
        case StringAttr():
            return attribute.data
        case DictionaryAttr():
            return _mapping(attribute)
        case _:
            raise TargetError(f"target entry {key} = {attribute} must be an integer, a boolean, a string or a dictionary")


def set_target(module: ModuleOp, target: Target) -> None:
    """Record the target a module is compiled for."""
    module.attributes[TARGET_ATTRIBUTE] = TargetAttr.of(target)


def target_of(module: ModuleOp) -> Target:
    """The target a module is compiled for.

    Raises:
        LoweringError: the module has no target.
    """
    attribute = module.attributes.get(TARGET_ATTRIBUTE)
    if not isinstance(attribute, TargetAttr):
        raise LoweringError(f"the module has no `{TARGET_ATTRIBUTE}` attribute", hint="set one with `plena-opt --target NAME`")
    return attribute.target()


BIDIRECTIONAL_ATTRIBUTE = "plena.bidirectional"
"""Module attribute: no attention may hide later tokens from earlier ones."""

SEQUENCES_ATTRIBUTE = "plena.sequences"
"""Module attribute: first row and number of rows of each sequence among the rows of the input; the other rows are padding."""


def set_sequences(module: ModuleOp, parts: Sequence[tuple[int, int]]) -> None:
    """Record which rows of the input are the sequences of a batch."""
    numbers = [number for part in parts for number in part]
    module.attributes[SEQUENCES_ATTRIBUTE] = DenseArrayBase.from_list(i64, numbers)


def sequences_of(module: ModuleOp) -> tuple[tuple[int, int], ...]:
    """(first row, rows) of each sequence of a batch; empty if all rows of the input are one sequence."""
    attribute = module.attributes.get(SEQUENCES_ATTRIBUTE)
    numbers = [int(number) for number in attribute.get_values()] if isinstance(attribute, DenseArrayBase) else []
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


NOTES_ATTRIBUTE = "plena.notes"
"""Module attribute: what a user may want to know about the compilation, a list of sentences."""


def add_note(module: ModuleOp, *notes: str) -> None:
    """Record sentences that a user may want to read after the compilation."""
    known = (*notes_of(module), *notes)
    if known:
        module.attributes[NOTES_ATTRIBUTE] = ArrayAttr([StringAttr(note) for note in known])


def notes_of(module: ModuleOp) -> tuple[str, ...]:
    """What passes have recorded for the user, in order."""
    notes = module.attributes.get(NOTES_ATTRIBUTE)
    return tuple(note.data for note in notes if isinstance(note, StringAttr)) if isinstance(notes, ArrayAttr) else ()


def find_function(module: ModuleOp, name: str) -> func.FuncOp:
    """The `func.func` of that name.

    Raises:
        LoweringError: the module has none.
    """
    for op in module.body.block.ops:
        if isinstance(op, func.FuncOp) and op.sym_name.data == name:
            return op
    raise LoweringError(f"the module has no function @{name}")


def main_function(module: ModuleOp) -> func.FuncOp:
    """The function that is the program, @main.

    Raises:
        LoweringError: the module has none.
    """
    return find_function(module, "main")


def name_location(path: str) -> NameLoc:
    """The location of an operation that implements the Hugging Face module `path`."""
    return NameLoc(StringAttr(path), NoneAttr())


def stage_location(path: str, stage: str) -> NameLoc:
    """The location of one stage among those of the Hugging Face module `path`."""
    return NameLoc(StringAttr(path), name_location(stage))


def stage_of(op: Operation) -> str | None:
    """The stage that an operation belongs to, as `path/stage`; None for what serves the whole program."""
    location = op.location
    if isinstance(location, NameLoc) and isinstance(location.location, NameLoc):
        return f"{location.desc.data}/{location.location.desc.data}"
    return None


def part_location(location: LocationAttr, part: str) -> LocationAttr:
    """The location of one part of the stage at `location`; a location without a stage stays as it is."""
    if isinstance(location, NameLoc) and isinstance(stage := location.location, NameLoc):
        return NameLoc(location.desc, NameLoc(stage.desc, name_location(part)))
    return location


def part_of(op: Operation) -> str | None:
    """The part of its stage that an operation belongs to, if it has a name."""
    location = op.location
    if isinstance(location, NameLoc) and isinstance(stage := location.location, NameLoc) and isinstance(stage.location, NameLoc):
        return stage.location.desc.data
    return None


def module_path(op: Operation) -> str:
    """The Hugging Face module path in the location of `op`; several, joined by commas, when it implements several modules; empty
    when the location names none.
    """
    return ", ".join(dict.fromkeys(_paths(op.location)))


def _paths(location: Attribute) -> Iterable[str]:
    match location:
        case NameLoc():
            yield location.desc.data
        case FusedLoc():
            assert isinstance(location.locations, ArrayAttr)
            for part in location.locations:
                yield from _paths(part)
        case CallSiteLoc():
            yield from _paths(location.callee)
        case _:
            return


def carry_location(new_ops: Operation | Iterable[Operation], op: Operation) -> None:
    """Give operations that replace `op`, and those nested in them, its location, unless they already have one of their own."""
    for new_op in (new_ops,) if isinstance(new_ops, Operation) else new_ops:
        for nested in new_op.walk():
            if isinstance(nested.location, UnknownLoc):
                nested.location = op.location


def located_text(module: ModuleOp) -> str:
    """The IR as text that keeps the location of every operation when it is parsed again."""
    stream = StringIO()
    Printer(stream, print_debuginfo=True).print_op(module)
    return stream.getvalue()


Plena = Dialect("plena", [], [TargetAttr])
