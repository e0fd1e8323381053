"""Wall time by phase."""

from __future__ import annotations

import pytest

from plena_mlir.phases import Phases


def test_time_adds_up_by_phase_and_the_listener_hears_each_start():
    heard: list[str] = []
    phases = Phases(heard.append)
    for name in ("import", "lower", "import"):
        with phases.phase(name):
            phases.tell(f"more of {name}")
    assert heard == ["import", "more of import", "lower", "more of lower", "import", "more of import"]
    assert list(phases.seconds) == ["import", "lower"]
    assert all(value >= 0 for value in phases.seconds.values())


def test_a_phase_that_fails_is_counted():
    phases = Phases()
    with pytest.raises(ValueError, match="x"), phases.phase("lower"):
        raise ValueError("x")
    assert list(phases.seconds) == ["lower"]
