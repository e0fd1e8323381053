"""Run cases for as long as one likes: `python -m tests.fuzz.campaign --seconds 600 --out build/fuzz`, or `make fuzz`.

Each kind of failure is shrunk once and written to the folder as a case that `--replay FILE` runs again.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fuzz.checking import Verdict, check
from tests.fuzz.lattice import Case, draw_machine, draw_shape, simpler

MACHINES_PER_MODEL = 3


def cases(seed: int, *, largest: int = 256) -> Iterator[Case]:
    """Endless cases from a seed: several machines for each model, because importing takes longer than the rest."""
    number = seed
    while True:
        shape = draw_shape(number)
        for machine in range(MACHINES_PER_MODEL):
            yield Case(shape, draw_machine(number * MACHINES_PER_MODEL + machine, largest=largest))
        number += 1


def shrink(case: Case, fails: Callable[[Case], bool], *, seconds: float) -> Case:
    """The simplest case found within a time that still fails, going downhill one step after the other."""
    deadline = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < deadline:
        progress = False
        for candidate in simpler(case):
            if time.monotonic() > deadline:
                break
            if fails(candidate):
                case, progress = candidate, True
                break
    return case


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--largest", type=int, default=256, help="largest MLEN")
    parser.add_argument("--shrink-seconds", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the one case of a failure file, and no others")
    args = parser.parse_args()
    if args.replay is not None:
        verdict = check(Case.from_json(json.loads(args.replay.read_text())["case"]))
        print(f"{verdict.status}: {verdict.kind}\n{verdict.detail}")
        return 1 if verdict.status == "failed" else 0
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    statuses: Counter[str] = Counter()
    kinds: dict[str, int] = {}
    for number, case in enumerate(cases(args.seed, largest=args.largest)):
        if time.monotonic() - started > args.seconds:
            break
        begun = time.monotonic()
        verdict = check(case)
        statuses[verdict.status] += 1
        new = verdict.kind not in kinds
        if verdict.kind:
            kinds[verdict.kind] = kinds.get(verdict.kind, 0) + 1
        if verdict.status != "passed" and (new or verdict.status == "failed"):
            print(f"{number} {verdict.status}: {verdict.kind}\n    {case}", flush=True)
        if verdict.status == "failed" and new:
            kind = verdict.kind
            smallest = shrink(case, lambda other, kind=kind: check(other).kind == kind, seconds=args.shrink_seconds)
            _write(args.out / f"failure-{len(kinds):03}.json", smallest, check(smallest))
            print(f"    smallest: {smallest}", flush=True)
        if number % 20 == 0:
            print(f"{number}: {dict(statuses)}, last took {time.monotonic() - begun:.1f} s", flush=True)
    print(json.dumps({"cases": dict(statuses), "kinds": kinds, "seconds": round(time.monotonic() - started)}, indent=1))
    return 1 if statuses["failed"] else 0


def _write(path: Path, case: Case, verdict: Verdict) -> None:
    path.write_text(json.dumps({"case": case.to_json(), "kind": verdict.kind, "detail": verdict.detail}, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
