"""Rewriting that keeps locations, and the removal of what a rewrite left unused."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Operation, SSAValue
from xdsl.pattern_rewriter import GreedyRewritePatternApplier, PatternRewriter, PatternRewriteWalker, RewritePattern
from xdsl.transforms.dead_code_elimination import is_trivially_dead

from plena_mlir.dialects.plena import carry_location
from plena_mlir.errors import PlenaError


def replace(rewriter: PatternRewriter, op: Operation, new_ops: Operation | Sequence[Operation]) -> None:
    """Replace `op` by `new_ops`, whose last result stands for its result.

    New ops without a location get that of `op`; results without a name hint are called after what computes them.
    """
    new_ops = (new_ops,) if isinstance(new_ops, Operation) else new_ops
    carry_location(new_ops, op)
    for new_op in new_ops:
        for result in new_op.results:
            result.name_hint = result.name_hint or new_op.name.rpartition(".")[2]
    rewriter.replace(op, new_ops)


def replace_by_value(rewriter: PatternRewriter, op: Operation, value: SSAValue) -> None:
    """Remove `op`, whose only result is `value` after all."""
    rewriter.replace(op, [], [value])


def rewrite(module: ModuleOp, *patterns: RewritePattern, recursively: bool = False) -> None:
    """Try the patterns once on every op in program order (until nothing changes when `recursively`), then drop unused ops."""
    applier = GreedyRewritePatternApplier(list(patterns), dce_enabled=False)
    try:
        PatternRewriteWalker(applier, apply_recursively=recursively).rewrite_module(module)
    except PlenaError as error:
        # xDSL attaches the whole module as a note; the message already says where.
        error.__notes__ = []
        raise
    erase_unused(module)


def erase_unused(module: ModuleOp) -> None:
    """Erase ops without effects whose results nobody uses, users before producers."""
    for op in reversed(list(module.walk())):
        if is_trivially_dead(op):
            op.detach()
            op.erase()
