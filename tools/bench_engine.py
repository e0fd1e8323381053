"""Speed of the numerics and of the emulator engine: `python tools/bench_engine.py`.

Each line is the best of a few repetitions after compilation. Figures depend on the machine and on what else runs there, those of
the engine less, since they are processor time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from plena_mlir.backend import encode, parse_asm
from plena_mlir.emulator import run_program
from plena_mlir.numerics import MXFP8_E4M3, matmul_nt, mx_decode, mx_encode, round_bf16
from plena_mlir.target import Target, load_target, write_settings

REPEATS = 3


def best_seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Least time of `work` by `clock`; it has run once before."""
    work()
    times: list[float] = []
    for _ in range(REPEATS):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)


def numerics() -> None:
    """Throughput of the array functions."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(4096, 4096)).astype(np.float32)
    elements, scales = mx_encode(values, MXFP8_E4M3)
    for name, work in (
        ("round_bf16", lambda: round_bf16(values)),
        ("mx_encode", lambda: mx_encode(values, MXFP8_E4M3)),
        ("mx_decode", lambda: mx_decode(elements, scales, MXFP8_E4M3)),
    ):
        print(f"{name:<34} {values.size / best_seconds(work) / 1e6:10.0f} M elements/s")
    for edge in (64, 256):
        x, w = values[:edge, :edge].copy(), values[edge : 2 * edge, :edge].copy()
        seconds = best_seconds(lambda x=x, w=w: [matmul_nt(x, w) for _ in range(64)])
        print(f"{f'matmul_nt {edge}^3':<34} {64 * edge**3 / seconds / 1e9:10.2f} GMAC/s")


def engine() -> None:
    """Throughput of the dispatch loop on a scalar loop and on each kind of matrix and vector work."""
    cases = [
        ("scalar loop", "64x4x16", "S_ADDI_INT gp3, gp3, 1\nS_ADD_INT gp4, gp4, gp3\nS_ADDI_INT gp5, gp4, 7\n" * 3, 0),
        ("V_ADD_VV, V_MUL_VV", "64x4x16", "V_ADD_VV gp0, gp0, gp0\nV_MUL_VV gp0, gp0, gp0\n" * 4, 0),
        ("V_RED_SUM", "64x4x16", "V_RED_SUM f1, gp0\n" * 8, 0),
        ("V_RED_MAX", "64x4x16", "V_RED_MAX f1, gp0, 0\n" * 8, 0),
        ("V_EXP_V", "64x4x16", "V_EXP_V gp0, gp0, 0\n" * 8, 0),
        ("V_SHFT_V", "64x4x16", "V_SHFT_V gp0, gp0, gp0\n" * 8, 0),
        ("V_ADD_VV masked", "64x4x16", "V_ADD_VV gp0, gp0, gp0, 1\n" * 8, 0),
        ("M_MM", "64x4x16", "M_MM 0, gp0, gp0\n" * 8, 4 * 4 * 64 * 8),
        ("M_MM", "64x16x64", "M_MM 0, gp0, gp0\n" * 8, 16 * 16 * 64 * 8),
        ("M_TMM", "64x4x16", "M_TMM 0, gp0, gp0\n" * 8, 4 * 4 * 64 * 8),
        ("M_MV", "64x4x16", "M_MV 0, gp0, gp0\n" * 8, 4 * 64 * 8),
        ("M_BTMM", "64x4x16", "M_BTMM 0, gp0, gp0\n" * 8, 64**3 * 8),
        ("M_BTMM", "64x16x64", "M_BTMM 0, gp0, gp0\n" * 8, 64**3 * 8),
        ("M_BTMM", "256x64x64", "M_BTMM 0, gp0, gp0\n" * 8, 256**3 * 8),
        ("M_BTMV", "64x16x64", "M_BTMV 0, gp0, gp0\n" * 8, 64**2 * 8),
        ("M_BMM", "64x4x16", "M_BMM 0, gp0, gp0\n" * 8, 64**3 * 8),
        ("H_PREFETCH_M", "64x16x64", "H_PREFETCH_M gp0, gp0, a0, 0, 0\n" * 8, 0),
        ("H_STORE_V", "64x16x64", "H_STORE_V gp0, gp0, a0, 0, 0\n" * 8, 0),
    ]
    for name, target_name, body, macs in cases:
        target = load_target(target_name)
        heavy = macs * 2e-9 + (2e-5 if name[0] == "H" else 1e-6)
        trips = max(4, min(5000, int(0.2 / heavy)))
        outer = 100 if name == "scalar loop" else 1
        loop = f"C_LOOP_START gp2, {trips}\n{body}C_LOOP_END gp2\n"
        words = encode(parse_asm(f"C_LOOP_START gp1, {outer}\n{loop}C_LOOP_END gp1\n" if outer > 1 else loop))
        for timing in ("none", "transactional") if name[0] == "H" else ("none",):
            seconds, instructions = run_seconds(words, target, timing)
            rate = f"{instructions / seconds / 1e6:10.2f} M instructions/s"
            extra = f" {macs * trips / seconds / 1e9:8.2f} GMAC/s" if macs else ""
            if name[0] == "H":
                clock = "without" if timing == "none" else "with"
                extra = f" {seconds / instructions * 1e6:8.1f} us each, {clock} DRAM timing"
            print(f"{f'{name} {target_name}':<34} {rate}{extra}")


def run_seconds(words: list[int], target: Target, timing: str) -> tuple[float, int]:
    """Processor seconds of a run without those of an empty one, and its dynamic instructions. The engine has one thread."""
    result = run_program(words, target, timing=timing)
    full = best_seconds(lambda: run_program(words, target, timing=timing), time.process_time)
    empty = best_seconds(lambda: run_program([], target, timing=timing), time.process_time)
    return full - empty, result.instructions


def start_up() -> None:
    """From the command to the end of a program of one instruction, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {"a.mem": "0x00200062\n", "empty": ""}.items():
            (Path(folder) / name).write_text(content)
        write_settings(load_target("64x16x64"), Path(folder) / "machine.toml")
        files = "--opcode a.mem --hbm empty --fpsram empty --settings machine.toml --no-dumps"
        command = [sys.executable, "-m", "plena_mlir.cli.plena", "emulate", *files.split()]
        seconds = best_seconds(lambda: subprocess.run(command, cwd=folder, check=True, capture_output=True))
    print(f"{'plena emulate, one instruction':<34} {seconds:10.2f} s")


if __name__ == "__main__":
    numerics()
    engine()
    start_up()
