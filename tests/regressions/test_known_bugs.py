"""Bugs that other compilers for this machine had, each held off here; the number is that of the project's list.

Where a fault can be planted, the test plants it and sees that it shows.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from plena_mlir.backend import Instruction
from plena_mlir.backend.asm_encoder import decode, encode
from plena_mlir.backend.asm_parser import parse_asm
from plena_mlir.backend.asm_printer import print_asm
from plena_mlir.dialects import plena_tile
from plena_mlir.dialects.plena_isa import INSTRUCTIONS, InstructionSpec, OperandKind
from plena_mlir.emulator import run_program
from plena_mlir.errors import AsmError, EncodingError, Trap
from plena_mlir.interpreters.tensor import run_tensor
from plena_mlir.interpreters.tile import run_tile
from plena_mlir.numerics import round_bf16
from plena_mlir.passes.hidden_scores import LOWEST, MASKED
from plena_mlir.passes.isa.fp_constants import half_factors
from plena_mlir.passes.isa.legalize_immediates import LegalizeImmediatesPass
from plena_mlir.passes.tile import expand_attention
from plena_mlir.target import HBM_BLOCK, load_target, write_settings
from plena_mlir.target.settings import read_settings
from plena_mlir.verify.bounds import broken_bounds
from plena_mlir.verify.compare import compare
from plena_mlir.verify.transfers import check_transfers
from tests.isa_programs import apply, parse_isa
from tests.tensor_programs import Outcome, TensorProgram, assert_exact, execute, lower, normal, signs
from tests.tile_programs import Program

ROUNDING = 0.02
"""Relative RMS that roundings in other places may cost one attention."""


def attended(rows: int, target: str, head: int = 4) -> Outcome:
    """One causal head."""
    program = TensorProgram(target)
    x = program.hidden(rows, 3 * head)
    q, k, v = (program.linear(x, name, normal(head, 3 * head, seed=seed)) for seed, name in enumerate("qkv"))
    return execute(program, program.attention(q, k, v, 1, 1), normal(rows, 3 * head, seed=9))


def linear_program(features: int, outputs: int):
    def build(program: TensorProgram):
        return program.linear(program.hidden(9, features), "w", signs(outputs, features, seed=1))

    return build


def test_01_a_zero_output_within_an_absolute_tolerance() -> None:
    """Small results are not right because zero is within 0.2 of them."""
    reference = normal(16, 16) * np.float32(0.01)
    zero = compare(np.zeros_like(reference), reference)
    assert zero.allclose_0_2 == 1.0
    for link in ("hf_vs_tensor_fp32", "golden_vs_emulator", "tile_vs_emulator"):
        assert broken_bounds({link: zero}, layers=2)


@pytest.mark.parametrize("rows", [8, 16, 20])
def test_02_the_causal_mask_of_later_tiles(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which keys of a block a query sees depends on how far the block is from the diagonal."""
    assert attended(rows, "8x4x4").error <= ROUNDING
    real = expand_attention._Attention._score_row
    monkeypatch.setattr(
        expand_attention._Attention, "_score_row", lambda self, block, row, distance, keys: real(self, block, row, 0, keys)
    )
    assert (attended(rows, "8x4x4").error > ROUNDING) is (rows > 8)


def test_03_masks_that_become_nan_or_overflow() -> None:
    """A hidden score is finite, so that times zero it is zero, and is a table of its own: half floats could not hold it."""
    assert math.isfinite(MASKED)
    assert float(round_bf16(np.array([MASKED], np.float32))[0]) == MASKED
    assert MASKED < LOWEST
    assert math.isfinite(np.float32(MASKED) + np.float32(LOWEST))
    with np.errstate(over="ignore"):
        assert np.isinf(np.float16(MASKED))
    # Ragged rows and keys; `execute` starts from memories of NaN too and demands finite, equal outputs.
    assert np.isfinite(attended(13, "8x4x4").tile).all()


