"""From plena_isa IR to assembly: the one place where a program becomes a sequence of instructions."""

from __future__ import annotations

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.backend.asm_instruction import RAW_WORD, SPEC_BY_MNEMONIC, Instruction, print_instructions
from plena_mlir.dialects.plena import module_path
from plena_mlir.dialects.plena_isa.abstract_ops import PlenaIsaInstruction
from plena_mlir.dialects.plena_isa.control_ops import CLoopEndOp, CLoopStartOp
from plena_mlir.dialects.plena_isa.formats import InstructionSpec
from plena_mlir.dialects.plena_isa.pseudo_ops import GetAddrOp, GetFpOp, GetGpOp, LiOp, WordOp
from plena_mlir.dialects.plena_isa.registers import PlenaRegisterType
from plena_mlir.dialects.plena_isa.scalar_int_ops import SAddiIntOp, SAddIntOp
from plena_mlir.dialects.plena_isa.structure_ops import LoopOp, YieldOp
from plena_mlir.errors import EncodingError

_NO_INSTRUCTION = (GetGpOp, GetFpOp, GetAddrOp, YieldOp)
_ZERO_REGISTER = 0


def print_asm(module: ModuleOp, *, comments: bool = False) -> str:
    """The assembly text of an allocated plena_isa module, one instruction a line.

    Args:
        comments: follow each instruction by `; ` and the module path it implements.

    Raises:
        EncodingError: an operation is not a plena_isa instruction, a register is not allocated, or a value does not fit its field.
    """
    return print_instructions(module_instructions(module), comments=comments)


def module_instructions(module: ModuleOp) -> list[Instruction]:
    """The instructions of an allocated plena_isa module in program order. Errors as for `print_asm`."""
    instructions: list[Instruction] = []
    for block in module.body.blocks:
        _append_block(block, instructions)
    return instructions


def _append_block(block: Block, instructions: list[Instruction]) -> None:
    for op in block.ops:
        if isinstance(op, PlenaIsaInstruction):
            operands = tuple(value if isinstance(value, int) else _register(op, value) for _, value in op.assembly_operands())
            _append(instructions, op, SPEC_BY_MNEMONIC[op.mnemonic()], operands)
        elif isinstance(op, LoopOp):
            _append_loop(op, instructions)
        elif isinstance(op, WordOp):
            _append(instructions, op, RAW_WORD, (op.value.value.data,))
        elif isinstance(op, LiOp):
            raise EncodingError(
                f"the pseudo instruction `{op.name} {op.value.value.data}` has no assembly form",
                where=module_path(op) or None,
                hint="run legalize-immediates first",
            )
        elif not isinstance(op, _NO_INSTRUCTION):
            raise EncodingError(
                f"`{op.name}` is not an instruction", where=module_path(op) or None, hint="lower it to plena_isa first"
            )


def _append_loop(op: LoopOp, instructions: list[Instruction]) -> None:
    counter = _register(op, op.counter)
    for group in op.tied_groups():
        registers = {_register(op, value) for value in group}
        if len(registers) != 1:
            raise EncodingError(
                "a loop-carried value moves between registers " + ", ".join(str(value.type) for value in group),
                where=module_path(op) or None,
            )
    _append(instructions, op, _LOOP_START, (counter, op.trips.value.data))
    if op.extra is not None:
        extra = _register(op, op.extra)
        _append(instructions, op, _ADD, (counter, counter, extra))
        _append(instructions, op, _ADD_IMMEDIATE, (extra, _ZERO_REGISTER, 0))
    _append_block(op.body.block, instructions)
    _append(instructions, op, _LOOP_END, (counter, 0))


def _append(instructions: list[Instruction], op: Operation, spec: InstructionSpec, operands: tuple[int, ...]) -> None:
    instruction = Instruction(spec, operands, module_path(op))
    instruction.check()
    instructions.append(instruction)


def _register(op: Operation, value: SSAValue) -> int:
    index = value.type.physical_index if isinstance(value.type, PlenaRegisterType) else None
    if index is None:
        raise EncodingError(
            f"`{op.name}` uses a value of type {value.type}, which is no physical register",
            where=module_path(op) or None,
            hint="run allocate-registers first",
        )
    return index


_LOOP_START = SPEC_BY_MNEMONIC[CLoopStartOp.mnemonic()]
_LOOP_END = SPEC_BY_MNEMONIC[CLoopEndOp.mnemonic()]
_ADD = SPEC_BY_MNEMONIC[SAddIntOp.mnemonic()]
_ADD_IMMEDIATE = SPEC_BY_MNEMONIC[SAddiIntOp.mnemonic()]
