"""The plena_tensor ops: every op prints and parses to itself, constructors infer shapes, verifiers refuse what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO

import pytest
from xdsl.context import Context
from xdsl.dialects import test as test_dialect
from xdsl.dialects.builtin import Builtin, DenseIntOrFPElementsAttr, IndexType, ModuleOp, i1, i64
from xdsl.ir import Operation, SSAValue
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import Pure
from xdsl.utils.exceptions import VerifyException

from plena_mlir.dialects import plena_tensor as pt


def value(*shape: int) -> SSAValue:
    """A float tensor from nowhere."""
    return test_dialect.TestOp(result_types=[pt.tensor_type(shape)]).res[0]


def typed(element: object, *shape: int) -> SSAValue:
    return test_dialect.TestOp(result_types=[pt.tensor_type(shape, element)]).res[0]


UNARY = (
    pt.NegOp, pt.ExpOp, pt.LogOp, pt.SqrtOp, pt.RsqrtOp, pt.ReciprocalOp, pt.TanhOp, pt.SigmoidOp,
    pt.SiluOp, pt.ReluOp, pt.AbsOp, pt.CosOp, pt.SinOp, pt.GeluOp,
)  # fmt: skip
BINARY = (pt.AddOp, pt.SubOp, pt.MulOp, pt.DivOp, pt.PowOp, pt.MaximumOp, pt.MinimumOp)


def index() -> SSAValue:
    return test_dialect.TestOp(result_types=[IndexType()]).res[0]


def one_of_each() -> list[Operation]:
    """Every op of the dialect at least once, optional parts present and absent."""
    x, square = value(4, 8), value(8, 8)
    heads = value(1, 4, 5, 8)
    return [
        *(op(x) for op in UNARY),
        pt.GeluOp(x, "tanh"),
        *(op(x, value(8)) for op in BINARY),
        pt.CastOp(x, i64),
        pt.WhereOp(typed(i1, 4, 1), x, value()),
        pt.ParameterOp("model.norm.weight", pt.tensor_type((8,))),
        pt.ConstantOp(DenseIntOrFPElementsAttr.from_list(pt.tensor_type((2,)), [1.5, 1e-5])),
        pt.ReshapeOp(x, (2, 16)),
        pt.ExpandOp(value(1, 8), (3, 4, 8)),
        pt.PermuteOp(x, (1, 0)),
        pt.SliceOp(x, -1, 1, 8, 2),
        pt.ConcatOp([x, value(1, 8)], 0),
        pt.SumOp(x, [0]),
        pt.SumRowsOp(x, 2),
        pt.MeanOp(x, [-1], keepdim=True),
        pt.AmaxOp(x, []),
        pt.SoftmaxOp(x, -1),
        pt.MatmulOp(value(2, 1, 4, 8), value(3, 8, 5)),
        pt.LinearOp(x, value(3, 8)),
        pt.LinearOp(x, value(3, 8), value(3)),
        pt.EmbeddingOp(square, typed(i64, 1, 6)),
        pt.LayerNormOp(x, value(8), value(8), 1e-5),
        pt.LayerNormOp(x, None, value(8), 1e-5),
        pt.LayerNormOp(x, None, None, 1e-5),
        pt.SdpaOp(heads, heads, heads, is_causal=True),
        pt.SdpaOp(heads, value(1, 2, 5, 8), value(1, 2, 5, 6), value(5, 5), gqa=True, scale=0.25),
        pt.RmsNormOp(x, None, 1e-6),
        pt.RmsNormOp(x, value(8), 1e-6),
        pt.RmsNormOp(x, value(4), 1e-6, 2),
        pt.LayerNormOp(x, value(8), value(4), 1e-5, 2),
        pt.SoftCapOp(x, 30.0),
        pt.RopeOp(x, value(4, 4), value(4, 4), 2),
        pt.RopeOp(x, value(4, 2), value(4, 2), 2, interleaved=True),
        pt.TopkOp(x, 2),
        pt.GatherOp(x, typed(i64, 4, 2)),
        pt.IndexSelectOp(value(6, 3, 8), typed(i64, 8)),
        pt.MoeWeightsOp(x, typed(i64, 4, 2), pt.Normalised.ALL),
        pt.ExpertLinearOp(x, value(6, 3, 8), typed(i64, 4, 2)),
        pt.ExpertLinearOp(value(8, 8), value(6, 3, 8), typed(i64, 4, 2), value(6, 3)),
        pt.MoeCombineOp(value(8, 3), value(4, 2)),
        pt.AttentionOp(x, x, x, heads=4, kv_heads=4, scale=0.5, mask_kind=pt.MaskKind.CAUSAL),
        pt.AttentionOp(x, x, x, heads=2, kv_heads=2, scale=0.5, mask_kind=pt.MaskKind.SLIDING, window=2),
        pt.AttentionOp(x, value(6, 4), value(6, 4), value(4, 6), heads=4, kv_heads=2, scale=1.0, mask_kind=pt.MaskKind.EXPLICIT),
        pt.AttentionOp(x, x, x, heads=2, kv_heads=2, scale=0.5, mask_kind=pt.MaskKind.NONE, soft_cap=50.0),
        pt.SdpaOp(heads, heads, heads, soft_cap=50.0),
        pt.SdpaOp(heads, heads, heads, value(5, 5), sinks=value(4)),
        pt.AttentionOp(x, x, x, heads=4, kv_heads=4, scale=0.5, mask_kind=pt.MaskKind.CAUSAL, sinks=value(4)),
        pt.AttentionOp(
            x, x, x, value(4, 4), heads=4, kv_heads=4, scale=0.5, mask_kind=pt.MaskKind.EXPLICIT, sinks=value(4),
            block=index(), block_rows=4,
        ),
        pt.QuantizeOp(x, pt.QuantizeFormat.EXACT, 3),
        pt.QuantizeOp(x, pt.QuantizeFormat.KV, 1, 4),
        pt.IdentityOp(4),
        pt.BandMaskOp(4, 6, -100.0, offset=1, window=3),
        pt.EmptyRowsOp((4, 8)),
        pt.TakeRowsOp(x, index(), 2, 2),
        pt.PutRowsOp(x, value(2, 8), index(), 2),
    ]  # fmt: skip


def context() -> Context:
    ctx = Context()
    for dialect in (Builtin, test_dialect.Test, pt.PlenaTensor):
        ctx.load_dialect(dialect)
    return ctx


def module_of(ops: list[Operation]) -> ModuleOp:
    """The ops after the ops that define their operands."""
    body: list[Operation] = []
    for op in ops:
        for owner in (operand.owner for operand in op.operands):
            if isinstance(owner, Operation) and owner not in body:
                body.append(owner)
        body.append(op)
    return ModuleOp(body)


def test_every_op_of_the_dialect_is_covered() -> None:
    assert {type(op) for op in one_of_each()} == set(pt.PlenaTensor.operations)


def test_every_op_is_pure() -> None:
    assert all(op.has_trait(Pure()) for op in one_of_each())


@pytest.mark.parametrize("generic", [False, True])
def test_print_and_parse_are_inverse(generic: bool) -> None:
    module = module_of(one_of_each())
    module.verify()
    text = StringIO()
    Printer(text, print_generic_format=generic).print_op(module)
    again = Parser(context(), text.getvalue()).parse_module()
    again.verify()
    assert again.is_structurally_equivalent(module)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: pt.AddOp(value(4, 8), value(4)), "do not broadcast"),
        (lambda: pt.LinearOp(value(4, 8), value(8, 3)), "does not match weight"),
        (lambda: pt.LinearOp(value(4, 8), value(3, 8), value(8)), "bias"),
        (lambda: pt.MatmulOp(value(4, 8), value(4, 8)), "inner sizes differ"),
        (lambda: pt.PermuteOp(value(4, 8), (0, 0)), "no permutation"),
        (lambda: pt.SliceOp(value(4, 8), 1, 0, 9), "outside size 8"),
        (lambda: pt.ConcatOp([value(4, 8), value(4, 4)], 0), "concat of"),
        (lambda: pt.ReshapeOp(value(4, 8), (4, 4)), "number of elements"),
        (lambda: pt.ExpandOp(value(4, 8), (8, 8)), "do not broadcast"),
        (lambda: pt.SdpaOp(value(1, 4, 5, 8), value(1, 2, 5, 8), value(1, 2, 5, 8)), "4 query heads over 2"),
        (lambda: pt.RmsNormOp(value(4, 8), value(4), 1e-6), "gain and bias must have 8 elements"),
        (lambda: pt.RopeOp(value(4, 8), value(4, 8), value(4, 8), 2), "do not fit"),
        (lambda: pt.GeluOp(value(4), "erf"), "approximate"),  # pyright: ignore[reportArgumentType]
        (lambda: pt.QuantizeOp(value(4, 8), pt.QuantizeFormat.ACT, 5), "between 1 and 4"),
        (lambda: pt.EmbeddingOp(value(4, 8), value(3)), "ids must be i64"),
        (
            lambda: pt.AttentionOp(
                value(4, 8), value(4, 8), value(4, 8), heads=2, kv_heads=2, scale=1.0, mask_kind=pt.MaskKind.NONE, sinks=value(4)
            ),
            "sinks are one number per query head",
        ),
        (lambda: pt.TopkOp(value(4, 8), 9), "the 9 greatest of 8"),
        (lambda: pt.GatherOp(value(4, 8), typed(i64, 3, 2)), "do not point into the rows"),
        (lambda: pt.IndexSelectOp(value(6, 3, 8), typed(i64, 4, 2)), "ids .N. select"),
        (lambda: pt.MoeWeightsOp(value(4, 8), typed(i64, 3, 2), pt.Normalised.ALL), "do not point into logits"),
        (lambda: pt.ExpertLinearOp(value(4, 8), value(6, 3, 7), typed(i64, 4, 2)), "do not match the weights"),
        (lambda: pt.ExpertLinearOp(value(5, 8), value(6, 3, 8), typed(i64, 4, 2)), "5 rows for 4 x 2 choices"),
        (lambda: pt.ExpertLinearOp(value(4, 8), value(6, 3, 8), typed(i64, 4, 2), value(6, 8)), "the bias does not match"),
        (lambda: pt.MoeCombineOp(value(7, 3), value(4, 2)), "do not match the weights"),
        (
            lambda: pt.AttentionOp(
                value(4, 8), value(4, 8), value(4, 8), heads=2, kv_heads=2, scale=1.0, mask_kind=pt.MaskKind.SLIDING
            ),
            "window disagree",
        ),
        (lambda: pt.ParameterOp("layers.{}.weight", pt.tensor_type((8,))), "1 index places"),
        (
            lambda: pt.ConstantOp(DenseIntOrFPElementsAttr.from_list(pt.tensor_type((1025,)), [0.0] * 1025)),
            "belongs in the parameter store",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build: Callable[[], Operation], message: str) -> None:
    with pytest.raises(VerifyException, match=message):
        build().verify(verify_nested_ops=False)


def test_a_wrong_result_type_is_refused() -> None:
    op = pt.AddOp.create(operands=[value(4), value(4)], result_types=[pt.tensor_type((5,))])
    with pytest.raises(VerifyException, match=r"result has shape \(5,\), expected \(4,\)"):
        op.verify_()
