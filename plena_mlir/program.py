"""A compiled program: its code, its images, and how to run it against every level above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray
from xdsl.dialects.builtin import ModuleOp

from plena_mlir.backend.hbm_image import HbmImage
from plena_mlir.backend.staging import Array, Inputs, arrange_inputs, arrays_of, ids_words, staged_data
from plena_mlir.case import LEVELS
from plena_mlir.errors import LoweringError, ModelImportError, NoWeightsError, check_choice
from plena_mlir.golden_precision import HARDWARE, GoldenPrecision, parse_golden_precision
from plena_mlir.interface import HbmTensor, ProgramInterface
from plena_mlir.levels import run_levels
from plena_mlir.passes.isa.fp_constants import preloaded_constants
from plena_mlir.phases import Phases
from plena_mlir.report import Report, with_execution
from plena_mlir.target import Target
from plena_mlir.target.layout import GlobalData
from plena_mlir.verify.compare import compare as compare_results

if TYPE_CHECKING:
    from plena_mlir.emulator import RunResult
    from plena_mlir.interpreters.tensor import Observer
    from plena_mlir.interpreters.tile import Watcher

Engine = Literal["fast", "interpreter"]
Stage = Literal["imported", "tensor", "named", "tile", "isa"]


class Model(Protocol):
    """What a program needs of the imported model that it was compiled from."""

    @property
    def store(self) -> Any: ...

    def sample_inputs(self, seed: int = 0) -> Inputs: ...

    def reference(self, inputs: Any) -> Array: ...

    def compared_rows(self, rows: int, reference_rows: int) -> tuple[list[int], list[int]]: ...


@dataclass(frozen=True)
class RunOutcome:
    """What one run gave.

    Attributes:
        output: [rows, features] float32, as the machine left it in Vector SRAM.
        inputs: what the program ran on: token ids [S], hidden states [S, H], or whatever its model takes.
        report: counts, cycles, traffic and the comparisons that were asked for.
        compared: by the name of each comparison, the result [rows, features] and its reference.
    """

    output: NDArray[np.float32]
    inputs: Inputs
    report: Report
    compared: Mapping[str, tuple[Array, Array]]


@dataclass
class CompiledProgram:
    """A model on its way to the machine, as far as it was compiled.

    Attributes:
        target: the machine.
        stages: the IR after import and after each level: `imported`, `tensor`, `tile`, `isa`; and `named`, the last form of the
            tensor level, whose ops are the stages of `check_stages`.
        interface: where inputs and the output lie; None before the tile level.
        model: the imported model, None for a bundle whose model cannot be imported again.
        inputs: what the program runs on unless told otherwise.
        passes: (pass name, IR after it) in order, if they were kept.
        report: what compilation has to say.
    """

    target: Target
    stages: Mapping[str, ModuleOp]
    interface: ProgramInterface | None
    model: Model | None
    report: Report
    source: Mapping[str, Any] = field(default_factory=dict[str, Any])
    passes: Sequence[tuple[str, str]] = ()
    image: Mapping[str, GlobalData] | None = None
    golden_precision: GoldenPrecision = HARDWARE

    # --- artefacts --------------------------------------------------------------------------------------------------------------

    @cached_property
    def isa(self) -> str:
        """The program as assembly text."""
        from plena_mlir.backend.asm_printer import print_asm

        return print_asm(self.stage("isa"))

    @cached_property
    def machine_code(self) -> list[int]:
        """The program as 32-bit words."""
        from plena_mlir.backend.asm_encoder import encode

        return encode(self.stage("isa"))

    @cached_property
    def locations(self) -> list[str | None]:
        """The module path of each instruction."""
        from plena_mlir.backend.asm_printer import module_instructions

        return [instruction.location or None for instruction in module_instructions(self.stage("isa"))]

    @property
    def tensors(self) -> tuple[HbmTensor, ...]:
        """The tensors in HBM."""
        return self._interface.tensors

    @cached_property
    def fpsram(self) -> NDArray[np.float32]:
        """The first words of FP SRAM when the program starts, each exact in IEEE half."""
        address, values = preloaded_constants(self.stage("isa"))
        return np.concatenate([np.zeros(address, np.float32), values])

    @property
    def has_weights(self) -> bool:
        """Whether the program can run: a shape without weights only compiles."""
        return self.image is not None or (self.model is not None and self.model.store.has_data)

    def require_weights(self) -> None:
        """Refuse a program that cannot run.

        Raises:
            NoWeightsError: there are no weights.
        """
        if not self.has_weights:
            raise NoWeightsError("this program")

    @cached_property
    def weights(self) -> Mapping[str, GlobalData]:
        """The bytes of every tensor in HBM that does not depend on the input, by name.

        Raises:
            ModelImportError: the model is a shape without weights.
        """
        if self.image is not None:
            return self.image
        from plena_mlir.backend.image import encode_globals

        return encode_globals(self.stage("tile"), self.source_model.store)

    @cached_property
    def inputs(self) -> Inputs:
        """The sample inputs: the same for one model everywhere."""
        return self.source_model.sample_inputs(0)

    @property
    def hbm(self) -> HbmImage:
        """The HBM image for the sample inputs."""
        return self.hbm_for(self.inputs)

    def hbm_for(self, inputs: Inputs) -> HbmImage:
        """The HBM image with those `inputs` staged that the program reads from HBM."""
        from plena_mlir.backend.image import write_image

        module = self.stage("tile")
        return write_image({**self.weights, **staged_data(module, arrange_inputs(module, inputs))}, module)

    def intsram_for(self, inputs: Inputs) -> NDArray[np.uint32]:
        """The first words of INT SRAM with the token ids among `inputs`, if the program takes some."""
        return ids_words(self._interface.ids, arrange_inputs(self.stage("tile"), inputs))

    @property
    def golden(self) -> NDArray[np.float32]:
        """The golden for the sample inputs: the tensor level, by default with the machine's number formats."""
        return self.golden_for(self.inputs)

    def golden_for(
        self, inputs: Inputs, precision: str | GoldenPrecision | None = None, *, observe: Observer | None = None
    ) -> NDArray[np.float32]:
        """The golden [rows, features]: an execution on torch, independent of the levels below; by default in `golden_precision`.

        Args:
            observe: sees the value of every op on activations, and may replace it.
        """
        from plena_mlir.interpreters.tensor import run_tensor

        result = run_tensor(
            self.stage("tensor"),
            arrays_of(inputs),
            self.source_model.store,
            precision=self.golden_precision if precision is None else precision,
            target=self.target,
            observe=observe,
        )[0]
        return result.reshape(-1, result.shape[-1])

    # --- cost ---------------------------------------------------------------------------------------------------------------------

    def estimate(self, *, timing: str = "both", phases: Phases | None = None) -> Report:
        """The report with what a run will cost, which takes no weights: instructions, HBM traffic and cycles.

        Raises:
            Trap: the program's loops or addresses do what the machine forbids.
        """
        from plena_mlir.emulator import estimate_program

        phases = Phases() if phases is None else phases
        with phases.phase("estimate"):
            found = estimate_program(
                self.machine_code,
                self.target,
                intsram=self.intsram_for(self.inputs),
                timing=timing,
                locations=self.locations,
                progress=lambda count: phases.tell(f"estimating, {count:,} instructions"),
            )
        notes = ("cycles of HBM transfers are estimated from samples of each transfer",) if found.sampled else ()
        if found.routed:
            notes += ("cycles of HBM transfers are those of some choice of experts, not of the one that a run makes",)
        report = with_execution(self.report, found.result)
        return replace(report, seconds={**report.seconds, **phases.seconds}, notes=report.notes + notes)

    # --- running ----------------------------------------------------------------------------------------------------------------

    def run(
        self,
        *,
        engine: Engine = "fast",
        timing: str = "both",
        compare: Sequence[str] = (),
        input_ids: Sequence[int] | None = None,
        inputs: Inputs | None = None,
        golden_precision: str | GoldenPrecision | None = None,
        phases: Phases | None = None,
    ) -> RunOutcome:
        """Emulate the program, and compare its output with the levels named in `compare` (`hf`, `golden`, `tile`, `isa`).

        With any comparison the program also runs from memories full of NaN: its output must not change.

        Args:
            inputs: what the program runs on; its sample inputs if neither they nor `input_ids` are given.
            golden_precision: what the golden imitates, if not what the program was compiled with.

        Raises:
            Trap: the program did what the machine forbids.
            LoweringError: the output depends on memory that nobody wrote.
            ModelImportError: there are no weights, or no model to compare with.
        """
        check_choice("engine", engine, get_args(Engine))
        compare = (compare,) if isinstance(compare, str) else tuple(compare)
        for level in compare:
            check_choice("level to compare with", level, LEVELS)
        phases = Phases() if phases is None else phases
        precision = self.golden_precision if golden_precision is None else parse_golden_precision(golden_precision)
        self.stage("isa")
        self.require_weights()
        if inputs is None and input_ids is not None:
            if not self._interface.ids:
                raise ModelImportError("the program takes no token ids", hint="give its inputs as arrays")
            inputs = np.array(input_ids, np.int64)
        if inputs is None:
            inputs = self.inputs
        with phases.phase("image"):
            hbm, intsram = self.hbm_for(inputs), self.intsram_for(inputs)
        with phases.phase("emulate"):
            output, result = self._emulate(engine, hbm, intsram, 0.0, timing, phases)
        if compare:
            with phases.phase("poison"):
                poisoned, _ = self._emulate(engine, hbm, intsram, float("nan"), "none", phases)
            changed = output.view(np.uint32) != poisoned.view(np.uint32)
            if changed.any():
                raise LoweringError(
                    f"{int(changed.sum())} of {output.size} outputs depend on memory that nobody wrote",
                    hint="this is a bug; please report it",
                )
        links = run_levels(self, output, inputs, compare, precision, phases)
        if "isa" in compare:
            other: Engine = "interpreter" if engine == "fast" else "fast"
            with phases.phase("isa"):
                repeated, again = self._emulate(other, hbm, intsram, float("nan"), "none", phases)
            if again.instructions != result.instructions:
                raise LoweringError(
                    f"the engine and the isa interpreter count {result.instructions:,} and {again.instructions:,} instructions",
                    hint="this is a bug; please report it",
                )
            links.pairs["isa_vs_emulator"] = (output, repeated)
        notes = self.report.notes + (("outputs are identical from zeroed and from NaN-filled memories",) if compare else ())
        if "golden" in compare and precision != HARDWARE:
            imitated = f"only {', '.join(precision.switches)}" if precision.switches else "nothing"
            notes += (f"the golden imitates {imitated} of the machine: golden_vs_emulator has no bound",)
        report = replace(
            with_execution(self.report, result),
            seconds={**self.report.seconds, **phases.seconds},
            comparisons={name: compare_results(*pair, name=name) for name, pair in links.pairs.items()},
            routing=links.routing,
            golden_precision=precision.name if "golden" in compare else None,
            notes=notes,
        )
        return RunOutcome(output, inputs, report, links.pairs)

    def _emulate(
        self, engine: Engine, hbm: HbmImage, intsram: NDArray[np.uint32], fill: float, timing: str, phases: Phases
    ) -> tuple[NDArray[np.float32], RunResult]:
        from plena_mlir.emulator import run_program

        if engine == "interpreter":
            from plena_mlir.interpreters.isa import run_isa

            result = run_isa(
                self.stage("isa"),
                self.target,
                hbm=hbm.segments,
                fpsram=self.fpsram,
                intsram=intsram,
                fill=fill,
                strict=True,
                timing=timing,
            )
        else:
            result = run_program(
                self.machine_code,
                self.target,
                hbm=hbm.segments,
                fpsram=self.fpsram,
                intsram=intsram,
                fill=fill,
                strict=True,
                timing=timing,
                locations=self.locations,
                progress=lambda count: phases.tell(f"emulating, {count:,} instructions"),
            )
        place = self._interface.output
        rows = result.machine.vram_rows(place.address // self.target.vlen, place.blocks * place.physical_rows)
        return place.unpack(rows), result

    def run_tile(self, inputs: Inputs, *, fill: float = 0.0, watcher: Watcher | None = None) -> NDArray[np.float32]:
        """The output [rows, features] of the tile interpreter; a `watcher` follows the run."""
        from plena_mlir.interpreters.tile import run_tile

        module = self.stage("tile")
        result = run_tile(module, self.weights, arrange_inputs(module, inputs), fill=fill, watcher=watcher)
        return self._interface.output.unpack(result.output)

    # --- saving -----------------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the bundle; see `plena_mlir.bundle`."""
        from plena_mlir.bundle import save_bundle

        save_bundle(self, folder)

    # --- what must be there -----------------------------------------------------------------------------------------------------

    def stage(self, name: Stage) -> ModuleOp:
        """The IR of a stage of the compilation.

        Raises:
            LoweringError: the program was not compiled so far.
        """
        if name not in self.stages:
            raise LoweringError(f"there is no IR of the {name} level", hint="compile further, or again from the model")
        return self.stages[name]

    @property
    def _interface(self) -> ProgramInterface:
        if self.interface is None:
            raise LoweringError("the program was not compiled to the tile level", hint="compile with --compile-to tile or further")
        return self.interface

    @property
    def source_model(self) -> Model:
        """The model that the program was compiled from; that of a loaded bundle is imported again.

        Raises:
            ModelImportError: the bundle does not name one.
        """
        if self.model is None and self.source.get("model") is not None:
            self.model = self._import_again()
        if self.model is None:
            raise ModelImportError("the model that this program was compiled from is not at hand", hint="compile it again")
        return self.model

    def _import_again(self) -> Model:
        """The model of a loaded bundle, which is named in it and was not saved with it."""
        from plena_mlir.frontend import import_model

        names = [name for name in self.source if name not in ("model", "logits")]
        options = {name: self.source[name] for name in names}
        return import_model(self.source["model"], **options)
