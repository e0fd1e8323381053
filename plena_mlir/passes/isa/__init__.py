"""Passes from plena_tile to allocated plena_isa."""
