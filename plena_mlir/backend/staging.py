"""What the host writes before a program starts: its inputs, arranged as the program reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import IntegerAttr, ModuleOp

from plena_mlir.assumptions import check_assumptions
from plena_mlir.dialects.plena import target_of
from plena_mlir.dialects.plena_tile.memory import INPUT, AllocOp, GlobalOp
from plena_mlir.errors import ExecutionError, ModelImportError
from plena_mlir.interface import VOCABULARY_ATTRIBUTE
from plena_mlir.interpreters.tile_memory import globals_of, ids_of, stage_input
from plena_mlir.numerics import mx_quantize
from plena_mlir.target.formats import hbm_format
from plena_mlir.target.layout import GlobalData

Array: TypeAlias = NDArray[Any]
Inputs: TypeAlias = "Array | tuple[Array, ...]"
"""The inputs of a program in the order of its arguments; one alone may be given as it is."""


def arrays_of(inputs: Inputs) -> tuple[Array, ...]:
    """The inputs one by one."""
    return inputs if isinstance(inputs, tuple) else (np.asarray(inputs),)


_RADIX = 1 << 12
"""Of the numbers of elements, each digit of which float32 must hold exactly."""


class _NoParameters:
    """The store of functions that arrange inputs: they read no parameter."""

    def get(self, name: str) -> NDArray[np.float32]:
        raise ExecutionError(f"the parameter {name} is read where inputs are arranged")


def _arranged(module: ModuleOp, op: GlobalOp | AllocOp, inputs: tuple[Array, ...], *, ids: bool) -> Array:
    """What an input global or a buffer of token ids holds, in its natural shape."""
    if op.init is not None:
        # Only this needs torch: most programs take their inputs as they are given.
        from plena_mlir.interpreters.tensor import run_tensor

        return run_tensor(module, inputs, _NoParameters(), function=op.init.string_value())[0]
    found = [array for array in inputs if np.issubdtype(array.dtype, np.integer) == ids]
    if len(found) != 1:
        raise ModelImportError(f"{len(found)} inputs of {'token ids' if ids else 'numbers'} are given, the program takes one")
    return found[0]


def arrange_inputs(module: ModuleOp, inputs: Inputs) -> dict[str, Array]:
    """The inputs of a plena_tile program as its memories hold them, by the names that `run_tile` knows them by.

    Each input global holds [rows, features], each buffer of token ids [tokens].

    Raises:
        LoweringError: an input has another shape than the program takes.
        ModelImportError: a token id is not in the vocabulary.
    """
    arrays = arrays_of(inputs)
    check_assumptions(module, arrays)
    found = {
        op.sym_name.data: np.asarray(_arranged(module, op, arrays, ids=False), np.float32)
        for op in globals_of(module)
        if op.role.data == INPUT
    }
    for name, op in ids_of(module).items():
        found[name] = _arranged(module, op, arrays, ids=True)
        words = op.attributes.get(VOCABULARY_ATTRIBUTE)
        if isinstance(words, IntegerAttr):
            _check_ids(found[name], words.value.data)
    return found


def _check_ids(ids: Array, vocabulary: int) -> None:
    wrong = np.flatnonzero((ids < 0) | (ids >= vocabulary))
    if wrong.size:
        position = int(wrong[0])
        raise ModelImportError(f"token id {ids.flat[position]} at position {position} is not in the vocabulary of {vocabulary}")


def staged_data(module: ModuleOp, arranged: Mapping[str, Array]) -> dict[str, GlobalData]:
    """The bytes of the input globals of a plena_tile program."""
    target = target_of(module)
    staged = [op for op in globals_of(module) if op.role.data == INPUT]
    return {op.sym_name.data: stage_input(op, target, arranged[op.sym_name.data]) for op in staged}


def ids_words(places: Mapping[str, tuple[int, int]], arranged: Mapping[str, Array]) -> NDArray[np.uint32]:
    """The first words of INT SRAM when a program starts.

    Args:
        places: (address, count) of each buffer of ids.

    Raises:
        ModelImportError: another number of token ids than the program takes.
    """
    words = np.zeros(max((address + count for address, count in places.values()), default=0), np.uint32)
    for name, (address, count) in places.items():
        ids = arranged[name]
        if ids.shape != (count,):
            raise ModelImportError(f"{ids.size} token ids are given for a program of {count}")
        words[address : address + count] = ids
    return words


def quantized_inputs(module: ModuleOp, inputs: Inputs) -> Inputs:
    """The inputs as the machine reads them: numbers have passed through the format that they are staged in.

    An input of which a staged tensor holds not every element exactly once (overlapping windows of an image) has no such form and
    stays as it is.
    """
    arrays = list(arrays_of(inputs))
    fmt = hbm_format(target_of(module), "v_act")
    for number, array in enumerate(arrays):
        if np.issubdtype(array.dtype, np.integer):
            continue
        values = arrange_inputs(module, tuple(arrays))
        for name, places in _places(module, arrays, number).items():
            if places.ndim != 2 or not np.array_equal(np.sort(places, axis=None), np.arange(array.size)):
                continue
            features = places.shape[1]
            padded = np.pad(values[name], ((0, 0), (0, -features % fmt.block)))
            flat = np.empty(array.size, np.float32)
            flat[places] = mx_quantize(padded, fmt, variant="staging")[:, :features]
            arrays[number] = flat.reshape(array.shape)
    return arrays[0] if len(arrays) == 1 else tuple(arrays)


def _places(module: ModuleOp, arrays: Sequence[Array], number: int) -> dict[str, NDArray[np.int64]]:
    """What is staged where: in place of each value the number of the element of one input that it is, below 0 for those of others.

    The numbers are arranged in the place of the values, in two digits: float32 is exact up to 2^24 only.
    """
    digits: list[dict[str, Array]] = []
    for digit in np.divmod(np.arange(arrays[number].size), _RADIX):
        marked = [other if np.issubdtype(other.dtype, np.integer) else np.full_like(other, -1) for other in arrays]
        marked[number] = digit.astype(np.float32).reshape(arrays[number].shape)
        digits.append(arrange_inputs(module, tuple(marked)))
    high, low = digits
    return {name: high[name].astype(np.int64) * _RADIX + low[name].astype(np.int64) for name in high}
