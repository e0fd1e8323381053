"""What of the machine's arithmetic a golden imitates: five independent switches, and the modes that are made of them.

With every switch off the golden is plain float32; with every switch on it is the hardware golden. What no switch imitates is the
order in which the machine rounds and adds beyond that: float64 within a tile and float32 across tiles, row sums that start with
whole columns, blocks of keys. So the golden stays an execution of its own, and that difference is what a comparison with the
machine shows. The factor 0.25 of the broadcast forms needs no switch: powers of two are exact.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from plena_mlir.errors import TargetError


@dataclass(frozen=True)
class GoldenPrecision:
    """Which parts of the machine's arithmetic are imitated. MX blocks and elements are those of the target.

    Attributes:
        weights: the matrices of linear layers pass through the MX format of Matrix SRAM weights.
        kv: keys and values pass through the MX format of the cache.
        activations: what is staged for Vector SRAM (inputs, embedding tables, biases, gains, rope tables, explicit masks) passes
            through its MX format, in as many terms as the image stores.
        intermediates: the result of every op is bfloat16, and with `accumulation` every step of it that the table of
            `plena_tensor.roundings` names; constants are bfloat16, and so is what is staged.
        accumulation: an op accumulates its result in the steps of its hardware form (squares, row sum, mean, root, reciprocal; a
            softmax scaled after the product with the values; exp, tanh and gelu by the machine's formulas), instead of in one
            call of torch. Sums over K are float32 in torch's order in either case.
    """

    weights: bool = False
    kv: bool = False
    activations: bool = False
    intermediates: bool = False
    accumulation: bool = False

    @property
    def switches(self) -> tuple[str, ...]:
        """The switches that are on."""
        return tuple(name for name in SWITCHES if getattr(self, name))

    @property
    def name(self) -> str:
        """The name of the mode, or else the switches that are on, as `parse_golden_precision` reads them."""
        return next((name for name, mode in MODES.items() if mode == self), ",".join(self.switches))


SWITCHES: tuple[str, ...] = tuple(field.name for field in fields(GoldenPrecision))
"""The names of the switches, in the order in which an ablation turns them on."""

HARDWARE = GoldenPrecision(*[True] * len(SWITCHES))

MODES: Mapping[str, GoldenPrecision] = MappingProxyType(
    {
        "hardware": HARDWARE,
        "no_weight_quant": GoldenPrecision(kv=True, activations=True, intermediates=True, accumulation=True),
        "no_bf16": GoldenPrecision(weights=True, kv=True, activations=True, accumulation=True),
        "fp32": GoldenPrecision(),
    }
)


def parse_golden_precision(text: str | GoldenPrecision) -> GoldenPrecision:
    """The precision that a text names: a mode, or the switches that are on, separated by commas.

    Raises:
        TargetError: there is no such mode or switch, or a mode stands among switches.
    """
    if isinstance(text, GoldenPrecision):
        return text
    names = [name.strip() for name in text.split(",")]
    if len(names) == 1 and names[0] in MODES:
        return MODES[names[0]]
    for name in names:
        if name in MODES:
            raise TargetError(f"{name!r} is a whole mode and stands alone", where=f"golden precision {text!r}")
        if name not in SWITCHES:
            near = difflib.get_close_matches(name, (*MODES, *SWITCHES), 1)
            raise TargetError(
                f"{name!r} is neither a mode ({', '.join(MODES)}) nor a switch ({', '.join(SWITCHES)})",
                where="golden precision",
                hint=f"did you mean {near[0]}?" if near else None,
            )
    return GoldenPrecision(**dict.fromkeys(names, True))
