"""The instruction declarations: complete, consistent, and faithful in every syntax."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO

import pytest
from xdsl.context import Context
from xdsl.dialects import test
from xdsl.dialects.builtin import Builtin, IntegerAttr, IntegerType, ModuleOp, Signedness
from xdsl.ir import Attribute
from xdsl.parser import Parser
from xdsl.printer import Printer
from xdsl.traits import MemoryEffectKind, get_effects, has_effects, is_side_effect_free, is_speculatable
from xdsl.transforms.dead_code_elimination import dce
from xdsl.utils.exceptions import ParseError, VerifyException

from plena_mlir.dialects.plena_isa import (
    FP,
    GP,
    INSTRUCTION_OPS,
    INSTRUCTIONS,
    AddrType,
    FpType,
    GpType,
    HPrefetchMOp,
    OperandKind,
    PlenaIsa,
    PlenaIsaInstruction,
    Role,
    SAddiIntOp,
    VAddVvOp,
    VRedSumOp,
)
from plena_mlir.dialects.plena_isa.effects import MASK_REG, STRIDE_REG

# Machine specification, section 2.1: opcodes 0x01 to 0x37 without a gap.
MNEMONICS = """
M_MM M_TMM M_BMM M_BTMM M_BMM_WO M_MM_WO M_MV M_TMV M_BMV M_BTMV M_MV_WO M_BMV_WO V_ADD_VV V_ADD_VF V_SUB_VV V_SUB_VF
V_MUL_VV V_MUL_VF V_EXP_V V_RECI_V V_RED_SUM V_RED_MAX S_ADD_FP S_SUB_FP S_MAX_FP S_MUL_FP S_EXP_FP S_RECI_FP S_SQRT_FP
S_LD_FP S_ST_FP S_MAP_V_FP S_ADD_INT S_ADDI_INT S_SUB_INT S_MUL_INT S_LUI_INT S_LD_INT S_ST_INT H_PREFETCH_M
H_PREFETCH_V H_STORE_V C_SET_ADDR_REG C_SET_SCALE_REG C_SET_STRIDE_REG C_SET_V_MASK_REG C_LOOP_START C_LOOP_END V_PS_V
V_SHFT_V C_HADAMARD_TRANSFORM C_BREAK V_MAX_VF V_MIN_VF V_TOPK
""".split()

REGISTER_TYPES = {OperandKind.GP: GpType, OperandKind.FP: FpType, OperandKind.ADDR: AddrType}


def context() -> Context:
    ctx = Context()
    for dialect in (Builtin, test.Test, PlenaIsa):
        ctx.load_dialect(dialect)
    return ctx


def module_with(op_class: type[PlenaIsaInstruction], *, allocated: bool, literal: int = 1) -> tuple[ModuleOp, PlenaIsaInstruction]:
    """A module that makes the operands, runs one instruction, and uses its results."""
    registers = iter(range(1, 8))

    def register_type(kind: OperandKind) -> Attribute:
        return REGISTER_TYPES[kind].from_index(next(registers)) if allocated else REGISTER_TYPES[kind].unallocated()

    operand_types: list[Attribute] = []
    result_types: list[Attribute] = []
    properties: dict[str, Attribute] = {}
    for spec in op_class.FORMAT:
        if spec.kind is OperandKind.LITERAL:
            properties[spec.name] = IntegerAttr(min(literal, spec.maximum), IntegerType(spec.field.width, Signedness.UNSIGNED))
        elif spec.kind.is_register:
            kind = register_type(spec.kind)
            if spec.role is not Role.DESTINATION:
                operand_types.append(kind)
            if spec.role is not Role.SOURCE:
                result_types.append(kind)
    source = test.TestOp(result_types=operand_types)
    op = op_class.create(operands=source.results, result_types=result_types, properties=properties)
    return ModuleOp([source, op, test.TestOp(op.results)]), op


def all_forms() -> Iterator[ModuleOp]:
    for op_class in INSTRUCTION_OPS:
        for allocated in (False, True):
            for literal in (0, 1, 1 << 30):
                yield module_with(op_class, allocated=allocated, literal=literal)[0]


def test_the_table_lists_every_opcode_of_the_machine():
    assert [(spec.opcode, spec.mnemonic) for spec in INSTRUCTIONS] == list(enumerate(MNEMONICS, start=1))


@pytest.mark.parametrize("op_class", INSTRUCTION_OPS, ids=lambda op: op.mnemonic())
def test_fields_of_an_instruction_do_not_overlap_and_are_declared(op_class: type[PlenaIsaInstruction]):
    taken = (1 << 6) - 1
    for spec in op_class.FORMAT:
        bits = spec.field.maximum << spec.field.shift
        assert bits < 1 << 32
        assert not bits & taken, spec.name
        taken |= bits
    definition = op_class.get_irdl_definition()
    operands = [
        spec.name + ("_in" if spec.role is Role.TIED else "") for spec in op_class.FORMAT if spec.role in (Role.SOURCE, Role.TIED)
    ]
    assert [name for name, _ in definition.operands] == operands
    assert [name for name, _ in definition.results] == [
        spec.name for spec in op_class.FORMAT if spec.role in (Role.DESTINATION, Role.TIED)
    ]
    assert set(definition.properties) == {spec.name for spec in op_class.FORMAT if spec.kind is OperandKind.LITERAL}
    assert op_class.__doc__


def test_every_instruction_prints_and_parses_in_custom_and_generic_syntax():
    for module in all_forms():
        module.verify()
        custom = str(module)
        generic = StringIO()
        Printer(generic, print_generic_format=True).print_op(module)
        for text in (custom, generic.getvalue()):
            parsed = Parser(context(), text).parse_module()
            parsed.verify()
            assert parsed.is_structurally_equivalent(module), text
            assert str(parsed) == custom


@pytest.mark.parametrize("op_class", INSTRUCTION_OPS, ids=lambda op: op.mnemonic())
def test_effects_are_known_and_keep_what_matters_alive(op_class: type[PlenaIsaInstruction]):
    for allocated in (False, True):
        _, op = module_with(op_class, allocated=allocated)
        assert get_effects(op) is not None
        assert has_effects(op, MemoryEffectKind.WRITE) or (op.results and not allocated)


def test_virtual_arithmetic_is_pure_until_it_has_a_register():
    for op_class in INSTRUCTION_OPS:
        if not op_class.mnemonic().startswith(
            ("S_ADD", "S_SUB", "S_MUL", "S_LUI", "S_EXP", "S_MAX", "S_RECI", "S_SQRT", "C_SET_ADDR")
        ):
            continue
        _, virtual = module_with(op_class, allocated=False)
        assert is_side_effect_free(virtual)
        assert is_speculatable(virtual)
        _, physical = module_with(op_class, allocated=True)
        assert has_effects(physical, MemoryEffectKind.WRITE)


def test_dead_code_elimination_keeps_instructions_that_change_the_machine():
    for op_class in INSTRUCTION_OPS:
        module, op = module_with(op_class, allocated=False)
        last = module.body.block.last_op
        assert last is not None
        last.detach()
        last.erase()
        writes = has_effects(op, MemoryEffectKind.WRITE)
        dce(module)
        assert any(isinstance(kept, op_class) for kept in module.walk()) == writes, op_class.mnemonic()


def test_flags_add_the_configuration_register_to_what_is_read():
    source = test.TestOp(result_types=[GP, GP, AddrType.unallocated()])
    a, b, base = source.results
    assert MASK_REG in VAddVvOp(a, b, b, mask=1).resources_read()
    assert MASK_REG not in VAddVvOp(a, b, b).resources_read()
    assert STRIDE_REG in HPrefetchMOp(a, b, base, stride=1).resources_read()
    # Any other value of the field means the row length.
    assert STRIDE_REG not in HPrefetchMOp(a, b, base, stride=2).resources_read()


def test_a_tied_pair_must_be_one_register():
    f1, f2 = FpType.from_index(1), FpType.from_index(2)
    source = test.TestOp(result_types=[f1, FP, GP])
    old, virtual, row = source.results
    VRedSumOp(old, row, rd=f1).verify()
    VRedSumOp(virtual, row, rd=f1).verify()
    with pytest.raises(VerifyException, match="reads and writes one register"):
        VRedSumOp(old, row, rd=f2).verify()


def test_tied_values_are_the_pair_that_shares_a_register():
    old, row = test.TestOp(result_types=[FP, GP]).results
    reduction = VRedSumOp(old, row)
    assert reduction.tied_values() == (old, reduction.rd)
    assert SAddiIntOp(row, 1).tied_values() is None


def test_immediates_beyond_their_field_are_refused():
    row = test.TestOp(result_types=[GP]).results[0]
    assert SAddiIntOp(row, (1 << 18) - 1).imm.value.data == (1 << 18) - 1
    for value in (1 << 18, -1):
        with pytest.raises(VerifyException):
            SAddiIntOp(row, value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "%1 = plena_isa.s_addi_int %0, 262144 : (!plena_isa.gp) -> !plena_isa.gp",
            r"imm = 262144 is outside 0\.\.262143 \(18 bits\)",
        ),
        ("%1 = plena_isa.s_lui_int 4194304 : () -> !plena_isa.gp", r"imm = 4194304 is outside 0\.\.4194303 \(22 bits\)"),
        ("plena_isa.v_add_vv %0, %0, %0, 16 : (!plena_isa.gp, !plena_isa.gp, !plena_isa.gp) -> ()", "mask = 16 is outside"),
        ("%1 = plena_isa.li 4294967296 : !plena_isa.gp", "is outside 0"),
        ("%1 = plena_isa.s_addi_int %0 : (!plena_isa.gp) -> !plena_isa.gp", "Expected ','"),
        ("%1 = plena_isa.s_addi_int %0, 1 : (!plena_isa.gp<gp16>) -> !plena_isa.gp", "gp16"),
    ],
)
def test_parser_refuses(text: str, message: str):
    with pytest.raises((ParseError, VerifyException), match=message):
        Parser(context(), f'%0 = "test.op"() : () -> !plena_isa.gp\n{text}').parse_module().verify()


def test_operands_have_the_register_file_of_their_field():
    text = '%0 = "test.op"() : () -> !plena_isa.fp\n%1 = plena_isa.s_addi_int %0, 1 : (!plena_isa.fp) -> !plena_isa.gp'
    with pytest.raises(VerifyException, match="operand 'rs1'"):
        Parser(context(), text).parse_module().verify()
