"""Wall time by phase, measured where the phases run and shown by whoever listens."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import perf_counter


class Phases:
    """Seconds spent in each named phase of one compilation or run.

    Attributes:
        seconds: wall time by phase; a phase entered twice adds up.
    """

    def __init__(self, listener: Callable[[str], None] | None = None) -> None:
        """`listener` is called with the name of each phase as it starts, and with what `tell` is given: it shows progress."""
        self.seconds: dict[str, float] = {}
        self._listener = listener

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Count the time until the block ends, normally or not, as `name`."""
        self.tell(name)
        start = perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + perf_counter() - start

    def tell(self, what: str) -> None:
        """Show how far the current phase is."""
        if self._listener is not None:
            self._listener(what)
