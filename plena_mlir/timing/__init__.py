"""Cycle models as named profiles."""

from plena_mlir.timing.profiles import PROFILES, TimingProfile

__all__ = ["PROFILES", "TimingProfile"]
