"""A fixed draw of small models on small machines, every level against the next."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from plena_mlir.case import save_case
from tests.fuzz.campaign import MACHINES_PER_MODEL, points, warm_up
from tests.fuzz.checking import check

MODELS_PER_TEST = 3
TESTS = 25
"""Of twelve cases each: 300 in all."""


@pytest.fixture(scope="module", autouse=True)
def _compiled_emulator() -> None:
    warm_up()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(TESTS))
def test_cases_drawn_from_one_seed_agree_at_every_level(number: int, tmp_path: Path) -> None:
    failures: list[str] = []
    for index, point in enumerate(islice(points(number * MODELS_PER_TEST), MODELS_PER_TEST * MACHINES_PER_MODEL)):
        verdict = check(point)
        if not verdict.passed:
            path = tmp_path / f"case-{index}.json"
            save_case(path, verdict.case, verdict.observed)
            failures.append(f"plena run {path}: {verdict.observed.message}")
    assert not failures, "\n".join(failures)
