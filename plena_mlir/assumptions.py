"""What a program assumes of its inputs: at which places an input of integers holds a number that the model looks for.

A model that takes images puts their features where its input holds a certain token id. A program is compiled for these places,
which an example of the inputs gives; other inputs with the number at the same places run, and none else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ArrayAttr, DenseArrayBase, DictionaryAttr, IntegerAttr, ModuleOp, i64

from plena_mlir.errors import ModelImportError

ASSUMPTIONS_ATTRIBUTE = "plena.assumptions"
"""Module attribute: per assumption the number of the input, the integer, and the places where it stands, in row-major order."""


@dataclass(frozen=True)
class Assumption:
    """The input number `argument` holds `value` at `places`, counted in row-major order, and nowhere else."""

    argument: int
    value: int
    places: tuple[int, ...]


def set_assumptions(module: ModuleOp, assumptions: Sequence[Assumption]) -> None:
    """Record assumptions on a module, once each."""
    if not assumptions:
        return
    module.attributes[ASSUMPTIONS_ATTRIBUTE] = ArrayAttr(
        DictionaryAttr(
            {
                "argument": IntegerAttr(found.argument, i64),
                "value": IntegerAttr(found.value, i64),
                "places": DenseArrayBase.from_list(i64, list(found.places)),
            }
        )
        for found in dict.fromkeys(assumptions)
    )


def assumptions_of(module: ModuleOp) -> list[Assumption]:
    """The assumptions that are recorded on a module."""
    recorded = module.attributes.get(ASSUMPTIONS_ATTRIBUTE)
    found: list[Assumption] = []
    for entry in recorded if isinstance(recorded, ArrayAttr) else ():
        assert isinstance(entry, DictionaryAttr)
        argument, value, places = (entry.data[key] for key in ("argument", "value", "places"))
        assert isinstance(argument, IntegerAttr)
        assert isinstance(value, IntegerAttr)
        assert isinstance(places, DenseArrayBase)
        found.append(Assumption(argument.value.data, value.value.data, tuple(int(place) for place in places.get_values())))
    return found


def check_assumptions(module: ModuleOp, inputs: Sequence[NDArray[Any]]) -> None:
    """Refuse inputs of which an assumption does not hold.

    Raises:
        ModelImportError: the number stands at other places.
    """
    for assumption in assumptions_of(module):
        places = tuple(int(place) for place in np.flatnonzero(inputs[assumption.argument] == assumption.value))
        if places != assumption.places:
            shown = ", ".join(map(str, assumption.places[:8])) + (", ..." if len(assumption.places) > 8 else "")
            raise ModelImportError(
                f"input {assumption.argument} holds {assumption.value} at {len(places)} places, the program was compiled for "
                f"{len(assumption.places)}: {shown}",
                hint="compile the model again with an example that holds it where these inputs do",
            )
