"""plena-mlir: from PyTorch transformers to the PLENA instruction set, every level executable."""
