"""Cycle models: named profiles, one file each in `profiles`, and the model of the DRAM that they may use.

Importing this package imports no profile, so that commands can list the names at once.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from plena_mlir.errors import ExecutionError

if TYPE_CHECKING:
    from plena_mlir.timing.profile import TimingProfile

BOTH = ("transactional", "analytic")
"""The profiles that `both` means."""


@cache
def profile_names() -> tuple[str, ...]:
    """The names of all profiles: those of the files in `profiles`."""
    files = (Path(__file__).parent / "profiles").glob("*.py")
    return tuple(sorted(file.stem for file in files if file.stem != "__init__"))


def timing_choices() -> tuple[str, ...]:
    """What `--timing` and every parameter called `timing` may be."""
    return (*profile_names(), "both", "none")


@cache
def load_profile(name: str) -> TimingProfile:
    """The profile of this name.

    Raises:
        ExecutionError: there is none.
    """
    if name not in profile_names():
        raise ExecutionError(f"there is no timing profile {name!r}", hint=f"profiles are {', '.join(profile_names())}")
    return import_module(f"plena_mlir.timing.profiles.{name}").PROFILE


def chosen_profiles(timing: str) -> tuple[TimingProfile, ...]:
    """The profiles that one of `timing_choices` asks for.

    Raises:
        ExecutionError: it is none of them.
    """
    if timing not in timing_choices():
        raise ExecutionError(f"there is no timing {timing!r}", hint=f"use one of {', '.join(timing_choices())}")
    names = BOTH if timing == "both" else () if timing == "none" else (timing,)
    return tuple(load_profile(name) for name in names)
