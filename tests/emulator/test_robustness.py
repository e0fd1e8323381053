"""Whatever comes in, a result or one of our errors comes out: no other exception, no hang, no partial file."""

from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plena_mlir.backend import disassemble, encode, parse_asm
from plena_mlir.backend.mem_file import parse_mem, print_mem
from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from plena_mlir.emulator import run_program, write_dumps
from plena_mlir.emulator.emulate import emulate
from plena_mlir.emulator.machine import Machine
from plena_mlir.errors import PlenaError
from plena_mlir.target import load_target, read_settings, write_settings
from tests.emulator.random_programs import random_target

TINY = load_target("8x4x4")
BUDGET = 2_000

WORDS = st.builds(
    lambda opcode, rest: opcode | rest << 6,
    st.sampled_from([spec.opcode for spec in INSTRUCTIONS]),
    st.integers(0, (1 << 26) - 1),
)
"""Words with a known opcode and anything else."""

TOKENS = st.sampled_from(
    [
        *(spec.mnemonic for spec in INSTRUCTIONS),
        ".word",
        "gp1",
        "gp16",
        "f7",
        "a3",
        ",",
        "0",
        "-1",
        "0x10",
        "262144",
        ";",
        "//",
        "\n",
        " ",
    ]
)
files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


@given(st.lists(WORDS, max_size=40), st.booleans())
@settings(deadline=None)
def test_random_words_run_to_an_end_or_a_trap(words: list[int], strict: bool):
    try:
        result = run_program(words, TINY, strict=strict, max_instructions=BUDGET)
    except PlenaError:
        return
    assert result.instructions <= BUDGET


@given(st.lists(TOKENS, max_size=30).map(" ".join) | st.text(max_size=60))
def test_random_text_assembles_or_is_refused(text: str):
    try:
        instructions = parse_asm(text, warn=lambda message: None)
        words = encode(instructions)
        encode(instructions, reference_encoding=True)
    except PlenaError:
        return
    assert encode(parse_asm(disassemble(words))) == words


@given(st.text("0123456789abcdefxX \n", max_size=60) | st.text(max_size=30))
def test_random_machine_code_text_is_words_or_refused(text: str):
    try:
        words = parse_mem(text)
    except PlenaError:
        return
    assert parse_mem(print_mem(words)) == words


@given(opcode=st.binary(max_size=40) | st.just(b"0x00000034"), memory=st.binary(max_size=4200))
@files
def test_random_files_are_loaded_or_refused(opcode: bytes, memory: bytes, tmp_path: Path):
    for name, content in {"a.mem": opcode, "memory": memory}.items():
        (tmp_path / name).write_bytes(content)
    paths = {name: tmp_path / "memory" for name in ("hbm", "fpsram", "intsram", "vram")}
    try:
        emulate(tmp_path / "a.mem", TINY, max_instructions=BUDGET, **paths)
    except PlenaError:
        pass


@given(cut=st.integers(0, 7000), insert=st.binary(max_size=12))
@files
def test_damaged_settings_are_read_or_refused(cut: int, insert: bytes, tmp_path: Path):
    path = tmp_path / "machine.toml"
    write_settings(TINY, path)
    content = path.read_bytes()
    path.write_bytes(content[:cut] + insert + (content[cut:] if len(insert) % 2 else b""))
    try:
        read_settings(path)
    except PlenaError:
        pass


@given(seed=st.integers(0, 1 << 32))
@files
def test_settings_of_any_machine_read_back(seed: int, tmp_path: Path):
    target = random_target(Random(seed))
    write_settings(target, tmp_path / "machine.toml")
    assert read_settings(tmp_path / "machine.toml").hash == target.hash


def test_a_failed_dump_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    machine = Machine(TINY)
    write_dumps(machine, tmp_path)
    before = (tmp_path / "vram_dump.bin").stat().st_mtime_ns
    machine.load_vram(np.ones((1, 8), np.float32))
    monkeypatch.setattr("plena_mlir.emulator.files.to_bits", lambda values: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_dumps(machine, tmp_path)
    assert (tmp_path / "vram_dump.bin").stat().st_mtime_ns == before
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []
