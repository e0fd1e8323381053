"""Export, import and passes without Python's garbage collector."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_garbage_collection() -> Generator[None]:
    """The collector is off inside, and afterwards as before.

    Graphs and IR are many small objects that live long: collecting among them doubles the time of whatever builds them.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