def test_04_probabilities_normalised_in_every_variant() -> None:
    """One block of keys in all, or several with running sums: rows of weights that sum to one give back equal values."""
    for rows, target in ((7, "8x4x4"), (8, "16x4x16"), (9, "8x4x4"), (20, "8x8x8")):
        program = TensorProgram(target)
        x = program.hidden(rows, 12)
        q, k = (program.linear(x, name, normal(4, 12, seed=seed)) for seed, name in enumerate("qk"))
        ones = program.linear(x, "v", np.zeros((4, 12), np.float32), np.ones(4, np.float32))
        outcome = execute(program, program.attention(q, k, ones, 1, 1), normal(rows, 12, seed=9))
        np.testing.assert_allclose(outcome.tile, 1.0, rtol=0.01)


@pytest.mark.parametrize("features", [24, 28])
def test_05_the_third_tile_of_k_and_the_tail(features: int) -> None:
    """Every tile of the contraction is fetched from its own place, the last and ragged one too."""
    for strategy in ("micro", "broadcast"):
        assert_exact(linear_program(features, 8), "8x4x4", signs(9, features, seed=2), strategy)


def test_06_columns_that_repeat() -> None:
    """The next BLEN outputs are BLEN rows of the tile further, not BLEN elements."""
    for strategy in ("micro", "broadcast"):
        output = assert_exact(linear_program(16, 24), "8x4x4", signs(9, 16, seed=2), strategy)
        blocks = output.reshape(9, -1, 4)
        assert all(np.any(blocks[:, 0] != blocks[:, block]) for block in range(1, blocks.shape[1]))


def test_07_immediates_that_do_not_fit() -> None:
    """An immediate is refused, not cut, wherever it comes from."""
    assert encode(parse_asm("S_ADDI_INT gp1, gp0, 262143\n"))
    with pytest.raises(AsmError):
        parse_asm("S_ADDI_INT gp1, gp0, 262144\n")
    (instruction,) = parse_asm("S_ADDI_INT gp1, gp0, 1\n")
    with pytest.raises(EncodingError):
        encode([replace(instruction, operands=(1, 0, 1 << 18))])


@pytest.mark.parametrize("target", ["8x4x4", "16x4x16", "24x4x8"])
def test_08_tensors_aligned_as_transfers_need_them(target: str) -> None:
    """Every tensor starts at a block of HBM, and no row's scales lie in two."""
    program = TensorProgram(target)
    x = program.hidden(5, 20)
    hidden = program.linear(x, "a", normal(12, 20), normal(12))
    module = lower(program, program.linear(hidden, "b", normal(28, 12))).module
    tensors = [op for op in module.body.block.ops if isinstance(op, plena_tile.GlobalOp)]
    assert len(tensors) >= 3
    assert all(op.address is not None and op.address.value.data % HBM_BLOCK == 0 for op in tensors)
    check_transfers(module)


def test_09_one_description_for_compiler_and_emulator(tmp_path) -> None:
    """The prefetch amounts that the compiler used are those in the settings beside the program."""
    target = replace(load_target("8x4x4"), prefetch_m_rows=12, prefetch_v_rows=3, writeback_v_rows=5)
    write_settings(target, tmp_path / "settings.toml")
    assert read_settings(tmp_path / "settings.toml").hash == target.hash
    assert replace(target, prefetch_m_rows=8).hash != target.hash
    assert_exact(linear_program(24, 16), target, signs(9, 24, seed=2))


@pytest.mark.parametrize("value", [0.1, 1e-30, 3e38, 2.0**100, -0.75, math.inf])
def test_10_constants_read_in_the_format_they_were_written_in(value: float) -> None:
    """What a preload holds is exact in IEEE half and in bfloat16, so that neither reading changes it."""
    wanted = float(round_bf16(np.array([value], np.float32))[0])
    product = np.float32(1)
    for factor in half_factors(wanted):
        assert float(np.float16(factor)) == factor == float(round_bf16(np.array([factor], np.float32))[0])
        product = round_bf16(np.array([product * np.float32(factor)], np.float32))[0]
    assert float(product) == wanted


def test_11_more_tiles_of_k_than_matrix_sram_holds() -> None:
    """A product over five tiles on a machine that holds two is split, and adds up."""
    target = replace(load_target("8x4x4"), matrix_sram_rows=2 * 8)
    for strategy in ("micro", "broadcast"):
        assert_exact(linear_program(40, 8), target, signs(9, 40, seed=2), strategy)


