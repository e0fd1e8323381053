"""The structured hardware loop."""

from __future__ import annotations

from collections.abc import Sequence

from xdsl.dialects.builtin import IntegerAttr, IntegerType
from xdsl.dialects.utils import AbstractYieldOperation
from xdsl.ir import Attribute, Block, BlockArgument, Region, SSAValue
from xdsl.irdl import (
    AttrSizedOperandSegments,
    IRDLOperation,
    ParsePropInAttrDict,
    irdl_op_definition,
    lazy_traits_def,
    opt_operand_def,
    prop_def,
    region_def,
    traits_def,
    var_operand_def,
    var_result_def,
)
from xdsl.parser import Parser, UnresolvedOperand
from xdsl.printer import Printer
from xdsl.traits import (
    HasParent,
    IsTerminator,
    NoMemoryEffect,
    RecursiveMemoryEffect,
    SingleBlockImplicitTerminator,
    ensure_terminator,
)
from xdsl.utils.exceptions import VerifyException

from plena_mlir.dialects.plena_isa.abstract_ops import UI22, ui22
from plena_mlir.dialects.plena_isa.formats import IMM22
from plena_mlir.dialects.plena_isa.registers import GpType, PlenaRegisterType, physical_index

MAXIMUM_TRIPS = IMM22.maximum


@irdl_op_definition
class YieldOp(AbstractYieldOperation[Attribute]):
    """End of a loop body: the values that the next iteration, or the results, take."""

    name = "plena_isa.yield"

    traits = lazy_traits_def(lambda: (IsTerminator(), HasParent(LoopOp), NoMemoryEffect()))


