"""Where the hardware form of each op rounds: one table for the golden, the lowering to tiles and the passes that fuse rows.

Vector SRAM and the f registers hold bfloat16, so every value that an op leaves there is rounded (machine specification, section 3);
what stays in an accumulator is float32. The steps of an op are named here in the order in which they happen, each the name of a
value that is rounded to bfloat16. Whoever computes or lowers an op rounds these values and no others; constants are bfloat16 too.
"""

from __future__ import annotations

from xdsl.ir import Operation

from plena_mlir.dialects.plena_tensor.contractions import EmbeddingOp, LayerNormOp, LinearOp
from plena_mlir.dialects.plena_tensor.elementwise import (
    AddOp,
    GeluOp,
    MaximumOp,
    MinimumOp,
    MulOp,
    ReluOp,
    SiluOp,
    SoftCapOp,
    SubOp,
)
from plena_mlir.dialects.plena_tensor.experts import ExpertLinearOp, MoeCombineOp, MoeWeightsOp, TopkOp
from plena_mlir.dialects.plena_tensor.movement import ConcatOp, SliceOp
from plena_mlir.dialects.plena_tensor.pooling import SumRowsOp
from plena_mlir.dialects.plena_tensor.transformer import AttentionOp, QuantizeOp, RmsNormOp, RopeOp

TANH = ("square", "denominator", "reciprocal", "numerator", "ratio", "tanh", "capped")

ROUNDED: dict[type[Operation], tuple[str, ...]] = {
    # A number that is added to, or multiplied with, every element is a constant of the machine.
    AddOp: ("constant", "sum"),
    SubOp: ("difference",),
    MulOp: ("constant", "product"),
    # -x is exact; silu(x) = x * 1 / (1 + exp(-x)).
    SiluOp: ("exponential", "denominator", "reciprocal", "product"),
    # The tanh form, as x * 1 / (1 + exp(-2 u)) with u = sqrt(2 / pi) (x + 0.044715 x^3).
    GeluOp: ("square", "factor", "argument", "exponential", "denominator", "reciprocal", "product"),
    ReluOp: (),
    MaximumOp: ("constant",),
    MinimumOp: ("constant",),
    # cap * tanh(x / cap) by the quotient of two polynomials of x^2; a polynomial is rounded after each of its three operations.
    SoftCapOp: ("argument", *TANH),
    EmbeddingOp: (),
    SliceOp: (),
    # Rows are added in pairs; the machine rounds the sum of every pair.
    SumRowsOp: ("sum",),
    ConcatOp: (),
    # The product is a float32 sum over all of K.
    LinearOp: ("product", "sum with bias"),
    ExpertLinearOp: ("product", "sum with bias"),
    # Comparisons are exact; V_TOPK's softmax over its own k is rounded once. What is left to do is scalar arithmetic: dividing by
    # the sum over the experts asked for, or, over all, times the share of V_TOPK's k in all exponentials.
    TopkOp: (),
    MoeWeightsOp: ("weight", "sum", "difference", "exponential", "reciprocal", "factor", "normalised weight"),
    # Expert after expert.
    MoeCombineOp: ("product", "sum"),
    # Squares of a row, their sum in float32, then scalars; every lane times the one scale.
    RmsNormOp: ("square", "sum", "mean", "mean plus eps", "root", "reciprocal", "normal", "product with gain"),
    LayerNormOp: (
        "sum of lanes",
        "mean of lanes",
        "centred",
        "square",
        "sum",
        "mean",
        "mean plus eps",
        "root",
        "reciprocal",
        "normal",
        "product with gain",
        "sum with bias",
    ),
    # rotate_half is exact: it moves lanes and changes signs.
    RopeOp: ("cosine product", "sine product", "sum"),
    # Flash attention over one block of keys: the reciprocal of the row sum scales the product with the values.
    # The scores of a soft cap are divided by it in the query projection, so that they are the argument of tanh.
    # A sink is one more score, whose weight counts in the row sum and nowhere else.
    AttentionOp: (
        "score",
        *TANH,
        "masked score",
        "sink",
        "difference",
        "weight",
        "sink difference",
        "sink weight",
        "row sum",
        "product",
        "scaled product",
    ),
    # The terms of an exact value are added one after the other.
    QuantizeOp: ("sum of terms",),
}
"""Op class -> the values that its hardware form rounds to bfloat16, in order."""
