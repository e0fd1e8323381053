"""Engine against interpreter on random programs over random machines: `python tools/compare_engines.py [cases] [first seed]`.

Every bit of the final state, every count and every cycle by both timing profiles must agree, and of programs that trap the reason,
the instruction and what its operands held. Prints the seeds where they do not, and what the programs were.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from plena_mlir.dialects.plena_isa.table import INSTRUCTIONS
from tests.emulator.random_comparison import disagreements, outcomes
from tests.emulator.random_programs import RandomProgram


def main() -> int:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    start = time.perf_counter()
    failures = 0
    traps: Counter[str] = Counter()
    targets: set[str] = set()
    mnemonics: set[str] = set()
    for seed in range(first, first + cases):
        program = RandomProgram(seed)
        targets.add(program.target.name)
        mnemonics.update(line.split()[0] for line in program.lines)
        engine, interpreter = outcomes(program)
        if "trap" in engine:
            traps[engine["trap"]] += 1
        found = disagreements(engine, interpreter)
        if found:
            failures += 1
            print(f"seed {seed}: {', '.join(found)} differ", flush=True)
    print(
        f"{cases:,} programs on {len(targets)} geometries with {len(mnemonics - {'.word'})} of {len(INSTRUCTIONS)} instructions "
        f"in {time.perf_counter() - start:.0f} s: {failures} differ"
    )
    print(f"{traps.total():,} of them trap, for {len(traps)} reasons:")
    for reason, count in traps.most_common():
        print(f"{count:7,}  {reason}")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
