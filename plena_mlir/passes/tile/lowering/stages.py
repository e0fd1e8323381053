"""Where the result of each stage lies while it lives, recorded for whoever compares levels; the program does not depend on it."""

from __future__ import annotations

from collections.abc import Mapping

from xdsl.dialects import func
from xdsl.dialects.builtin import ArrayAttr, DictionaryAttr, IntegerAttr, ModuleOp, StringAttr, i64
from xdsl.ir import Attribute, SSAValue

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import stage_of
from plena_mlir.passes.tile.layouts import Activation

STAGES_ATTRIBUTE = "plena.stages"
"""Module attribute: per stage its name and its result: the number of a buffer, and how rows and features lie in it."""

BUFFER_ATTRIBUTE = "plena.buffer"
"""Attribute of an alloc: its number among the buffers that stages leave their results in."""

SCORES_PART = "scores"
"""Part of an attention: the operation that reads a row of masked scores and is the first to write over it."""

PROBABILITIES_PART = "probabilities"
"""Part of an attention: the operation that leaves a row of probabilities as the product with the values reads it."""


def record_stages(module: ModuleOp, main: func.FuncOp, values: Mapping[SSAValue, Activation]) -> None:
    """Record the stages of `main`, at the tensor level, whose results got the buffers in `values`."""
    entries: list[DictionaryAttr] = []
    numbers: dict[tile.AllocOp, int] = {}
    for op in main.walk():
        stage = stage_of(op)
        # A tensor that blocks of rows are put into is complete only after the last of them; whoever reads it then is checked.
        if isinstance(op, tensor.PutRowsOp | tensor.EmptyRowsOp):
            continue
        if stage is None or not isinstance(op, tensor.TensorOp) or op.result not in values:
            continue
        activation = values[op.result]
        alloc = activation.buffer.owner
        if not isinstance(alloc, tile.AllocOp):
            continue
        number = numbers.setdefault(alloc, len(numbers))
        alloc.attributes[BUFFER_ATTRIBUTE] = IntegerAttr(number, i64)
        columns = activation.columns
        fields: dict[str, Attribute] = {"stage": StringAttr(stage)}
        for name, value in {
            "buffer": number,
            "rows": activation.rows,
            "groups": columns.groups,
            "size": columns.size,
            "padded": columns.padded,
        }.items():
            fields[name] = IntegerAttr(value, i64)
        entries.append(DictionaryAttr(fields))
    if entries:
        module.attributes[STAGES_ATTRIBUTE] = ArrayAttr(entries)
