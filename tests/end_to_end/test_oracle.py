"""The comparisons can fail: outputs, images, code and IR that are wrong in the ways that happen, each caught by a named link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from xdsl.dialects.builtin import FloatAttr, f64

from plena_mlir import CompiledProgram
from plena_mlir.dialects import plena_tensor as pt
from plena_mlir.errors import ComparisonError, LoweringError, Trap
from plena_mlir.target.layout import GlobalData
from plena_mlir.verify.bounds import broken_bounds

F32 = NDArray[np.float32]
ALL = ("hf", "golden", "tile")


@pytest.fixture
def copy(program: CompiledProgram) -> CompiledProgram:
    """The shared program with what it computes lazily already computed, free to be spoilt."""
    program.machine_code, program.fpsram, program.weights, program.inputs, program.locations  # noqa: B018
    other = replace(program, stages={name: module.clone() for name, module in program.stages.items()})
    for name in ("machine_code", "fpsram", "weights", "inputs", "locations"):
        other.__dict__[name] = program.__dict__[name]
    return other


def broken(program: CompiledProgram) -> list[str]:
    """The links that fail."""
    comparisons = program.run(compare=ALL).report.comparisons
    return sorted({sentence.partition(":")[0] for sentence in broken_bounds(comparisons, layers=2)})


def test_nothing_is_wrong_to_begin_with(copy) -> None:
    assert broken(copy) == []


def off_by_one_column(output: F32) -> F32:
    return np.roll(output, 1, axis=1)


def off_by_one_row(output: F32) -> F32:
    return np.roll(output, 1, axis=0)


def off_by_one_stride(output: F32) -> F32:
    rows, columns = output.shape
    flat = np.concatenate([output.reshape(-1), np.zeros(rows, np.float32)])
    return flat[: rows * (columns + 1)].reshape(rows, columns + 1)[:, :columns].copy()


def zeroed(output: F32) -> F32:
    return np.zeros_like(output)


def last_row_zeroed(output: F32) -> F32:
    return np.concatenate([output[:-1], np.zeros_like(output[:1])])


def permuted(output: F32) -> F32:
    return output[:, np.random.default_rng(0).permutation(output.shape[1])]


def first_column_block_replicated(output: F32) -> F32:
    return np.tile(output[:, :8], (1, -(-output.shape[1] // 8)))[:, : output.shape[1]]


def quartered(output: F32) -> F32:
    return output / 4


@pytest.mark.parametrize(
    "fault",
    [
        zeroed,
        last_row_zeroed,
        permuted,
        off_by_one_row,
        off_by_one_column,
        off_by_one_stride,
        first_column_block_replicated,
        quartered,
    ],
    ids=lambda fault: fault.__name__,
)
def test_wrong_outputs_break_both_links_to_the_machine(copy, monkeypatch, fault: Callable[[F32], F32]) -> None:
    emulate = copy._emulate

    def faulty(*arguments: Any) -> Any:
        output, result = emulate(*arguments)
        return fault(output), result

    monkeypatch.setattr(copy, "_emulate", faulty)
    assert broken(copy) == ["golden_vs_emulator", "tile_vs_emulator"]


def test_one_bit_of_one_element_breaks_the_exact_link(copy, monkeypatch) -> None:
    emulate = copy._emulate

    def faulty(*arguments: Any) -> Any:
        output, result = emulate(*arguments)
        output[-1, -1] = np.nextafter(output[-1, -1], np.float32(np.inf))
        return output, result

    monkeypatch.setattr(copy, "_emulate", faulty)
    assert broken(copy) == ["tile_vs_emulator"]


def test_the_output_of_the_run_before_is_caught(copy, monkeypatch) -> None:
    stale = copy.run(input_ids=[1] * 9).output
    emulate = copy._emulate
    monkeypatch.setattr(copy, "_emulate", lambda *arguments: (stale, emulate(*arguments)[1]))
    assert broken(copy) == ["golden_vs_emulator", "tile_vs_emulator"]


def test_an_output_that_is_not_finite_is_no_result(copy, monkeypatch) -> None:
    emulate = copy._emulate

    def faulty(*arguments: Any) -> Any:
        output, result = emulate(*arguments)
        output[0, 0] = np.nan
        return output, result

    monkeypatch.setattr(copy, "_emulate", faulty)
    with pytest.raises(ComparisonError, match="not finite"):
        copy.run(compare=("golden",))


def test_an_output_that_depends_on_old_memory_is_an_error(copy, monkeypatch) -> None:
    emulate = copy._emulate

    def faulty(*arguments: Any) -> Any:
        output, result = emulate(*arguments)
        if any(isinstance(argument, float) and np.isnan(argument) for argument in arguments):
            output[0, 0] = np.nan
        return output, result

    monkeypatch.setattr(copy, "_emulate", faulty)
    with pytest.raises(LoweringError, match="1 of 873 outputs depend on memory that nobody wrote"):
        copy.run(compare=("golden",))


@pytest.mark.parametrize("opcode", ["V_EXP_V", "V_MUL_VV", "V_RED_MAX", "S_SQRT_FP", "H_STORE_V", "S_RECI_FP"])
def test_an_instruction_left_out_is_caught(copy, opcode) -> None:
    """Memory that stays as it was must not look like a result: the machine traps, or the output is wrong or depends on the fill."""
    from plena_mlir.backend.asm_encoder import encode
    from plena_mlir.backend.asm_parser import parse_asm

    nothing = encode(parse_asm("S_ADD_INT gp1, gp1, gp0\n"))[0]
    lines = [number for number, line in enumerate(copy.isa.splitlines()) if line.split(maxsplit=1)[0] == opcode]
    assert lines, f"the program has no {opcode}"
    words = list(copy.machine_code)
    words[lines[0]] = nothing
    copy.__dict__["machine_code"] = words
    try:
        found = broken(copy)
    except (ComparisonError, LoweringError, Trap):
        return
    assert "tile_vs_emulator" in found


def test_a_weight_read_as_zeros_is_caught_by_the_golden(copy) -> None:
    """Tile interpreter and machine read the same wrong image, so that only the golden can tell."""
    name = next(tensor.name for tensor in copy.tensors if "v_proj" in tensor.name)
    data = copy.weights[name]
    copy.__dict__["weights"] = {**copy.weights, name: GlobalData(np.zeros_like(data.elements), np.zeros_like(data.scales))}
    assert broken(copy) == ["golden_vs_emulator"]


def test_a_weight_at_the_wrong_scale_is_caught_by_the_golden(copy) -> None:
    """What forgetting the factor 4 of the broadcast forms does."""
    name = next(tensor.name for tensor in copy.tensors if "up_proj" in tensor.name)
    data = copy.weights[name]
    scales = np.where(data.scales > 2, data.scales - 2, 0).astype(np.uint8)
    copy.__dict__["weights"] = {**copy.weights, name: GlobalData(data.elements, scales)}
    assert broken(copy) == ["golden_vs_emulator"]


def without_rope(module: Any) -> None:
    for op in list(module.walk()):
        if isinstance(op, pt.RopeOp):
            op.result.replace_all_uses_with(op.x)


def silu_on_the_wrong_branch(module: Any) -> None:
    for op in list(module.walk()):
        if isinstance(op, pt.SiluOp):
            (product,) = (use.operation for use in op.result.uses)
            other = next(operand for operand in product.operands if operand is not op.result)
            gate = op.x
            # The op moves behind the other projection.
            op.detach()
            product.parent.insert_op_before(op, product)
            op.operands[0] = other
            product.operands[0], product.operands[1] = op.result, gate


def without_gains(module: Any) -> None:
    """What folding a norm's gain and forgetting to multiply does: every weight product reads its first operand."""
    for op in list(module.walk()):
        if isinstance(op, pt.MulOp) and pt.is_weight(op.result) and pt.shape_of(op.lhs) == pt.shape_of(op.result):
            op.result.replace_all_uses_with(op.lhs)


def other_eps(module: Any) -> None:
    for op in module.walk():
        if isinstance(op, pt.RmsNormOp):
            op.eps = FloatAttr(0.05, f64)


def unmasked(module: Any) -> None:
    for op in module.walk():
        if isinstance(op, pt.AttentionOp):
            op.mask_kind = type(op.mask_kind)("none")


@pytest.mark.parametrize(
    "fault",
    [without_rope, silu_on_the_wrong_branch, without_gains, other_eps, unmasked],
    ids=lambda fault: fault.__name__,
)
def test_a_wrong_function_is_caught_by_hugging_face(copy, fault) -> None:
    """Golden, tile level and machine compute faithfully what they were given; only PyTorch knows that it is the wrong function."""
    module = copy.stages["tensor"]
    fault(module)
    module.verify()
    comparisons = copy.run(compare=("hf",)).report.comparisons
    assert comparisons["hf_vs_tensor_fp32"].max_rel >= 0.01
    assert any("hf_vs_tensor_fp32" in sentence for sentence in broken_bounds(comparisons, layers=2))
