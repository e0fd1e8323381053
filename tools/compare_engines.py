"""Engine against interpreter on random programs over random machines: `python tools/compare_engines.py [cases] [first seed]`.

Every bit of the final state, every count and every cycle must agree; prints the seeds where they do not.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.emulator.random_programs import differences


def main() -> int:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    start = time.perf_counter()
    failures = 0
    for seed in range(first, first + cases):
        found = differences(seed)
        if found:
            failures += 1
            print(f"seed {seed}: {', '.join(found)} differ")
    print(f"{cases:,} programs in {time.perf_counter() - start:.0f} s, {failures} differ")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
