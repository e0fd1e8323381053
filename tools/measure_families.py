"""Run every tested model family end to end and write what it shows to `plena_mlir/model_support.json`.

usage: python tools/measure_families.py [--target 8x4x4] [--seq 7]

`plena models` prints the file; the table in README.md is made from it. A family that breaks a bound is not written, and makes
the exit status 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from plena_mlir.compiler import compile_hf_model  # noqa: E402
from plena_mlir.verify.bounds import broken_bounds  # noqa: E402
from tests.families.families import FAMILIES, Family  # noqa: E402
from tests.families.more_families import MORE_FAMILIES  # noqa: E402

OUTPUT = ROOT / "plena_mlir" / "model_support.json"
README = ROOT / "README.md"
START, END = "<!-- models: written by tools/measure_families.py -->", "<!-- end of models -->"


def measure(family: Family, target: str, seq_len: int) -> dict[str, object]:
    """One line of the table; raises ValueError for a broken bound."""
    config = family.config()
    layers = int(config.get_text_config().num_hidden_layers)
    program = compile_hf_model(config, target=target, seq_len=seq_len, random_weights=0, **family.options)
    report = program.run(compare=("hf", "golden", "tile")).report
    broken = broken_bounds(report.comparisons, layers=layers, routing=report.routing)
    if broken:
        raise ValueError("; ".join(broken))
    found = report.comparisons
    return {
        "family": family.name,
        "config": type(config).__name__,
        "traits": family.traits,
        "layers": layers,
        "hidden_size": int(config.get_text_config().hidden_size),
        "target": target,
        "seq_len": seq_len,
        "hf_max_rel": found["hf_vs_tensor_fp32"].max_rel,
        "golden_rel_rms": found["golden_vs_emulator"].rel_rms,
        "formats_rel_rms": found["golden_vs_hf"].rel_rms,
        "bit_exact": found["tile_vs_emulator"].bit_exact,
        "static_instructions": report.static_instructions,
        "cycles": report.cycles["transactional"].total,
    }


def write_readme(rows: list[dict[str, object]]) -> None:
    """Replace what stands between the two marks of README.md by the table."""
    before, _, rest = README.read_text().partition(START)
    _, _, after = rest.partition(END)
    titles = ("family", "what it has that Llama has not", "layers", "import against HF", "machine against golden", "tile = machine")
    lines = [f"| {' | '.join(titles)} | cycles |", f"|{' --- |' * len(titles)} ---: |"]
    for row in rows:
        exact = "every bit" if row["bit_exact"] else "no"
        figures = f"{row['hf_max_rel']:.1e} | {row['golden_rel_rms']:.4f}"
        lines.append(f"| {row['family']} | {row['traits']} | {row['layers']} | {figures} | {exact} | {row['cycles']:,} |")
    README.write_text(before + START + "\n" + "\n".join(lines) + "\n" + END + after)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", default="8x4x4")
    parser.add_argument("--seq", type=int, default=7)
    args = parser.parse_args()
    rows: list[dict[str, object]] = []
    failed = False
    for family in (*FAMILIES, *MORE_FAMILIES):
        try:
            rows.append(measure(family, args.target, args.seq))
        except ValueError as error:
            failed = True
            print(f"{family.name}: {error}", file=sys.stderr)
            continue
        print(f"{family.name}: measured", file=sys.stderr)
    OUTPUT.write_text(json.dumps(rows, indent=2) + "\n")
    write_readme(rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
