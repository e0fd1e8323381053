"""Passes from the tensor level to unit-level plena_tile, one idea a file."""
