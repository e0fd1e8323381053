"""What the lowerings of one function share: where values live, how their features are padded, where code goes."""

from __future__ import annotations

from collections.abc import Callable, Generator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field

from xdsl.dialects import scf
from xdsl.dialects.builtin import ModuleOp, NameLoc
from xdsl.ir import Block, BlockArgument, Operation, SSAValue
from xdsl.rewriter import InsertPoint

from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as tile
from plena_mlir.dialects.plena import module_path, name_location
from plena_mlir.dialects.plena_tensor import shape_of
from plena_mlir.errors import LoweringError
from plena_mlir.passes.tile.emitter import Emitter, Index
from plena_mlir.passes.tile.layouts import Activation, Cache, Columns, Routing
from plena_mlir.passes.tile.loops import constant_value
from plena_mlir.passes.tile.strategies import Product, choose_strategy, physical_rows
from plena_mlir.passes.tile.weights import WeightOutliner
from plena_mlir.target import Target


@dataclass
class LoweringContext:
    """State of one conversion.

    Attributes:
        anchor: ends the entry part of the function.
        values: where activations live.
        caches: where whole keys and values live.
        routings: where the experts that rows chose, and their weights, live.
        layers: the index of the lowered loop for the layer index of a rolled one.
    """

    target: Target
    module: ModuleOp
    emitter: Emitter
    anchor: Operation
    force: tile.Strategy | None = None
    values: dict[SSAValue, Activation] = field(default_factory=dict[SSAValue, Activation])
    caches: dict[SSAValue, Cache] = field(default_factory=dict[SSAValue, Cache])
    routings: dict[SSAValue, Routing] = field(default_factory=dict[SSAValue, Routing])
    layers: dict[SSAValue, Index] = field(default_factory=dict[SSAValue, Index])
    _exact: dict[tuple[str, str], SSAValue] = field(default_factory=dict[tuple[str, str], SSAValue])

    def __post_init__(self) -> None:
        self.weights = WeightOutliner(self.module)

    def index(self, value: SSAValue) -> Index:
        """An index of the tensor level: the variable of a lowered loop, or a constant."""
        constant = constant_value(value)
        return self.layers[value] if constant is None else Index(constant)

    # --- values ---------------------------------------------------------------------------------------------------------------

    def activation(self, value: SSAValue) -> Activation:
        return self.values[value]

    def columns(self, value: SSAValue) -> Columns:
        """How the features of `value` are grouped: like those of its operand if it is computed row by row, else by heads where an
        attention or rope reads or writes them."""
        if isinstance(value.owner, tensor.ROW_BY_ROW_OPS):
            for operand in value.owner.operands:
                if operand in self.values:
                    return self.values[operand].columns
        return Columns.of(shape_of(value)[-1], tensor.groups_of(value), self.target.vlen)

    def physical_rows(self, rows: int) -> int:
        return physical_rows(self.target, rows, self.force)

    def new_activation(self, value: SSAValue) -> Activation:
        """A fresh buffer for a tensor value."""
        rows = shape_of(value)[0]
        columns = self.columns(value)
        return self.allocate(columns, rows)

    def allocate(self, columns: Columns, rows: int) -> Activation:
        buffer = self.emitter.rows(columns.blocks(self.target.vlen), self.physical_rows(rows))
        return Activation(buffer, columns, rows)

    def dies_at(self, value: SSAValue, op: Operation) -> bool:
        """Whether no operation after `op` reads `value`, so that its buffer may be overwritten there.

        A value from outside the block of `op` lives on: the next iteration, or code after the loop, may read it. So does a value
        that the body of a loop `op` reads.
        """
        aliases = _aliases(value)
        root = aliases[0]
        block = root.block if isinstance(root, BlockArgument) else root.owner.parent
        if not isinstance(block, Block) or block is not op.parent:
            return False
        for reader in (use.operation for alias in aliases for use in alias.uses):
            ancestor = block.find_ancestor_op_in_block(reader)
            if reader is not op and (ancestor is None or ancestor is op or not ancestor.is_before_in_block(op)):
                return False
        return True

    def reuse_or_allocate(self, value: SSAValue, op: Operation, *candidates: SSAValue) -> Activation:
        """The buffer of an operand that dies at `op` and fits the result, or a fresh one."""
        for candidate in candidates:
            if candidate in self.values and self.dies_at(candidate, op):
                activation = self.values[candidate]
                if activation.rows == shape_of(value)[0] and activation.columns == self.columns(value):
                    return activation
        return self.new_activation(value)

    # --- code placement ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def at_entry(self) -> Generator[None]:
        """Emit in the entry part of the function, before its first lowered op (the anchor): what all layers share.

        That belongs to the module that asked for it first, and to no stage.
        """
        emitter = self.emitter
        outer, location = emitter.builder.insertion_point, emitter.location
        emitter.builder.insertion_point = InsertPoint.before(self.anchor)
        if isinstance(location, NameLoc):
            emitter.location = name_location(location.desc.data)
        yield
        emitter.builder.insertion_point, emitter.location = outer, location

    def once(self, key: tuple[str, str], make: Callable[[], SSAValue]) -> SSAValue:
        """A buffer that the whole function shares, made at its entry the first time it is asked for."""
        if key not in self._exact:
            with self.at_entry():
                self._exact[key] = make()
        return self._exact[key]

    # --- products ---------------------------------------------------------------------------------------------------------------

    def strategy(self, rows: int, physical_rows: int, *, transposed: bool) -> tile.Strategy:
        """The strategy of a product of `rows` rows in a buffer that holds `physical_rows`."""
        return choose_strategy(self.target, Product(rows, transposed, physical_rows), self.force).strategy


def attention_operand(value: SSAValue, seen: AbstractSet[SSAValue] = frozenset()) -> int | None:
    """1 or 2 if the value reaches an attention as its keys or values, through what loops carry and put_rows; else None."""
    for use in value.uses:
        if isinstance(use.operation, tensor.AttentionOp):
            return use.index if use.index in (1, 2) and not use.operation.parts else None
        carries = isinstance(use.operation, scf.ForOp | scf.YieldOp)
        if carries or (isinstance(use.operation, tensor.PutRowsOp) and use.index == 0):
            for result in tensor.continuations(use.operation, use.index):
                found = None if result in seen else attention_operand(result, {*seen, result})
                if found is not None:
                    return found
    return None


def _aliases(value: SSAValue) -> list[SSAValue]:
    """The value and its quantised forms, which share one buffer, the original first."""
    while isinstance(value.owner, tensor.QuantizeOp):
        value = value.owner.x
    found = [value]
    for alias in found:
        found += [use.operation.results[0] for use in alias.uses if isinstance(use.operation, tensor.QuantizeOp)]
    return found


def insert_before(op: Operation, *new_ops: tensor.TensorOp) -> SSAValue:
    """Put weight ops before `op`; the result of the last."""
    block = op.parent
    assert block is not None
    block.insert_ops_before(list(new_ops), op)
    return new_ops[-1].result


def refuse(op: Operation, what: str, hint: str | None = None) -> LoweringError:
    """An error about one op, with its module path."""
    return LoweringError(what, where=f"{module_path(op)} ({op.name})", hint=hint)
