"""Scores and probabilities of attention: the blocks that the machine computes one after the other, against the golden's matrices.

The machine keeps one block of queries by keys at a time. A row of it is read when its masked scores are complete and again when
they have become exponentials, relative to the largest score seen so far, and the blocks are put together to the whole
[heads, queries, keys]. What is compared is

* of the scores, every key that may be seen;
* of the probabilities, the share of each key in its row. The exponentials of a block are relative to the largest score seen until
  then, so keys are compared within their block, and a block counts for what it has of the golden's row. How the machine weighs
  the blocks against each other, its running maxima and sums, shows in the attention's result.

A key that must not be seen has to be hidden on the machine too, in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from plena_mlir.dialects.plena_tensor import AttentionOp, MaskKind
from plena_mlir.errors import ComparisonError
from plena_mlir.passes.tile.lowering.stages import PROBABILITIES_PART, SCORES_PART
from plena_mlir.verify.compare import Comparison, compare
from plena_mlir.verify.stages import Occurrence, PartRows, part_name, stage_title

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]

HIDDEN_SCORE = -(2.0**99)
"""A score below it is that of a key which must not be seen: the machine adds -2^100, the golden minus infinity."""

HIDDEN_SHARE = 1e-30
"""Largest share of a row that a hidden key may have: exp is clamped at -88 and never gives zero."""


@dataclass(frozen=True)
class Tiling:
    """How an attention was cut into blocks, in the order of execution.

    Attributes:
        starts: per captured row its (head, query, first key); queries from the real number of rows on are padding.
        shape: (heads, queries, keys) of the whole.
    """

    starts: NDArray[np.int64]
    shape: tuple[int, int, int]

    @staticmethod
    def of(op: AttentionOp, keys: int, queries: int, physical_queries: int, edge: int, captured: int) -> Tiling:
        """The tiling of an attention of which `captured` rows were read.

        Args:
            queries: real rows of the result, `physical_queries` with padding.
            edge: rows and keys of a block.

        Raises:
            ComparisonError: no tiling has so many rows.
        """
        heads, block_rows = op.heads.value.data, min(physical_queries, edge)
        query_blocks, key_blocks = -(-physical_queries // edge), -(-keys // edge)
        causal = op.mask_kind.data in (MaskKind.CAUSAL, MaskKind.SLIDING) and key_blocks > 1
        if op.block is None:
            steps = [list(range(block, -1, -1)) if causal else list(range(key_blocks)) for block in range(query_blocks)]
        else:
            # One block of queries at a time; from the diagonal back to the first block of keys, their number is its place.
            seen = captured // (heads * block_rows)
            steps = [list(range(seen - 1, -1, -1)) if causal else list(range(key_blocks))]
        starts = [
            (head, block * edge + row, step * edge)
            for head in range(heads)
            for block, blocks in enumerate(steps)
            for step in blocks
            for row in range(block_rows)
        ]
        if len(starts) != captured:
            raise ComparisonError(f"{captured} rows of blocks were computed, {len(starts)} are needed")
        return Tiling(np.array(starts), (heads, queries, keys))

    def assemble(self, rows: F32 | F64) -> F64:
        """Captured rows [captured, VLEN] as [heads, queries, keys], NaN where no block was computed."""
        heads, queries, keys = self.shape
        edge = rows.shape[1]
        whole = np.full((heads, queries, -(-keys // edge) * edge), np.nan)
        for (head, query, key), row in zip(self.starts.tolist(), rows, strict=True):
            if query < queries:
                whole[head, query, key : key + edge] = row
        return whole[:, :, :keys]

    def computed(self, edge: int) -> NDArray[np.bool_]:
        """[heads, queries, keys], where a block of rows of `edge` keys was computed."""
        return ~np.isnan(self.assemble(np.zeros((len(self.starts), edge), np.float32)))

    def row_at(self, head: int, query: int, key: int, edge: int) -> int:
        """The number of the captured row that holds an element."""
        wanted = np.array([head, query, key // edge * edge])
        return int(np.flatnonzero((self.starts == wanted).all(axis=1))[0])


def whole_scores(tiling: Tiling, rows: PartRows) -> F64:
    """Masked scores of the machine, [heads, queries, keys]."""
    return tiling.assemble(rows.values())


def whole_probabilities(tiling: Tiling, rows: PartRows, golden: F64) -> F64:
    """Shares of the machine, [heads, queries, keys]: within each block of keys, which together have the share of the golden's."""
    weights = tiling.assemble(rows.values())
    edge = len(rows.rows[0])
    for first in range(0, weights.shape[-1], edge):
        block = weights[..., first : first + edge]
        mass = golden[..., first : first + edge].sum(axis=-1, keepdims=True)
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            block *= mass / block.sum(axis=-1, keepdims=True)
    return weights


