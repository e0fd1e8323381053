"""Machine code as text."""

from __future__ import annotations

import pytest

from plena_mlir.backend.mem_file import parse_mem, print_mem
from plena_mlir.errors import EncodingError


def test_words_survive_a_round_trip():
    words = [0, 1, 0x22, 0xFFFFFFFF, 0x80000000]
    assert print_mem(words).splitlines()[2] == "0x00000022"
    assert parse_mem(print_mem(words)) == words


def test_prefix_is_optional_and_any_white_space_separates():
    assert parse_mem("0x22 ff\n\n\tDEADBEEF\r\n") == [0x22, 0xFF, 0xDEADBEEF]


def test_an_empty_file_is_an_empty_program():
    assert parse_mem("") == []


@pytest.mark.parametrize("bad", ["0X22", "xyz", "-1", "0x", "1FFFFFFFF", "22;", "# comment", "1_0", "٣"])
def test_a_bad_word_is_refused_with_its_place(bad):
    with pytest.raises(EncodingError, match=r"^prog\.mem:2:4: .* is not a hexadecimal word of 32 bits"):
        parse_mem(f"0x1\n22 {bad}\n", name="prog.mem")
