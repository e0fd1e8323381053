"""Run cases for as long as one likes: `python -m tests.fuzz.campaign --seconds 600 --out build/fuzz`, or `make fuzz`.

Each kind of failure is shrunk once and written to the folder as a case file, which `plena run FILE` repeats.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from plena_mlir.case import save_case
from tests.fuzz.checking import CPU_SECONDS, WALL_SECONDS, check
from tests.fuzz.lattice import Machine, Point, draw_machine, draw_shape, simpler
from tests.fuzz.models import Shape

MACHINES_PER_MODEL = 4


def points(seed: int, *, largest: int = 512) -> Iterator[Point]:
    """Endless points from a seed: several machines for each model, because importing one takes as long as compiling it."""
    number = seed
    while True:
        shape = draw_shape(number)
        for machine in range(MACHINES_PER_MODEL):
            yield Point(shape, draw_machine(number * MACHINES_PER_MODEL + machine, largest=largest))
        number += 1


def warm_up() -> None:
    """Run a small case without a limit: the first of a process may have to compile the emulator."""
    shape = Shape("llama", seq=2, layers=1, hidden=8, inter=8, heads=1, kv_heads=1, head_dim=8, vocab=16)
    check(Point(shape, Machine(8, 8, 8, 0, 0, 8, 8, 8)), seconds=WALL_SECONDS)


def shrink(point: Point, fails: Callable[[Point], bool], *, seconds: float) -> Point:
    """The simplest point found within a time that still fails, going downhill one step after the other."""
    deadline = time.monotonic() + seconds
    progress = True
    while progress and time.monotonic() < deadline:
        progress = False
        for candidate in simpler(point):
            if time.monotonic() > deadline:
                break
            if fails(candidate):
                point, progress = candidate, True
                break
    return point


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--cases", type=int, help="stop after so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--largest", type=int, default=512, help="largest MLEN")
    parser.add_argument("--case-seconds", type=float, default=CPU_SECONDS, help="processor time of one case")
    parser.add_argument("--shrink-seconds", type=float, default=120.0)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    warm_up()
    started = time.monotonic()
    statuses: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for number, point in enumerate(points(args.seed, largest=args.largest)):
        if time.monotonic() - started > args.seconds or number == args.cases:
            break
        begun = time.process_time()
        verdict = check(point, seconds=args.case_seconds)
        taken = time.process_time() - begun
        statuses[verdict.observed.status] += 1
        statuses["refusals answered"] += verdict.refusals
        print(f"{number} {verdict.observed.summary} {taken:.1f} s {verdict.instructions:,} {verdict.case.target.name}", flush=True)
        if verdict.passed:
            continue
        kind = verdict.observed.kind
        kinds[kind] += 1
        print(f"    {kind}\n    {point}", flush=True)
        if kinds[kind] == 1:
            smallest = shrink(point, lambda other, kind=kind: check(other).observed.kind == kind, seconds=args.shrink_seconds)
            found = check(smallest)
            save_case(args.out / f"failure-{args.seed}-{number}.json", found.case, found.observed)
            print(f"    smallest: {smallest}", flush=True)
    print(json.dumps({"cases": dict(statuses), "kinds": kinds, "seconds": round(time.monotonic() - started)}, indent=1))
    return 1 if kinds else 0


if __name__ == "__main__":
    sys.exit(main())
