"""How each ATen operator becomes plena_tensor ops."""

from plena_mlir.frontend.aten import contractions, convolutions, elementwise, movement, routing
from plena_mlir.frontend.aten.registry import TABLE, import_call

__all__ = ["TABLE", "contractions", "convolutions", "elementwise", "import_call", "movement", "routing"]
