"""The MX format of each HBM stream of a target."""

from __future__ import annotations

from typing import Literal, TypeAlias

from plena_mlir.numerics.mx_format import MxFormat, mx_format
from plena_mlir.target.target import Target

Stream: TypeAlias = Literal["m_weight", "m_kv", "v_act", "v_kv"]
"""What a transfer says it moves: weights or K/V for the matrix unit, activations or K/V for the vector unit."""


def hbm_format(target: Target, stream: Stream) -> MxFormat:
    """The format of `stream`, with the rules of the target's numerics."""
    return mx_format(getattr(target.precisions, stream), target.numerics)
