"""An independent check of register allocation: every instruction reads the values it was meant to read.

Both programs, the one on virtual registers and the one on physical registers, are executed side by side on symbols instead of
numbers. The first computes on its SSA values; the second only on the contents of registers and spill words, whatever its SSA edges
say. Everything that changes the machine outside of the registers (memories, accumulators, configuration, loops) must happen in both
in the same order with the same symbols as operands; what lies in between, loads of spilled values, repeated constants, copies, is
free as long as the symbols agree.

A loop is walked with a symbol per carried value. Which registers and words hold which carried value at the start of an iteration is
first guessed from what they hold before the loop, and the guess is refined until the end of the body confirms it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.dialects.plena import module_path
from plena_mlir.dialects.plena_isa import (
    FpType,
    GetAddrOp,
    GetFpOp,
    GetGpOp,
    LiOp,
    LoopOp,
    PlenaIsaInstruction,
    SAddiIntOp,
    SLdFpOp,
    SLdIntOp,
    SMaxFpOp,
    SStFpOp,
    SStIntOp,
    YieldOp,
)
from plena_mlir.dialects.plena_isa.registers import physical_index
from plena_mlir.errors import LoweringError

Symbol = int
Place = tuple[str, int]
"""A register ("plena_isa.gp", 3) or a spill word ("int word", 70)."""

_WORD = 1 << 32
_GARBAGE: Symbol = 0


@dataclass(frozen=True)
class SpillArea:
    """What register allocation may use: words from `int_word` and `fp_word` on. `constants` are words that never change."""

    int_word: int
    fp_word: int
    constants: range


def check_registers(virtual: ModuleOp, allocated: ModuleOp, area: SpillArea) -> None:
    """Compare a program on physical registers with the same program before register allocation.

    Raises:
        LoweringError: an instruction is missing, or reads another value than it should.
    """
    walk = _Walk(area)
    walk.block(virtual.body.block, allocated.body.block)
    if walk.errors:
        raise LoweringError(
            f"register allocation changed the program in {len(walk.errors)} places: {walk.errors[0]}",
            hint="please report this program",
        )


@dataclass
class _Symbols:
    """Hands out a number per distinct symbolic value; 0 is what nobody may read."""

    _numbers: dict[Hashable, Symbol] = field(default_factory=dict[Hashable, Symbol])
    _sums: dict[Symbol, tuple[Symbol | None, int]] = field(default_factory=dict[Symbol, "tuple[Symbol | None, int]"])

    def of(self, *key: Hashable) -> Symbol:
        return self._numbers.setdefault(key, len(self._numbers) + 1)

    def sum(self, base: Symbol | None, offset: int) -> Symbol:
        """base + offset modulo 2^32; a constant without a base. Sums of sums are flattened."""
        if base is not None and base in self._sums:
            inner, more = self._sums[base]
            return self.sum(inner, offset + more)
        offset %= _WORD
        if base is not None and not offset:
            return base
        symbol = self.of("sum", base, offset)
        self._sums[symbol] = base, offset
        return symbol

    def replaced(self, symbol: Symbol, old: Symbol, new: Symbol) -> Symbol:
        """The symbol with `new` for `old` where it is `old` plus a constant."""
        base, offset = self._sums.get(symbol, (symbol, 0))
        return self.sum(new, offset) if base == old else symbol


class _Walk:
    """Both programs at once. `state` is the abstract state of the machine, `values` the symbols of virtual registers."""

    def __init__(self, area: SpillArea) -> None:
        self.area = area
        self.symbols = _Symbols()
        self.errors: list[str] = []
        self.values: dict[SSAValue, Symbol] = {}
        self.state: dict[Place, Symbol] = {}
        self.epoch: Hashable = "start"
        self._written: dict[LoopOp, frozenset[Place]] = {}

    def block(self, virtual: Block, allocated: Block) -> None:
        """Walk two blocks that must do the same."""
        anchors = self._virtual_anchors(virtual)
        for op in allocated.ops:
            if not self._is_anchor(op):
                self._execute(op)
                continue
            expected = next(anchors, None)
            if expected is None or type(expected) is not type(op):
                self._error(op, f"is where {'nothing' if expected is None else expected.name} should be")
                return
            if isinstance(op, LoopOp):
                assert isinstance(expected, LoopOp)
                self._loop(expected, op)
            else:
                self._compare(expected, op)
                self.epoch = expected
        if (left := next(anchors, None)) is not None:
            self._error(left, "is missing")

    # --- the program on virtual registers -------------------------------------------------------------------------------------

    def _virtual_anchors(self, block: Block) -> Iterator[Operation]:
        """Evaluate a block up to its next operation with effects outside of registers."""
        for op in block.ops:
            if isinstance(op, LoopOp) or (isinstance(op, PlenaIsaInstruction) and op.resources_written()):
                yield op
            elif op.results:
                self.values[op.results[0]] = self._result(op, [self._value(operand) for operand in op.operands])

    def _value(self, value: SSAValue) -> Symbol:
        index = physical_index(value)
        return self.values.get(value, _GARBAGE) if index is None else self._fixed(value, index)

    def _fixed(self, value: SSAValue, index: int) -> Symbol:
        """What a register that nobody writes holds."""
        if index == 0 and not isinstance(value.type, FpType):
            return self.symbols.sum(None, 0)
        return self.symbols.of("fixed", type(value.type).__name__, index)

    # --- the program on physical registers ------------------------------------------------------------------------------------

    def _is_anchor(self, op: Operation) -> bool:
        if isinstance(op, LoopOp):
            return True
        return isinstance(op, PlenaIsaInstruction) and bool(op.resources_written()) and self._spill_word(op) is None

    def _spill_word(self, op: Operation) -> Place | None:
        """The spill word that a load or store accesses."""
        if isinstance(op, SStIntOp | SLdIntOp | SStFpOp | SLdFpOp) and physical_index(op.rs1) == 0:
            word = op.imm.value.data
            if isinstance(op, SStIntOp | SLdIntOp):
                return ("int word", word) if word >= self.area.int_word else None
            return ("fp word", word) if word >= self.area.fp_word else None
        return None

    def _execute(self, op: Operation) -> None:
        if isinstance(op, GetGpOp | GetFpOp | GetAddrOp | YieldOp):
            return
        word = self._spill_word(op)
        if isinstance(op, SStIntOp | SStFpOp):
            assert word is not None
            self.state[word] = self._read(op.rd)
        elif word is not None:
            self._write(op, self.state.get(word, _GARBAGE))
        else:
            self._write(op, self._result(op, self._operands(op)))

    def _operands(self, op: Operation) -> list[Symbol]:
        """What an instruction reads: a register that it also writes is named by its result only."""
        values: list[SSAValue] = list(op.operands)
        if isinstance(op, PlenaIsaInstruction) and (tied := op.tied_values()) is not None:
            values = [tied[1] if value is tied[0] else value for value in values]
        return [self._read(value) for value in values]

    def _read(self, value: SSAValue) -> Symbol:
        place = _place(value)
        return self._fixed(value, 0) if _is_fixed(place) else self.state.get(place, _GARBAGE)

    def _write(self, op: Operation, symbol: Symbol) -> None:
        place = _place(op.results[0])
        if _is_fixed(place):
            self._error(op, f"writes {place[0]} 0, which must stay zero")
        self.state[place] = symbol

    # --- meaning --------------------------------------------------------------------------------------------------------------

    def _result(self, op: Operation, operands: list[Symbol]) -> Symbol:
        """The symbol that an operation without effects computes."""
        match op:
            case GetGpOp() | GetFpOp() | GetAddrOp():
                return self._value(op.rd)
            case LiOp():
                return self.symbols.sum(None, op.value.value.data)
            case SAddiIntOp():
                return self.symbols.sum(operands[0], op.imm.value.data) if operands[0] else _GARBAGE
            case SMaxFpOp() if operands[0] == operands[1]:
                return operands[0]
            case SLdFpOp() if op.imm.value.data in self.area.constants and operands[0] == self.symbols.sum(None, 0):
                return self.symbols.of("constant", op.imm.value.data)
            case _:
                if _GARBAGE in operands:
                    return _GARBAGE
                reads = isinstance(op, PlenaIsaInstruction) and op.resources_read()
                properties = tuple(sorted(op.properties.items()))
                return self.symbols.of(op.name, *operands, properties, self.epoch if reads else None)

    def _compare(self, virtual: Operation, allocated: Operation) -> None:
        """An operation with effects: same literals, same operands, and results that are the same by definition."""
        if virtual.properties != allocated.properties:
            self._error(allocated, "has other literals than before register allocation")
        for number, (expected, actual) in enumerate(zip(virtual.operands, self._operands(allocated), strict=True)):
            if self._value(expected) != actual:
                self._error(allocated, f"reads another value as operand {number} than it should")
        for result, place in zip(virtual.results, map(_place, allocated.results), strict=True):
            self.values[result] = self.state[place] = self.symbols.of("result", virtual)

    # --- loops ----------------------------------------------------------------------------------------------------------------

    def _loop(self, virtual: LoopOp, allocated: LoopOp) -> None:
        if virtual.trips != allocated.trips or (virtual.extra is None) != (allocated.extra is None):
            self._error(allocated, "runs another number of times")
        written = self._places_written(allocated)
        if virtual.extra is not None and allocated.extra is not None:
            if self._value(virtual.extra) != self._read(allocated.extra):
                self._error(allocated, "reads another number of extra iterations")
            self.state[_place(allocated.extra)] = self.symbols.sum(None, 0)
        counter = self.symbols.of("counter", virtual)
        self.values[virtual.counter] = counter
        arguments = [self.symbols.of("carried", virtual, number) for number in range(len(virtual.carried))]
        self.values.update(zip(virtual.carried, arguments, strict=True))
        inits = [self._value(init) for init in virtual.iter_args]
        before = dict(self.state)
        candidates = {
            place: [number for number, init in enumerate(inits) if init == before[place]] for place in written if place in before
        }
        guess = {place: numbers[0] for place, numbers in candidates.items() if numbers}
        errors = list(self.errors)
        while True:
            self.errors = list(errors)
            self.state = {place: symbol for place, symbol in before.items() if place not in written}
            self.state.update((place, arguments[number]) for place, number in guess.items())
            if allocated.extra is not None:
                self.state[_place(allocated.extra)] = self.symbols.sum(None, 0)
            self.state[_place(allocated.counter)] = counter
            self.epoch = ("iteration", virtual)
            self.block(virtual.body.block, allocated.body.block)
            yields = [self._value(value) for value in virtual.yield_op.arguments]
            better = self._refine(guess, candidates, arguments, yields)
            if better == guess:
                break
            guess = better  # of each place a later candidate than before, or none: this ends
        self._leave(virtual, allocated, counter, yields, written)

    def _refine(
        self,
        guess: Mapping[Place, int],
        candidates: Mapping[Place, list[int]],
        arguments: list[Symbol],
        yields: list[Symbol],
    ) -> dict[Place, int]:
        """The guesses that the end of the body confirms, and others in place of those that it refutes."""
        better: dict[Place, int] = {}
        for place, number in guess.items():
            end = self.state.get(place, _GARBAGE)
            if end == yields[number]:
                better[place] = number
                continue
            # A wrong guess may have left nothing to recognise, as in a loop inside: then the next candidate has its turn.
            others = [other for other in candidates[place] if other > number]
            fitting = [
                other for other in others if self.symbols.replaced(end, arguments[number], arguments[other]) == yields[other]
            ]
            if others:
                better[place] = (fitting or others)[0]
        return better

    def _leave(self, virtual: LoopOp, allocated: LoopOp, counter: Symbol, yields: list[Symbol], written: frozenset[Place]) -> None:
        counter_place = _place(allocated.counter)
        if self.state.get(counter_place) != counter:
            self._error(allocated, "ends without its counter")
        # Only what the next iteration would take over has a meaning after the loop.
        results = {symbol: self.symbols.of("loop result", virtual, symbol) for symbol in yields}
        for result, symbol in zip(virtual.res, yields, strict=True):
            self.values[result] = results[symbol]
        for place in written:
            if place in self.state:
                self.state[place] = results.get(self.state[place], _GARBAGE)
        self.state[counter_place] = self.symbols.sum(None, 0)
        self.epoch = ("after", virtual)

    def _places_written(self, loop: LoopOp) -> frozenset[Place]:
        """Every register and spill word that a loop changes."""
        if loop not in self._written:
            places = {_place(loop.counter)} | ({_place(loop.extra)} if loop.extra is not None else set[Place]())
            for op in loop.body.block.ops:
                if isinstance(op, LoopOp):
                    places |= self._places_written(op)
                elif isinstance(op, SStIntOp | SStFpOp):
                    word = self._spill_word(op)
                    places |= set[Place]() if word is None else {word}
                elif not isinstance(op, GetGpOp | GetFpOp | GetAddrOp):
                    places |= {_place(result) for result in op.results}
            self._written[loop] = frozenset(places)
        return self._written[loop]

    def _error(self, op: Operation, what: str) -> None:
        place = module_path(op)
        text = "a loop" if isinstance(op, LoopOp) else f"`{op}`"
        self.errors.append(f"{f'{place}: ' if place else ''}{text} {what}")


def _place(value: SSAValue) -> Place:
    index = physical_index(value)
    if index is None:
        raise LoweringError(f"a value of type {value.type} has no register", hint="run allocate-registers first")
    return type(value.type).name, index


def _is_fixed(place: Place) -> bool:
    """gp0 and f0 hold zero; every address register may be written."""
    return place[1] == 0 and place[0] != "plena_isa.addr"
