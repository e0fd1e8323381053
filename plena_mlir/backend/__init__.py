"""From plena_isa to files: assembly text, machine code and images."""

from plena_mlir.backend.asm_encoder import decode, decode_word, disassemble, encode
from plena_mlir.backend.asm_instruction import Instruction, print_instructions
from plena_mlir.backend.asm_module import asm_to_module
from plena_mlir.backend.asm_parser import parse_asm
from plena_mlir.backend.asm_printer import module_instructions, print_asm

__all__ = [
    "Instruction",
    "asm_to_module",
    "decode",
    "decode_word",
    "disassemble",
    "encode",
    "module_instructions",
    "parse_asm",
    "print_asm",
    "print_instructions",
]
