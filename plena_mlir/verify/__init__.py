"""Checks that are independent of the compiler: comparisons of results, their bounds, validators."""
