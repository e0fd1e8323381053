"""assign-precision: every value that passes through HBM gets the format it is stored in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xdsl.context import Context
from xdsl.dialects import scf
from xdsl.dialects.builtin import Float32Type, ModuleOp, TensorType
from xdsl.ir import BlockArgument, Operation, SSAValue
from xdsl.passes import ModulePass

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.dialects.plena import TARGET_ATTRIBUTE, target_of
from plena_mlir.errors import LoweringError
from plena_mlir.numerics import MXFP8_E4M3, MxFormat
from plena_mlir.passes.rewriting import erase_unused
from plena_mlir.target import MX_BLOCK
from plena_mlir.target.formats import hbm_format


@dataclass(frozen=True)
class AssignPrecisionPass(ModulePass):
    """Insert `quantize`: linear weights as "weight", embedding tables and staged inputs as "act", keys and values as "kv", and
    biases, gains, rope tables and explicit masks as "exact".

    Attributes:
        exact_error: largest relative error allowed in what is stored exactly; the fewest MX terms that keep it are used. The
            default lies under the 0.2 % of bf16 itself. A module without a target is taken to be for a machine of the presets.
    """

    name = "assign-precision"

    exact_error: float = 0.001

    def apply(self, ctx: Context, op: ModuleOp) -> None:
        fmt = hbm_format(target_of(op), "v_act") if TARGET_ATTRIBUTE in op.attributes else MXFP8_E4M3
        terms = self.exact_terms(fmt)
        for inner in list(op.walk()):
            match inner:
                case scf.ForOp():
                    _stage_inputs(inner)
                case pt.TensorOp() if not pt.is_weight(inner.result) and not pt.is_input(inner.result):
                    _stage_inputs(inner)
                    for number, form in stored_operands(inner):
                        count = terms if form is pt.QuantizeFormat.EXACT else 1
                        group = stored_group(inner, number)
                        inner.operands[number] = quantized(inner.operands[number], form, count, inner, group)
                case _:
                    pass
        erase_unused(op)

    def exact_terms(self, fmt: MxFormat) -> int:
        """The number of MX terms of exact values: each reduces what the ones before it left over by the error of the format.

        Raises:
            LoweringError: no number of terms keeps the bound.
        """
        for terms in range(1, pt.MAX_TERMS + 1):
            if fmt.largest_error**terms <= self.exact_error:
                return terms
        best = f"{pt.MAX_TERMS} terms keep {fmt.largest_error**pt.MAX_TERMS:.2g}"
        raise LoweringError(f"exact values with an error of {self.exact_error} at most", hint=best)


def _stage_inputs(op: Operation) -> None:
    """Float arguments, arranged as the op reads them, are staged in HBM."""
    if isinstance(op, pt.QuantizeOp):
        return
    for number, operand in enumerate(op.operands):
        if isinstance(operand.type, TensorType) and isinstance(pt.element_of(operand), Float32Type) and pt.is_input(operand):
            op.operands[number] = quantized(operand, pt.QuantizeFormat.ACT, 1, op)


def stored_operands(op: pt.TensorOp) -> Iterable[tuple[int, pt.QuantizeFormat]]:
    """The operands of an op on activations that come from HBM, by number, and the formats they are stored in."""
    formats: dict[int, pt.QuantizeFormat] = {}
    match op:
        case pt.QuantizeOp():
            return
        case pt.LinearOp() | pt.ExpertLinearOp():
            formats = {1: pt.QuantizeFormat.WEIGHT}
        case pt.EmbeddingOp():
            formats = {0: pt.QuantizeFormat.ACT}
        case pt.AttentionOp():
            formats = {1: pt.QuantizeFormat.KV, 2: pt.QuantizeFormat.KV}
        case _:
            pass
    for number, operand in enumerate(op.operands):
        exact = pt.QuantizeFormat.EXACT if pt.is_weight(operand) and pt.shape_of(operand) else None
        found = formats.get(number, exact)
        if found is not None and pt.defined_by(operand, pt.QuantizeOp) is None:
            yield number, found


def stored_group(op: pt.TensorOp, number: int) -> int | None:
    """The size of the heads that an operand is stored in, if blocks do not divide it; each head is then padded to whole blocks."""
    features = pt.shape_of(op.operands[number])[-1:]
    size = None
    if isinstance(op, pt.AttentionOp) and number in (1, 2):
        size = features[0] // op.kv_heads.value.data
    elif isinstance(op, pt.LinearOp) and number == 1:
        size = _group_size(op.x)
    return size if size is not None and size % MX_BLOCK and size < features[0] else None


def _group_size(value: SSAValue) -> int:
    """The size of the groups that the features of an activation lie in: heads, parts that were joined, or all features."""
    op = value.owner
    if isinstance(op, pt.ConcatOp) and op.dim.value.data == 1:
        sizes = {_group_size(part) for part in op.inputs}
        return sizes.pop() if len(sizes) == 1 else pt.shape_of(value)[1]
    if isinstance(op, (pt.ConcatOp, *pt.ROW_BY_ROW_OPS)):
        return _group_size(next(operand for operand in op.operands if not pt.is_weight(operand)))
    return pt.shape_of(value)[-1] // pt.groups_of(value)


def quantized(value: SSAValue, form: pt.QuantizeFormat, terms: int, user: Operation, group: int | None = None) -> SSAValue:
    """The value in a storage format, by one op right behind its definition for all its users."""
    op = pt.QuantizeOp(value, form, terms, group)
    for use in list(value.uses):
        other = use.operation
        if other is not op and isinstance(other, pt.QuantizeOp) and other.properties == op.properties:
            op.erase()
            return other.result
    op.result.name_hint = value.name_hint
    if isinstance(value, BlockArgument):
        op.location = user.location
        value.block.insert_ops_before([op], next(iter(value.block.ops)))
    else:
        owner = value.owner
        assert isinstance(owner, Operation)
        assert owner.parent is not None
        op.location = owner.location
        owner.parent.insert_ops_after([op], owner)
    return op.result
