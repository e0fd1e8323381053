"""The machine's arithmetic, defined once for goldens, interpreters, image writer and emulator."""

from plena_mlir.numerics.bf16 import exp_bf16, from_bits, reciprocal_bf16, round_bf16, sqrt_bf16, to_bits
from plena_mlir.numerics.matmul import matmul_nn, matmul_nt
from plena_mlir.numerics.mx import mx_decode, mx_encode, mx_quantize
from plena_mlir.numerics.mx_format import MXFP8_E4M3, MXFP8_E5M2, MxFormat, mx_format
from plena_mlir.numerics.reduce import reduce_max, reduce_sum

__all__ = [
    "MXFP8_E4M3",
    "MXFP8_E5M2",
    "MxFormat",
    "exp_bf16",
    "from_bits",
    "matmul_nn",
    "matmul_nt",
    "mx_decode",
    "mx_encode",
    "mx_format",
    "mx_quantize",
    "reciprocal_bf16",
    "reduce_max",
    "reduce_sum",
    "round_bf16",
    "sqrt_bf16",
    "to_bits",
]
