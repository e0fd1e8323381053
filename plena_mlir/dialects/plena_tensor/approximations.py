"""The formulas by which the machine, which has exp and 1 / x only, computes other functions; golden and lowering share them.

Each comes with the error it makes by itself, without the roundings to bfloat16 (half a unit of which is 0.2 to 0.4 %).
"""

from __future__ import annotations

from math import pi, sqrt

TANH_LIMIT = 3.625
TANH_NUMERATOR = (105.0, 945.0)
TANH_DENOMINATOR = (28.0, 63.0)
TANH_FACTOR = 1.0 / 15.0
"""tanh(x) = x / 15 (y^2 + 105 y + 945) / (y^2 + 28 y + 63) with y = x^2, x clamped to +-3.625: off by at most 0.15 %.

All coefficients are positive, so that nothing cancels. 1 - 2 / (1 + exp(2 x)) would be off by 2^-9 for the smallest x too, which
a soft cap of 50 turns into steps of 0.2 between scores.
"""

GELU_CUBIC = 0.044715
GELU_SCALE = 2.0 * sqrt(2.0 / pi)
"""gelu(x) = x / (1 + exp(-s x (1 + c x^2))) with this scale s and cubic coefficient c.

That is its tanh form without rounding error. The exact one, with the normal distribution function (erf), lies within 0.00048 of it
everywhere; on normal inputs of deviation 1 the two differ by 0.0002 (relative RMS), and the bfloat16 roundings of the formula make
0.0028. So both forms are computed like this: a third coefficient would bring 0.000026, and another rounding with it.
"""
