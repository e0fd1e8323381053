"""The sequences of one run: how many, how long each is, and on which side the shorter ones are padded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from transformers import PreTrainedModel

from plena_mlir.errors import ModelImportError

PaddingSide = Literal["left", "right"]


@dataclass(frozen=True)
class Batch:
    """Sequences of `seq_len` rows each, the rows of one after those of the other; `lengths` are tokens, the rest padding."""

    seq_len: int
    lengths: tuple[int, ...]
    side: PaddingSide = "right"

    @staticmethod
    def of(batch: int | None, seq_len: int, lengths: Sequence[int] | None, side: str) -> Batch:
        """The batch that the options of an import describe.

        Raises:
            ModelImportError: they contradict each other.
        """
        if not isinstance(seq_len, int) or seq_len < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ModelImportError(f"sequence length {seq_len!r}", hint="a sequence has at least one token")
        if side not in ("left", "right"):
            raise ModelImportError(f"padding side {side!r}", hint="it is left or right")
        found = tuple(lengths) if lengths is not None else (seq_len,) * (1 if batch is None else batch)
        if not found or (batch is not None and batch != len(found)):
            raise ModelImportError(f"{len(found)} lengths for a batch of {batch}", hint="give one length for each sequence")
        for length in found:
            if not 1 <= length <= seq_len:
                raise ModelImportError(f"a sequence of {length} tokens in {seq_len} rows", hint=f"lengths are 1 to {seq_len}")
        return Batch(seq_len, found, "left" if side == "left" else "right")

    @property
    def size(self) -> int:
        """How many sequences there are."""
        return len(self.lengths)

    @property
    def rows(self) -> int:
        """Rows of all sequences together, padding included."""
        return self.size * self.seq_len

    @property
    def padded(self) -> bool:
        return any(length < self.seq_len for length in self.lengths)

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """(first row, rows) of the tokens of each sequence."""
        ahead = [self.seq_len - length if self.side == "left" else 0 for length in self.lengths]
        firsts = [number * self.seq_len + start for number, start in enumerate(ahead)]
        return tuple(zip(firsts, self.lengths, strict=True))

    @property
    def token_rows(self) -> list[int]:
        """The rows that are no padding."""
        return [row for first, count in self.parts for row in range(first, first + count)]

    @property
    def last_rows(self) -> list[int]:
        """The row of the last token of each sequence."""
        return [first + count - 1 for first, count in self.parts]

    @property
    def attention_mask(self) -> torch.Tensor:
        """[sequences, seq_len] int64, 1 where tokens are."""
        mask = torch.zeros(self.rows, dtype=torch.int64)
        mask[self.token_rows] = 1
        return mask.reshape(self.size, self.seq_len)

    def fixed_arguments(self, model: PreTrainedModel) -> dict[str, torch.Tensor]:
        """The arguments of a forward call that follow from the padding.

        Position ids count tokens from 0 where a model that generates is padded on the left, as generation does it. Models that
        derive positions from where padding ids are in the input are given what they derive, so that the ids need not be known.
        """
        mask = self.attention_mask
        fixed = {"attention_mask": mask} if self.padded else {}
        counted = mask.cumsum(-1)
        offset = _padding_offset(model)
        if offset is not None:
            fixed["position_ids"] = counted * mask + offset
        elif self.padded and self.side == "left" and model.can_generate():
            fixed["position_ids"] = (counted - 1).clamp(min=0)
        return fixed


def _padding_offset(model: nn.Module) -> int | None:
    """The padding id of a module that counts positions from the ids that are not it; None if the model has none."""
    for module in model.modules():
        offset = getattr(module, "padding_idx", None)
        if hasattr(module, "create_position_ids_from_input_ids") and isinstance(offset, int):
            return offset
    return None
