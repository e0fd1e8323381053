"""What an instruction declaration says, as plain data.

The operation classes of the dialect declare each instruction once; `table.INSTRUCTIONS` is that declaration as the frozen records
below, for readers that have no use for IR: the emulator's decoder, the cycle models, the disassembler.

An instruction word has 32 bits (machine specification, section 2), least significant first:
`opcode[5:0] rd[9:6] rs1[13:10] rs2[17:14] rs3[21:18] funct1[25:22]`; `imm22 = word[31:10]` and `imm18 = word[31:14]`, both
zero-extended.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

OPCODE_BITS = 6
OPCODE_MASK = (1 << OPCODE_BITS) - 1


@dataclass(frozen=True)
class BitField:
    """A field of the instruction word: `width` bits from bit `shift` up."""

    name: str
    shift: int
    width: int

    @property
    def maximum(self) -> int:
        return (1 << self.width) - 1

    def extract(self, word: int) -> int:
        return (word >> self.shift) & self.maximum

    def insert(self, value: int) -> int:
        return (value & self.maximum) << self.shift


RD = BitField("rd", 6, 4)
RS1 = BitField("rs1", 10, 4)
RS2 = BitField("rs2", 14, 4)
RS3 = BitField("rs3", 18, 4)
FUNCT1 = BitField("funct1", 22, 4)
IMM18 = BitField("imm18", 14, 18)
IMM22 = BitField("imm22", 10, 22)
NO_FIELD = BitField("none", 0, 0)
"""For operands that the text has and the word does not."""
WHOLE_WORD = BitField("word", 0, 32)


class OperandKind(StrEnum):
    """What an operand of an assembly line is."""

    GP = "gp"
    FP = "f"
    ADDR = "a"
    LITERAL = "literal"
    """An unsigned integer."""
    ZERO = "zero"
    """A literal 0 that must be written; the machine requires or ignores the field."""
    IGNORED = "ignored"
    """May be written, means nothing."""

    @property
    def is_register(self) -> bool:
        return self in (OperandKind.GP, OperandKind.FP, OperandKind.ADDR)


class Role(StrEnum):
    """How an instruction uses a register."""

    SOURCE = "source"
    DESTINATION = "destination"
    TIED = "source and destination"
    """Read and written: in SSA an operand `<name>_in` and a result `<name>` that share one physical register."""
    NONE = "none"
    """Not a register."""


@dataclass(frozen=True)
class OperandSpec:
    """One operand of an assembly line, in the order of the text.

    Attributes:
        name: the field of the op class that holds it.
        optional: may be left out of the text, and then is 0. Only trailing operands are optional.
        reference_field: where the reference assembler puts the operand, when the machine looks elsewhere (machine
            specification, section 2.3).
    """

    name: str
    kind: OperandKind
    field: BitField
    role: Role = Role.NONE
    optional: bool = False
    reference_field: BitField | None = None

    @property
    def maximum(self) -> int:
        """Greatest legal value: of the literal, or of the register index."""
        match self.kind:
            case OperandKind.FP:
                return 7
            case OperandKind.ZERO:
                return 0
            case _:
                return self.field.maximum


class Unit(StrEnum):
    """The unit of the machine that executes an instruction."""

    MATRIX = "matrix"
    VECTOR = "vector"
    SCALAR_FP = "scalar fp"
    SCALAR_INT = "scalar int"
    HBM = "hbm"
    CONTROL = "control"


class TimingClass(StrEnum):
    """Instructions of one class take their cycles from one formula (machine specification, section 7)."""

    MATRIX_TILE = "matrix tile"
    """SYSTOLIC_PROCESSING_OVERHEAD + MLEN."""
    MATRIX_VECTOR = "matrix vector"
    """MLEN."""
    MATRIX_VECTOR_BROADCAST = "matrix vector broadcast"
    """SYSTOLIC_PROCESSING_OVERHEAD + 1."""
    MATRIX_WRITE_OUT = "matrix write-out"
    """1."""
    VECTOR_ADD = "vector add"
    VECTOR_MUL = "vector mul"
    VECTOR_EXP = "vector exp"
    VECTOR_RECI = "vector reci"
    VECTOR_MAX = "vector max"
    VECTOR_SUM = "vector sum"
    VECTOR_TOPK = "vector topk"
    """VECTOR_MAX per lane examined: 32 or 128 of them by the policy."""
    VECTOR_MAP = "vector map"
    """2 VLEN."""
    SCALAR_FP_BASIC = "scalar fp basic"
    SCALAR_FP_EXP = "scalar fp exp"
    SCALAR_FP_RECI = "scalar fp reci"
    SCALAR_FP_SQRT = "scalar fp sqrt"
    SCALAR_FP_MEMORY = "scalar fp memory"
    """1."""
    SCALAR_INT_BASIC = "scalar int basic"
    CONTROL = "control"
    """1."""
    PREFETCH_MATRIX = "prefetch matrix"
    PREFETCH_VECTOR = "prefetch vector"
    STORE_VECTOR = "store vector"
    NONE = "none"
    """The machine never completes the instruction."""


@dataclass(frozen=True)
class InstructionSpec:
    """One instruction: its text, its word and its cost.

    Attributes:
        operands: in the order of the assembly text.
        dropped_by_f0: with f0 as destination the instruction does nothing and takes 0 cycles (section 4.5).
        always_traps: executing it stops the machine, whatever the operands.
    """

    mnemonic: str
    opcode: int
    unit: Unit
    timing: TimingClass
    operands: tuple[OperandSpec, ...]
    dropped_by_f0: bool = False
    always_traps: bool = False


def gp(name: str, field: BitField, role: Role = Role.SOURCE) -> OperandSpec:
    """A general purpose register operand."""
    return OperandSpec(name, OperandKind.GP, field, role)


def fp(name: str, field: BitField, role: Role = Role.SOURCE) -> OperandSpec:
    """A floating point register operand."""
    return OperandSpec(name, OperandKind.FP, field, role)


def addr(name: str, field: BitField, role: Role = Role.SOURCE) -> OperandSpec:
    """An HBM address register operand."""
    return OperandSpec(name, OperandKind.ADDR, field, role)


def literal(name: str, field: BitField, *, optional: bool = False, reference_field: BitField | None = None) -> OperandSpec:
    """An immediate or flag operand."""
    return OperandSpec(name, OperandKind.LITERAL, field, Role.NONE, optional, reference_field)
