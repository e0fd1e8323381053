"""plena_tile: explicit memories, loops and tiles.

Between the tensor level, where values are whole tensors, and the ISA, where they are registers: buffers live in a named memory of
the machine, loops are `scf.for`, every address is a buffer plus an affine map of loop variables (`plena_tile.at`), and each unit
operation is what one instruction does. Structured operations (`matmul`, `attention`) are expanded into unit operations by passes.
"""

from xdsl.ir import Dialect

from plena_mlir.dialects.plena_tile import attributes as _attributes
from plena_mlir.dialects.plena_tile import memory as _memory
from plena_mlir.dialects.plena_tile import structured as _structured
from plena_mlir.dialects.plena_tile import units as _units
from plena_mlir.dialects.plena_tile.attributes import *  # noqa: F403
from plena_mlir.dialects.plena_tile.memory import *  # noqa: F403
from plena_mlir.dialects.plena_tile.structured import AttentionOp as AttentionOp
from plena_mlir.dialects.plena_tile.structured import MatmulOp as MatmulOp
from plena_mlir.dialects.plena_tile.units import *  # noqa: F403

PlenaTile = Dialect(
    "plena_tile",
    [
        _memory.GlobalOp,
        _memory.GetGlobalOp,
        _memory.AllocOp,
        _memory.ViewOp,
        _memory.AtOp,
        _structured.MatmulOp,
        _structured.AttentionOp,
        _units.LoadMatrixOp,
        _units.LoadRowsOp,
        _units.StoreRowsOp,
        _units.AccumulateOp,
        _units.WriteOutOp,
        _units.RowBinaryOp,
        _units.RowScalarOp,
        _units.RowUnaryOp,
        _units.RowShiftOp,
        _units.RowReduceOp,
        _units.RowFillOp,
        _units.RowTopkOp,
        _units.ConstantOp,
        _units.ScalarBinaryOp,
        _units.ScalarUnaryOp,
        _units.LoadScalarOp,
        _units.StoreScalarOp,
        _units.LoadIndexOp,
    ],
    [
        _attributes.SpaceAttr,
        _attributes.PrecisionAttr,
        _attributes.StrategyAttr,
        _attributes.AccumulatorAttr,
        _attributes.RowBinaryAttr,
        _attributes.RowScalarAttr,
        _attributes.RowUnaryAttr,
        _attributes.RowReduceAttr,
        _attributes.ScalarBinaryAttr,
        _attributes.ScalarUnaryAttr,
        _attributes.LayoutAttr,
        _attributes.MxType,
        _attributes.RefType,
    ],
)
