"""The plena_isa half of the check of transfers: the registers that each of them reads.

The program is walked in order with what is known of every register: constants, sums of constants, words that it stored itself. A
loop is walked twice, the second time with what its first iteration and the code before it agree on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from xdsl.dialects.builtin import ModuleOp
from xdsl.ir import Block, Operation, SSAValue

from plena_mlir.dialects import plena_isa as isa
from plena_mlir.dialects.plena import module_path, target_of
from plena_mlir.dialects.plena_isa.registers import physical_index
from plena_mlir.errors import LoweringError
from plena_mlir.verify.transfers import TransferUse, transfer_uses

Place = tuple[str, int]
"""A register of a file, a word of INT SRAM, or a configuration register."""

_SCALE: Place = ("scale", 0)
_STRIDE: Place = ("stride", 0)
_KINDS = {
    isa.HPrefetchMOp: "plena_tile.load_matrix",
    isa.HPrefetchVOp: "plena_tile.load_rows",
    isa.HStoreVOp: "plena_tile.store_rows",
}


def check_transfer_registers(tiles: ModuleOp, module: ModuleOp) -> None:
    """Every transfer of a plena_isa module on physical registers uses the registers that one of its plena_tile form needs.

    Args:
        tiles: the plena_tile form, with addresses.

    Raises:
        LoweringError: a transfer reads another base, scale register or stride, or one that is not known.
    """
    walk = _Walk(transfer_uses(tiles), target_of(module).vlen)
    walk.block(module.body.block, check=True)


@dataclass
class _Walk:
    uses: Mapping[str, set[TransferUse]]
    row: int
    state: dict[Place, int] = field(default_factory=dict[Place, int])

    def block(self, block: Block, *, check: bool) -> None:
        for op in block.ops:
            if isinstance(op, isa.LoopOp):
                before = dict(self.state)
                self.block(op.body.block, check=False)
                self.state = {place: value for place, value in before.items() if self.state.get(place) == value}
                self.block(op.body.block, check=check)
                self.state = {place: value for place, value in self.state.items() if place != _place(op.counter)}
            elif isinstance(op, isa.HPrefetchMOp | isa.HPrefetchVOp | isa.HStoreVOp):
                if check:
                    self._check(op)
            else:
                self._execute(op)

    def _execute(self, op: Operation) -> None:
        match op:
            case isa.CSetScaleRegOp():
                self._set(_SCALE, self._value(op.operands[0]))
            case isa.CSetStrideRegOp():
                self._set(_STRIDE, self._value(op.operands[0]))
            case isa.SStIntOp():
                self._store(op)
            case isa.SLdIntOp():
                base = self._value(op.rs1)
                self._set(_place(op.rd), None if base is None else self.state.get(("word", base + op.imm.value.data)))
            case isa.CSetAddrRegOp():
                high, low = self._value(op.rs1), self._value(op.rs2)
                self._set(_place(op.rd), None if high is None or low is None else (high << 32) + low)
            case isa.GetGpOp() | isa.GetFpOp() | isa.GetAddrOp():
                # It names a register and leaves its contents.
                pass
            case _:
                value = self._computed(op)
                for result in op.results:
                    self._set(_place(result), value)

    def _store(self, op: isa.SStIntOp) -> None:
        base = self._value(op.rs1)
        if base is None:
            self.state = {place: value for place, value in self.state.items() if place[0] != "word"}
        else:
            self._set(("word", base + op.imm.value.data), self._value(op.rd))

    def _computed(self, op: Operation) -> int | None:
        match op:
            case isa.LiOp():
                return op.value.value.data
            case isa.SAddiIntOp() | isa.SLuiIntOp() if (base := self._operand(op)) is not None:
                return base
            case isa.SAddIntOp():
                one, two = self._value(op.rs1), self._value(op.rs2)
                return None if one is None or two is None else (one + two) % (1 << 32)
            case _:
                return None

    def _operand(self, op: isa.SAddiIntOp | isa.SLuiIntOp) -> int | None:
        if isinstance(op, isa.SLuiIntOp):
            return (op.imm.value.data << 12) % (1 << 32)
        base = self._value(op.rs1)
        return None if base is None else (base + op.imm.value.data) % (1 << 32)

    def _set(self, place: Place, value: int | None) -> None:
        if value is None:
            self.state.pop(place, None)
        else:
            self.state[place] = value

    def _value(self, value: SSAValue) -> int | None:
        place = _place(value)
        return 0 if place == ("plena_isa.gp", 0) else self.state.get(place)

    def _check(self, op: isa.HPrefetchMOp | isa.HPrefetchVOp | isa.HStoreVOp) -> None:
        base, scales = self._value(op.rs2), self.state.get(_SCALE)
        stride = self.state.get(_STRIDE) if op.stride.value.data == 1 else self.row
        allowed = self.uses.get(module_path(op), set())
        if base is None or scales is None or stride is None:
            problem = "reads a base, scale or stride register whose value is not known"
        elif TransferUse(_KINDS[type(op)], base, scales, stride) in allowed:
            return
        else:
            problem = f"has base {base}, scales after {scales} elements and rows {stride} apart, which no transfer here needs"
        raise LoweringError(f"{op.mnemonic()} {problem}", where=module_path(op) or None, hint="this is a bug; please report it")


def _place(value: SSAValue) -> Place:
    index = physical_index(value)
    if index is None:
        raise LoweringError("a transfer is checked on physical registers only", hint="run allocate-registers first")
    return value.type.name, index
