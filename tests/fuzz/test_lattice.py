"""A fixed draw of small models on small machines, every level against the next."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.fuzz.campaign import cases
from tests.fuzz.checking import check


@pytest.mark.slow
def test_cases_drawn_from_one_seed_all_agree():
    verdicts = [(case, check(case)) for case in islice(cases(7, largest=32), 30)]
    assert [(case, verdict.kind) for case, verdict in verdicts if verdict.status == "failed"] == []
    assert sum(verdict.status == "passed" for _, verdict in verdicts) >= 20
