"""How each ATen operator becomes plena_tensor ops."""

from plena_mlir.frontend.aten import contractions, elementwise, movement, routing
from plena_mlir.frontend.aten.registry import TABLE, import_call

__all__ = ["TABLE", "contractions", "elementwise", "import_call", "movement", "routing"]
