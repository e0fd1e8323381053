"""What one case must satisfy: every execution of the program agrees, none depends on memory that nobody wrote, and no machine is
refused that has what the refusal asked for.
"""

from __future__ import annotations

import faulthandler
import math
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from types import FrameType

from plena_mlir.case import Case, Observation, observation_of, observation_of_bounds
from plena_mlir.compiler import CompiledProgram
from plena_mlir.dialects.plena_tile import Space
from plena_mlir.errors import MemoryTooSmallError
from plena_mlir.frontend.importer import ImportedModel
from plena_mlir.passes.isa.instruction_counts import InstructionCounts
from plena_mlir.target import HBM_BLOCK, Target
from plena_mlir.verify.amplification import expect_accumulated, rounding_explains
from plena_mlir.verify.bounds import broken_bounds
from plena_mlir.verify.stage_checks import check_program
from tests.fuzz.lattice import Machine, Point
from tests.fuzz.models import Shape

INTERPRETED_INSTRUCTIONS = 30_000
"""Dynamic instructions up to which the ISA interpreter runs a case too; it takes some 20 us for each."""

CPU_SECONDS = 90.0
"""What one case may take of the processor."""

WALL_SECONDS = 900
"""What one case may take in all, however busy the computer: the process ends when it is over."""


@dataclass(frozen=True)
class Verdict:
    """What became of one point of the lattice.

    Attributes:
        case: what was compiled and run, with the memories it got.
        refusals: how often the compiler asked for more memory on the way.
    """

    case: Case
    observed: Observation
    refusals: int = 0
    instructions: int = 0

    @property
    def passed(self) -> bool:
        return self.observed.status == "passed"


class Disagreement(Exception):
    """The compiler contradicts itself."""


class Hang(Exception):
    """A case took longer than it may."""


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Raise Hang in the block when it has used so much of the processor."""

    def expire(signum: int, frame: FrameType | None) -> None:
        raise Hang(f"not done after {seconds:g} seconds")

    before = signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    # Compiled code does not look at signals: there only the end of the process helps.
    faulthandler.dump_traceback_later(WALL_SECONDS, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


def case_of(point: Point) -> Case:
    """The case of a point, before its memories are fitted."""
    shape, machine = point.shape, point.machine
    return Case(
        model=shape.config(),
        target=machine.target(),
        seq_len=shape.seq,
        random_weights=shape.seed,
        scope=shape.scope,
        lengths=shape.lengths or None,
        padding_side=shape.padding,
        logits=machine.logits,
        strategy=machine.strategy,
    )


@lru_cache(maxsize=2)
def imported(shape: Shape) -> ImportedModel:
    """The model of a shape; several machines share one import."""
    return case_of(Point(shape, Machine(8, 8, 8, 0, 0, 8, 8, 8))).import_model()


def check(point: Point, *, seconds: float = CPU_SECONDS) -> Verdict:
    """Compile and run a point at every level."""
    check = _Check(point)
    try:
        with time_limit(seconds):
            observed = check.run()
    except Exception as error:
        # No machine drawn is too small, so that a refusal that nobody answered is a failure like any other.
        observed = replace(observation_of(error), status="failed")
    return Verdict(check.case, observed, check.refusals, check.instructions)


class _Check:
    """One point under test."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.case = case_of(point)
        self.refusals = 0
        self.instructions = 0

    def run(self) -> Observation:
        model = imported(self.point.shape)
        self._ask_for_little(model)
        program = self._compile(model)
        module = program.stage("isa")
        self.instructions = InstructionCounts().block(module.body.block)
        if self.instructions > INTERPRETED_INSTRUCTIONS:
            self.case = replace(self.case, compare=("hf", "golden", "tile"))
        result = program.run(timing="none", compare=self.case.compare)
        broken = broken_bounds(result.report.comparisons, layers=self.point.shape.layers, routing=result.report.routing)
        if broken and all(sentence.startswith("golden_vs_emulator") for sentence in broken):
            # In models this small, a norm whose scale differs in the last place or a few keys in other MX codes can be most of the
            # distance between golden and machine.
            checks = expect_accumulated(program, check_program(program), draws=16)
            failures = tuple(f"{stage.stage}: {stage.failure}" for stage in checks if not stage.passed)
            broken = failures or (() if rounding_explains(checks) else broken)
        return observation_of_bounds(broken)

    def _ask_for_little(self, model: ImportedModel) -> None:
        """Give the case the memories of its point; where that is too little, the compiler will say what it needs."""
        machine = self.point.machine
        rows = None
        if machine.room == "least":
            rows = 1
        elif machine.room != "plenty":
            peak = self.case.compile(model, compile_to="tile").report.vram_rows_peak
            assert peak is not None
            rows = max(1, {"exact": peak, "one less": peak - 1, "half": peak // 2}[machine.room])
        self.case = replace(
            self.case, target=machine.target(vector_sram_rows=rows, hbm_size=HBM_BLOCK if machine.hbm_full else None)
        )

    def _compile(self, model: ImportedModel) -> CompiledProgram:
        """Compile, with as much more memory as the compiler asks for: what it says it needs must be enough."""
        while True:
            try:
                return self.case.compile(model)
            except MemoryTooSmallError as refusal:
                self.refusals += 1
                self.case = replace(self.case, target=_enlarged(self.case.target, refusal))


def _enlarged(target: Target, refusal: MemoryTooSmallError) -> Target:
    """The target with the memory that was asked for."""
    fields = {Space.VRAM.value: "vector_sram_rows", Space.HBM.value: "hbm_size"}
    name = fields.get(refusal.memory)
    if name is None:
        raise refusal
    unit = HBM_BLOCK if name == "hbm_size" else 1
    size = math.ceil(refusal.needed / unit) * unit
    if size <= getattr(target, name):
        raise Disagreement(f"refused for want of {refusal.memory}, of which there is as much as it needs: {refusal}")
    return replace(target, **{name: size})
