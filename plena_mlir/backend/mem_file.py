"""`.mem` files: machine code as text, one word a line (machine specification, section 1.5)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from plena_mlir.errors import EncodingError

_WORD = re.compile(r"(?:0x)?([0-9a-fA-F]+)")


def print_mem(words: Iterable[int]) -> str:
    """One `0x%08X` per line, as the public staging tool writes it."""
    return "".join(f"0x{word:08X}\n" for word in words)


def parse_mem(text: str, *, name: str = "<mem>") -> list[int]:
    """The 32-bit words of `text`: hexadecimal, with or without `0x`, separated by white space.

    Args:
        text: contents of the file; there are no comments in this form.
        name: the file, for error messages.

    Raises:
        EncodingError: something is not a hexadecimal word of 32 bits.
    """
    words: list[int] = []
    for number, line in enumerate(text.splitlines(), start=1):
        for token in re.finditer(r"\S+", line):
            match = _WORD.fullmatch(token.group())
            value = int(match.group(1), 16) if match is not None else -1
            if not 0 <= value < 1 << 32:
                shown = token.group() if len(token.group()) <= 24 else token.group()[:24] + "..."
                raise EncodingError(f"{shown!r} is not a hexadecimal word of 32 bits", where=f"{name}:{number}:{token.start() + 1}")
            words.append(value)
    return words