@pytest.mark.parametrize("spec", INSTRUCTIONS, ids=lambda spec: spec.mnemonic)
def test_12_operands_kept_in_their_fields(spec: InstructionSpec) -> None:
    """With another value in each field no operand can be dropped or swapped without a trace."""
    unread = (OperandKind.ZERO, OperandKind.IGNORED)
    values = tuple(0 if o.kind in unread else min(o.maximum, 1 + number) for number, o in enumerate(spec.operands))
    instruction = Instruction(spec, values)
    (word,) = encode(parse_asm(instruction.text() + "\n"))
    assert decode([word]) == [instruction]
    for number, operand in enumerate(spec.operands):
        if operand.kind not in unread:
            other = Instruction(spec, (*values[:number], 0, *values[number + 1 :]))
            assert encode([other]) != [word], operand.name


def test_13_reads_outside_hbm() -> None:
    """Beyond the end the simulator reads zeros; a program that we compiled is stopped instead."""
    target = replace(load_target("8x4x4"), hbm_size=4096)
    code = "S_ADDI_INT gp1, gp0, 4096\nC_SET_SCALE_REG gp1\nH_PREFETCH_V gp0, gp1, a0, 0, 0\n"
    words = encode(parse_asm(code))
    machine = run_program(words, target, fill=math.nan, timing="none").machine
    assert not machine.vram_rows(0, 1).any()
    with pytest.raises(Trap):
        run_program(words, target, fill=math.nan, timing="none", strict=True)


def calls_of(action: Callable[[], object]) -> int:
    """How many Python functions an action calls."""
    count = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(profile)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


def test_14_text_in_linear_time_and_not_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the instructions take twice the work, and machine code is made from operations, not from their text."""

    def module(count: int):
        lines = "\n".join(f"%x{n} = plena_isa.li {n} : !plena_isa.gp<gp1>" for n in range(count))
        return apply(parse_isa(lines), LegalizeImmediatesPass())

    small, large = module(100), module(200)
    print_asm(small), encode(small)
    for action in (print_asm, encode):
        assert calls_of(lambda action=action: action(large)) <= 2.2 * calls_of(lambda action=action: action(small))

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("its own assembly was parsed")

    monkeypatch.setattr("plena_mlir.backend.asm_parser.parse_asm", refuse)
    assert len(encode(large)) == len(print_asm(large).splitlines())


def test_15_threads_capped() -> None:
    """However many threads torch was given, the golden uses two, and gives them back."""
    import torch

    program = TensorProgram("8x4x4")
    result = program.linear(program.hidden(3, 8), "w", normal(8, 8))
    module = program.finish(result)
    seen: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        run_tensor(module, [normal(3, 8)], program.store, observe=lambda op, value: seen.append(torch.get_num_threads()))
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)
    assert seen
    assert max(seen) <= 2


@pytest.mark.parametrize("link", ["hf_vs_tensor_fp32", "golden_vs_emulator", "tile_vs_emulator"])
def test_16_errors_behind_the_first_columns(link: str) -> None:
    """Wherever in the output a block of columns is wrong, the comparison fails."""
    reference = normal(16, 64)
    for start in range(0, 64, 8):
        wrong = reference.copy()
        wrong[:, start : start + 8] = np.roll(wrong[:, start : start + 8], 1, axis=0)
        assert broken_bounds({link: compare(wrong, reference)}, layers=2), start


def test_17_stale_lanes_read_as_data() -> None:
    """A program that reads a lane which nobody wrote gives another output from memories of NaN."""
    program = Program("8x4x4")
    scratch, output = program.rows(1, 4), program.rows(1, 4, "output")
    with program.loop(3) as row:
        program.zero_row(program.at(scratch, 0, row, 0))
    zero = program.constant(0.0)
    with program.loop(4) as row:
        program.copy_row(program.at(output, 0, row, 0), program.at(scratch, 0, row, 0), zero)
    module = program.finish()
    zeroed, poisoned = (run_tile(module, {}, {}, fill=fill).output for fill in (0.0, math.nan))
    assert not np.array_equal(zeroed, poisoned, equal_nan=True)
    # What we compile does not: rows and features that fill no tile, from both memories.
    assert_exact(linear_program(13, 11), "8x4x4", signs(9, 13, seed=2))