@irdl_op_definition
class LoopOp(IRDLOperation):
    """A hardware loop of `trips` iterations, at least one.

    ```
    %r = plena_isa.loop 5 iter_args(%init) : (!plena_isa.gp) -> !plena_isa.gp {
    ^bb0(%counter : !plena_isa.gp, %p : !plena_isa.gp):
      ...
      plena_isa.yield %next : !plena_isa.gp
    }
    ```

    The first block argument is the live hardware counter: trips, trips-1, ..., 1 in the body, 0 after the loop. The init value, the
    block argument, the yielded value and the result of one position share one register, so an init value is destroyed. Prints

    ```
    C_LOOP_START counter, 5
      body
    C_LOOP_END counter
    ```

    An `extra(%x)` operand adds gp[x] iterations at run time (machine specification, section 4.7). Prints

    ```
    C_LOOP_START counter, 5
    S_ADD_INT counter, counter, x
    S_ADDI_INT x, gp0, 0
      body
    C_LOOP_END counter
    ```

    The two instructions after the start run in every iteration, so the register of x must hold 0 from the first one on: x is
    destroyed like an init value, and its register is reserved through the whole loop. gp0 must hold 0.
    """

    name = "plena_isa.loop"

    trips = prop_def(IntegerAttr[UI22])
    iter_args = var_operand_def(PlenaRegisterType)
    extra = opt_operand_def(GpType)
    res = var_result_def(PlenaRegisterType)
    body = region_def("single_block")

    traits = traits_def(SingleBlockImplicitTerminator(YieldOp), RecursiveMemoryEffect())
    irdl_options = (AttrSizedOperandSegments(as_property=True), ParsePropInAttrDict())

    def __init__(
        self,
        trips: int,
        iter_args: Sequence[SSAValue],
        body: Region | Sequence[Block],
        extra: SSAValue | None = None,
    ) -> None:
        """Args:
        trips: 1..2^22-1.
        body: one block whose arguments are the counter and one value per init value.
        """
        region = body if isinstance(body, Region) else Region(body)
        super().__init__(
            operands=[iter_args, extra],
            result_types=[[argument.type for argument in region.block.args[1:]]],
            properties={"trips": IntegerAttr(trips, ui22)},
            regions=[region],
        )

    @property
    def counter(self) -> BlockArgument:
        """The live trip counter."""
        return self.body.block.args[0]

    @property
    def carried(self) -> tuple[BlockArgument, ...]:
        """The loop-carried values inside the body."""
        return self.body.block.args[1:]

    @property
    def yield_op(self) -> YieldOp:
        terminator = self.body.block.last_op
        assert isinstance(terminator, YieldOp)
        return terminator

    def tied_groups(self) -> tuple[tuple[SSAValue, SSAValue, SSAValue, SSAValue], ...]:
        """Per position the init value, block argument, yielded value and result, which share one register."""
        return tuple(zip(self.iter_args, self.carried, self.yield_op.arguments, self.res, strict=True))

    def verify_(self) -> None:
        if not 1 <= self.trips.value.data <= MAXIMUM_TRIPS:
            raise VerifyException(f"trip count {self.trips.value.data} is outside 1..{MAXIMUM_TRIPS}")
        arguments = self.body.block.args
        if not arguments or not isinstance(arguments[0].type, GpType):
            raise VerifyException("the first argument of the body must be the !plena_isa.gp loop counter")
        counts = {len(self.iter_args), len(self.carried), len(self.yield_op.arguments), len(self.res)}
        if len(counts) != 1:
            raise VerifyException(
                f"{len(self.iter_args)} init values, {len(self.carried)} carried arguments, "
                f"{len(self.yield_op.arguments)} yielded values and {len(self.res)} results must be as many"
            )
        for position, group in enumerate(self.tied_groups()):
            if len({type(value.type) for value in group}) != 1:
                raise VerifyException(f"loop-carried value {position} changes its register type")
            registers = {index for value in group if (index := physical_index(value)) is not None}
            # An init value may sit in a fixed register until register allocation copies it.
            if len(registers) > 1:
                names = ", ".join(str(value.type) for value in group)
                raise VerifyException(f"loop-carried value {position} must stay in one register, not {names}")

    def print(self, printer: Printer) -> None:
        printer.print_string(f" {self.trips.value.data}")
        for keyword, values in (("iter_args", self.iter_args), ("extra", () if self.extra is None else (self.extra,))):
            if values:
                printer.print_string(f" {keyword}(")
                printer.print_list(values, printer.print_operand)
                printer.print_string(")")
        if self.operands or self.res:
            printer.print_string(" : ")
            printer.print_function_type(self.operand_types, self.result_types)
        printer.print_op_attributes(self.attributes, print_keyword=True)
        printer.print_string(" ")
        printer.print_region(self.body, print_block_terminators=bool(self.yield_op.arguments))

    @classmethod
    def parse(cls, parser: Parser) -> LoopOp:
        start = parser.pos
        trips = parser.parse_integer(allow_boolean=False)
        if not 1 <= trips <= MAXIMUM_TRIPS:
            parser.raise_error(f"trip count {trips} is outside 1..{MAXIMUM_TRIPS}", start, parser.pos)
        unresolved: list[UnresolvedOperand] = []
        if parser.parse_optional_keyword("iter_args"):
            unresolved = parser.parse_comma_separated_list(parser.Delimiter.PAREN, parser.parse_unresolved_operand)
        iter_arg_count = len(unresolved)
        if parser.parse_optional_keyword("extra"):
            with parser.in_parens():
                unresolved.append(parser.parse_unresolved_operand())
        operands: Sequence[SSAValue] = ()
        result_types: Sequence[Attribute] = ()
        if unresolved:
            parser.parse_punctuation(":")
            pos = parser.pos
            function_type = parser.parse_function_type()
            operands = parser.resolve_operands(unresolved, function_type.inputs.data, pos)
            result_types = function_type.outputs.data
        attributes = parser.parse_optional_attr_dict_with_keyword()
        body = parser.parse_region()
        count: IntegerAttr[IntegerType] = IntegerAttr(trips, ui22)
        op = cls.build(
            operands=[operands[:iter_arg_count], operands[iter_arg_count:]],
            result_types=[result_types],
            properties={"trips": count},
            attributes={} if attributes is None else attributes.data,
            regions=[body],
        )
        ensure_terminator(op, SingleBlockImplicitTerminator(YieldOp))
        return op