def shares(weights: F32) -> F64:
    """Each row of the golden divided by its sum."""
    wide = weights.astype(np.float64)
    return wide / wide.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class PartValues:
    """One part of an attention in one iteration, [heads, queries, keys] on both sides.

    Attributes:
        seen: which keys may be seen.
        computed: which keys the machine computed; the others, all of them hidden, are NaN in `machine`.
        hidden_above: a hidden key above this on the machine is not hidden.
    """

    occurrence: Occurrence
    machine: F64
    golden: F64
    seen: NDArray[np.bool_]
    computed: NDArray[np.bool_]
    hidden_above: float

    @property
    def expected(self) -> F32:
        """The golden; where a key is hidden on both sides, however it is hidden, the machine."""
        hidden = ~self.seen & (~self.computed | (self.machine <= self.hidden_above))
        return np.where(hidden, self.machine, self.golden).astype(np.float32)

    def compared(self) -> Comparison:
        """All keys that may be seen.

        Raises:
            ComparisonError: a key that must not be seen is not hidden, or one that may be seen was not computed.
        """
        name = stage_title(self.occurrence)
        wrong = np.argwhere(~self.seen & self.computed & ~(self.machine <= self.hidden_above))
        if wrong.size:
            place = tuple(int(index) for index in wrong[0])
            raise ComparisonError(
                f"{len(wrong)} keys that must not be seen are not hidden, first (head, query, key) {place}", where=name
            )
        return compare(self.machine[self.seen], self.golden[self.seen], name=name)


class AttentionSteps:
    """Follows the golden through its attentions, and holds what the machine computed against it.

    Args:
        parts: the captured rows.
        edge: rows and keys of a block.
    """

    def __init__(self, parts: Mapping[Occurrence, PartRows], edge: int) -> None:
        self._parts = parts
        self._edge = edge
        self._seen: NDArray[np.bool_] = np.zeros(0, np.bool_)

    def values(self, op: AttentionOp, step: str, value: F32, attention: Occurrence) -> PartValues | None:
        """What is compared at a rounded step of the golden's `attention`; None at a step that has no counterpart.

        Raises:
            ComparisonError: the machine left no such values, or not of so many rows.
        """
        if op.parts:  # the golden takes its steps sequence by sequence, and each has the shape of one
            return None
        scores, probabilities = (part_occurrence(attention, part) for part in (SCORES_PART, PROBABILITIES_PART))
        match step:
            case "masked score":
                self._seen = value > HIDDEN_SCORE
                tiling, rows = self._rows(op, scores, value)
                computed = tiling.computed(self._edge)
                return PartValues(scores, whole_scores(tiling, rows), value.astype(np.float64), self._seen, computed, HIDDEN_SCORE)
            case "weight":
                tiling, rows = self._rows(op, probabilities, value)
                golden = shares(value)
                machine = whole_probabilities(tiling, rows, golden)
                return PartValues(probabilities, machine, golden, self._seen, tiling.computed(self._edge), HIDDEN_SHARE)
            case _:
                return None

    def _rows(self, op: AttentionOp, part: Occurrence, value: F32) -> tuple[Tiling, PartRows]:
        if part not in self._parts:
            raise ComparisonError("the machine left no rows of it")
        rows = self._parts[part]
        _, queries, keys = value.shape
        return Tiling.of(op, keys, queries, rows.physical_rows, self._edge, len(rows.rows)), rows


def part_occurrence(stage: Occurrence, part: str) -> Occurrence:
    """The part of a stage, in the same iteration."""
    return part_name(stage[0], part), stage[1]
