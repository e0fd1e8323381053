"""Compile a model: import, the tensor pipeline, the tile pipeline, the ISA pipeline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from xdsl.context import Context
from xdsl.dialects.builtin import ModuleOp
from xdsl.passes import ModulePass
from xdsl.utils.exceptions import VerifyException

from plena_mlir.bundle import load_bundle
from plena_mlir.dialects.plena import located_text, notes_of, set_target
from plena_mlir.errors import CompilerCrash, LoweringError, PlenaError, check_choice
from plena_mlir.garbage_collection import without_garbage_collection
from plena_mlir.golden_precision import GoldenPrecision, parse_golden_precision
from plena_mlir.interface import describe
from plena_mlir.passes import get_all_passes
from plena_mlir.phases import Phases
from plena_mlir.program import CompiledProgram, RunOutcome
from plena_mlir.report import ModelSummary, Report
from plena_mlir.target import Target, load_target
from plena_mlir.verify.layer_reads import check_layer_reads
from plena_mlir.verify.transfer_registers import check_transfer_registers
from plena_mlir.verify.transfers import check_transfers

if TYPE_CHECKING:
    from plena_mlir.frontend.importer import ImportedModel
    from plena_mlir.frontend.modules import ImportedModule

Level = Literal["tensor", "tile", "isa", "asm"]
LEVELS: tuple[Level, ...] = ("tensor", "tile", "isa", "asm")

__all__ = ["CompiledProgram", "RunOutcome", "compile_and_run", "compile_hf_model", "load_bundle"]


def compile_hf_model(
    model: Any,
    *,
    target: str | Path | Target = "64x16x64",
    seq_len: int = 64,
    num_layers: int | None = None,
    scope: Literal["model", "decoder"] = "model",
    random_weights: int | None = None,
    output: str | int | None = None,
    inputs: Any = None,
    attention: Literal["bidirectional"] | None = None,
    batch: int | None = None,
    lengths: Sequence[int] | None = None,
    padding_side: Literal["left", "right"] = "right",
    golden_precision: str | GoldenPrecision = "hardware",
    logits: Literal["all", "last"] = "all",
    compile_to: Level = "asm",
    strategy: Literal["auto", "micro", "broadcast"] = "auto",
    keep_ir: bool = False,
    verify: bool = False,
    verify_by_execution: bool = False,
    without_passes: Collection[str] = (),
    phases: Phases | None = None,
) -> CompiledProgram:
    """Compile a model for one sequence length, or for inputs of given shapes.

    Args:
        model: a transformers module or config, any other `nn.Module` or an `ExportedProgram`, a checkpoint folder, the name of a
            built-in shape; or a model that was imported already, which says itself what the options up to `padding_side` say.
        target: a target, its name, or a settings file.
        num_layers: compile the first layers only.
        scope: `model`, token ids to logits; `decoder`, hidden states to the final norm's output.
        random_weights: seed of random weights; without it a shape compiles but cannot run.
        output: the output to compute, as the model names it, or `sentence_embedding`; its first when None.
        inputs: an example of the inputs of any other module than a language model: a tensor, positional arguments, or a mapping of
            keyword arguments. Tensors change from run to run; what else there is stays.
        attention: `bidirectional` lets every token see all others, whatever the model's configuration says.
        batch: how many sequences one run takes.
        lengths: how many tokens each sequence has; the rest of its `seq_len` rows is padding, on the `padding_side`.
        golden_precision: what `CompiledProgram.golden` imitates of the machine's arithmetic: all of it (`hardware`), all but the
            formats of weights (`no_weight_quant`) or bfloat16 (`no_bf16`), nothing (`fp32`), or switches, comma-separated:
            weights, kv, activations, intermediates, accumulation, each of which `GoldenPrecision` describes.
        logits: of all positions, or of the last.
        compile_to: the last level to reach.
        strategy: force a matrix strategy wherever it is legal.
        keep_ir: keep the IR after every pass as text.
        verify: run the independent validators of memory planning, rolled layers, transfers, the image of the weights, and register
            allocation.
        verify_by_execution: run the IR before and after every pass; it must compute the same. For small models.
        without_passes: names of passes to leave out, to see what difference they make; not all can be spared.

    Raises:
        MiscompileError: with `verify_by_execution`, a pass changed what the program computes.
        ModelImportError, TargetError, LoweringError: what cannot be imported, is no machine or precision, or does not fit it.
    """
    from plena_mlir.frontend import import_model
    from plena_mlir.frontend.importer import ImportedModel
    from plena_mlir.frontend.modules import ImportedModule
    from plena_mlir.passes.pipelines import isa_passes, tensor_pipeline, tile_pipeline
    from plena_mlir.passes.tensor.name_stages import NameStagesPass
    from plena_mlir.passes.tile.convert_tensor_to_tile import StrategyName

    check_choice("level", compile_to, LEVELS)
    check_choice("strategy", strategy, get_args(StrategyName))
    check_choice("choice of logits", logits, ("all", "last"))
    machine = target if isinstance(target, Target) else load_target(target)
    golden = parse_golden_precision(golden_precision)
    phases = Phases() if phases is None else phases
    with phases.phase("import"):
        imported = (
            model
            if isinstance(model, ImportedModel | ImportedModule)
            else import_model(
                model,
                seq_len=seq_len,
                num_layers=num_layers,
                scope=scope,
                random_weights=random_weights,
                output=output,
                inputs=inputs,
                attention=attention,
                batch=batch,
                lengths=lengths,
                padding_side=padding_side,
            )
        )
    module = imported.module.clone()
    set_target(module, machine)
    stages: dict[str, ModuleOp] = {"imported": module.clone()}
    dumps: list[tuple[str, str]] = [("import", located_text(module))] if keep_ir else []
    lowering = _Lowering(module, without_passes)
    if keep_ir:
        lowering.observers.append(lambda step, module: dumps.append((step.name, located_text(module))))
    lowering.observers.append(
        lambda step, module: stages.update(named=module.clone()) if step.name == NameStagesPass.name else None
    )
    if verify_by_execution:
        lowering.observers.append(_execution_check(module, imported))
    interface = None
    with phases.phase("lower"), without_garbage_collection():
        lowering.run(tensor_pipeline(imported.store, logits=logits))
        stages["tensor"] = module.clone()
        if compile_to != "tensor":
            lowering.run(tile_pipeline(strategy=strategy, verify=verify))
            stages["tile"] = module.clone()
            interface = describe(module)
            if verify:
                check_layer_reads(stages["imported"], stages["tile"])
                _verify_placement(stages["tile"], imported)
        if compile_to in ("isa", "asm"):
            lowering.run(isa_passes(verify=verify))
            stages["isa"] = module
            if verify:
                check_transfer_registers(stages["tile"], module)
    program = CompiledProgram(
        target=machine,
        stages=stages,
        interface=interface,
        model=imported,
        report=Report(
            target=machine.name,
            model=_summary(imported, logits),
            vram_rows_peak=None if interface is None else interface.vram_rows_peak,
            mram_tiles_peak=None if interface is None else interface.mram_tiles_peak,
            seconds=phases.seconds,
            notes=(*imported.notes, *notes_of(module)),
        ),
        source={
            "model": _source_of(model),
            "seq_len": seq_len,
            "num_layers": num_layers,
            "scope": scope,
            "random_weights": random_weights,
            "output": output,
            "attention": attention,
            "batch": batch,
            "lengths": None if lengths is None else list(lengths),
            "padding_side": padding_side,
            "logits": logits,
        },
        passes=dumps,
        golden_precision=golden,
    )
    if compile_to in ("isa", "asm"):
        program.report = replace(program.report, static_instructions=len(program.machine_code))
    return program


def compile_and_run(
    model: Any, build_dir: str | Path, *, compare: Sequence[str] = ("hf", "golden", "tile"), **options: Any
) -> RunOutcome:
    """Compile a model, save its bundle in `build_dir`, emulate it and compare the result with the levels above.

    Args:
        options: as for `compile_hf_model`.
    """
    program = compile_hf_model(model, **options)
    program.save(build_dir)
    return program.run(compare=compare)


class _Lowering:
    """Runs passes on one module, one pipeline after the other.

    Attributes:
        observers: called with each pass and the module it left.
    """

    def __init__(self, module: ModuleOp, without: Collection[str]) -> None:
        unknown = [name for name in without if name not in get_all_passes()]
        if unknown:
            raise LoweringError(f"there is no pass {unknown[0]!r} to leave out", hint="docs/architecture.md lists the passes")
        self._without = without
        self.observers: list[Callable[[ModulePass, ModuleOp], None]] = []
        self._module = module
        self._start = module.clone()
        self._done: list[ModulePass] = []

    def run(self, passes: Sequence[ModulePass]) -> None:
        """Run passes in order and verify what the last leaves.

        Raises:
            CompilerCrash: a pass failed in a way it does not know of; a reproducer was written.
        """
        context = Context()
        for step in passes:
            if step.name in self._without:
                continue
            try:
                step.apply(context, self._module)
            except PlenaError:
                raise
            except Exception as error:
                from plena_mlir.verify.crash import crash

                raise crash(self._start, self._done, step, error) from error
            self._done.append(step)
            for observe in self.observers:
                observe(step, self._module)
        try:
            self._module.verify()
        except VerifyException:
            raise self._crash_of_invalid_ir() from None

    def _crash_of_invalid_ir(self) -> CompilerCrash:
        """The error of the first pass that left IR which does not verify; they run again, for verifying after each takes time."""
        from plena_mlir.verify.crash import crash

        module, context = self._start.clone(), Context()
        for number, step in enumerate(self._done):
            step.apply(context, module)
            try:
                module.verify()
            except VerifyException as error:
                return crash(self._start, self._done[:number], step, error)
        raise AssertionError("the passes left sound IR when they ran again")


def _verify_placement(module: ModuleOp, imported: ImportedModel | ImportedModule) -> None:
    """The independent checks of what is where in HBM: the tensors if there are weights, and the transfers."""
    check_transfers(module)
    if imported.store.has_data:
        from plena_mlir.backend.image import encode_globals
        from plena_mlir.verify.image_layout import check_image

        check_image(module, encode_globals(module, imported.store), imported.store)


def _execution_check(module: ModuleOp, imported: ImportedModel | ImportedModule) -> Callable[[ModulePass, ModuleOp], None]:
    """An observer that runs the module after each pass and compares with what it gave before."""
    from plena_mlir.verify.execution import Executor
    from plena_mlir.verify.pass_checks import PassChecker

    checker = PassChecker(Executor(imported.sample_inputs(0), imported.store))
    checker.start(module)
    return lambda step, module: checker.after(step.name, module)


def _source_of(model: Any) -> str | None:
    """What a bundle names as its model: a folder by its whole path, for a bundle may be used from another folder."""
    from plena_mlir.frontend.shapes import SHAPES

    if not isinstance(model, str | Path):
        return None
    return str(model) if model in SHAPES else str(Path(model).resolve())


def _summary(imported: ImportedModel | ImportedModule, logits: str) -> ModelSummary:
    from plena_mlir.frontend.importer import ImportedModel

    return ModelSummary(
        imported.name,
        imported.layers,
        imported.seq_len,
        imported.scope,
        logits if imported.scope == "model" else None,
        imported.batch.size if isinstance(imported, ImportedModel) else 1,
    )
