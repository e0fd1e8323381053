"""name-stages: every op on activations gets a name of its own, which all code that computes it carries in its location.

    loc("model.layers.{}.self_attn")   ->   loc("model.layers.{}.self_attn"("rope")), loc("model.layers.{}.self_attn"("rope.1"))

So what an instruction belongs to is known however far passes have moved it, and stages can be compared between levels.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import func, scf
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import module_path, stage_location


@dataclass(frozen=True)
class NameStagesPass(ModulePass):
    """Name the ops of each module path by their kind, with a number from the second of a kind on. Weights and rearranged
    inputs have no stages, nor has quantisation, which happens where a value is stored."""

    name = "name-stages"

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        for function in op.body.block.ops:
            if isinstance(function, func.FuncOp):
                _name_stages(function)


def _is_computed(op: pt.TensorOp) -> bool:
    return not (isinstance(op, pt.QuantizeOp) or pt.is_weight(op.result) or pt.is_input(op.result))


def _name_stages(function: func.FuncOp) -> None:
    seen: Counter[tuple[str, str]] = Counter()
    for op in function.walk():
        if isinstance(op, pt.TensorOp) and _is_computed(op):
            kind = op.name.rpartition(".")[2]
        elif isinstance(op, scf.ForOp):
            kind = "loop"
        else:
            continue
        path = module_path(op)
        number = seen[path, kind]
        seen[path, kind] += 1
        op.location = stage_location(path, f"{kind}.{number}" if number else kind)
