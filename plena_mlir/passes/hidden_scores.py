"""The numbers that hide a key from a query when they are added to its score.

From the nearest to zero to the farthest: no model adds a bias as low as HIDDEN_BELOW, so what is lower is read as hiding a key.
HIDDEN is lower, so that boolean masks written with it, one of several terms, are read as masks again once they are added up. LOWEST
bounds explicit masks from below: models write -inf or the least float32, which bf16 rounds to -inf, and 0 times that is NaN. MASKED
is what the lowering adds by itself, to the keys after a query and to the padding: so much lower than LOWEST that padding has no
weight even for a query whose keys the model hides one and all, and with a finite sum of the two.
"""

from __future__ import annotations

HIDDEN_BELOW = -1e9
"""A number lower than this added to a score removes the key: exp of it is 0 in every format here."""

HIDDEN = 2 * HIDDEN_BELOW
"""What a boolean mask adds to hide a key, where it becomes one of several terms."""

LOWEST = -1e30
"""The least that an explicit mask adds."""

MASKED = -(2.0**100)
"""Added to the score of a key that must not be seen: finite, so that a masked lane times zero stays zero."""
