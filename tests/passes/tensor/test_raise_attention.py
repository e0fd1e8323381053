"""raise-attention where the mask is too large for the IR."""

from __future__ import annotations

import numpy as np
import pytest
from xdsl.context import Context
from xdsl.dialects import func
from xdsl.dialects.builtin import Builtin, ModuleOp
from xdsl.parser import Parser

from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import LoweringError
from plena_mlir.passes.tensor.raise_attention import RaiseAttentionPass


class OneConstant:
    """A store with `const.0`."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values.astype(np.float32)

    def get(self, name: str) -> np.ndarray:
        assert name == "const.0"
        return self.values


def module() -> ModuleOp:
    """One sdpa with 64 queries and a boolean mask [1, 64, 64] from the store."""
    t = "tensor<1x2x64x4xf32>"
    text = f"""func.func @main(%q : {t}) -> {t} {{
      %m = plena_tensor.parameter "const.0" : tensor<1x64x64xi1>
      %y = plena_tensor.sdpa %q, %q, %q mask %m : ({t}, {t}, {t}, tensor<1x64x64xi1>) -> {t}
      func.return %y : {t}
    }}"""
    ctx = Context()
    for dialect in (Builtin, func.Func, pt.PlenaTensor):
        ctx.load_dialect(dialect)
    return Parser(ctx, text).parse_module()


def test_a_mask_in_the_store_is_recognised() -> None:
    lowered = module()
    RaiseAttentionPass(OneConstant(np.tri(64)[None])).apply(Context(), lowered)
    lowered.verify()
    (attention,) = (op for op in lowered.walk() if isinstance(op, pt.AttentionOp))
    assert attention.mask_kind.data == "causal"
    assert not any(isinstance(op, pt.ParameterOp) for op in lowered.walk())


def test_without_the_store_the_mask_is_an_error_without_a_dump_of_the_module() -> None:
    with pytest.raises(LoweringError, match="give the pass the parameter store") as caught:
        RaiseAttentionPass().apply(Context(), module())
    assert caught.value.__notes__ == []


def test_the_pass_prints_without_its_store() -> None:
    assert str(RaiseAttentionPass(OneConstant(np.tri(64))).spec()) == "raise-attention"
    assert str(RaiseAttentionPass().spec()) == "raise-attention"
