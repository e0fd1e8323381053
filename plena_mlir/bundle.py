"""The folder a program is delivered as.

    program.asm           one instruction a line
    program.mem           machine code, one hexadecimal word a line
    hbm.bin               HBM image (sparse)
    fpsram.bin            FP SRAM preload, IEEE half
    intsram.bin           INT SRAM preload, 32-bit words
    plena_settings.toml   the target
    manifest.json         schema, target hash, model, inputs, output, tensors in HBM
    ir/NN-pass.mlir       the IR after import and after every pass

The same program gives the same bytes. Without weights the memory images are absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from xdsl.context import Context
from xdsl.dialects import get_all_dialects as get_xdsl_dialects
from xdsl.dialects.builtin import ModuleOp
from xdsl.parser import Parser
from xdsl.utils.exceptions import ParseError, VerifyException

from plena_mlir.backend.hbm_image import load_image
from plena_mlir.backend.mem_file import print_mem
from plena_mlir.backend.staging import Inputs, arrays_of
from plena_mlir.dialects import get_all_dialects
from plena_mlir.dialects.plena import located_text
from plena_mlir.dialects.plena_tile.memory import INPUT
from plena_mlir.errors import BundleError
from plena_mlir.files import staged_folder
from plena_mlir.interface import ProgramInterface
from plena_mlir.report import ModelSummary, Report
from plena_mlir.target import MX_BLOCK
from plena_mlir.target.layout import GlobalData
from plena_mlir.target.settings import read_settings, write_settings

if TYPE_CHECKING:
    from plena_mlir.program import CompiledProgram

SCHEMA = "plena.bundle/2"
MANIFEST = "manifest.json"
_STAGES = ("imported", "tensor", "named", "tile", "isa")


def save_bundle(program: CompiledProgram, folder: str | Path) -> None:
    """Write the bundle of a program; the folder appears whole or not at all.

    Raises:
        BundleError: `folder` is there and is no bundle.
    """
    with staged_folder(folder, marker=MANIFEST) as new:
        stages = _save_ir(program, new / "ir")
        write_settings(program.target, new / "plena_settings.toml")
        manifest: dict[str, Any] = {
            "schema": SCHEMA,
            "target": program.target.name,
            "target_hash": program.target.hash,
            "source": dict(program.source),
            "summary": None if program.report.model is None else vars(program.report.model),
            "ir": stages,
        }
        if "isa" in program.stages:
            (new / "program.asm").write_text(program.isa)
            (new / "program.mem").write_text(print_mem(program.machine_code))
            (new / "fpsram.bin").write_bytes(_fpsram_bytes(program))
        if program.interface is not None:
            manifest["interface"] = program.interface.to_json()
            if program.has_weights:
                image = program.hbm
                manifest["hbm_bytes"] = image.end
                image.save(new / "hbm.bin")
                (new / "intsram.bin").write_bytes(_intsram_bytes(program))
                np.savez(new / "inputs.npz", *arrays_of(program.inputs))
        (new / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")


def _save_ir(program: CompiledProgram, folder: Path) -> dict[str, str]:
    """Write the IR; which file holds each stage."""
    folder.mkdir()
    texts = list(program.passes) or [(stage, located_text(program.stages[stage])) for stage in _STAGES if stage in program.stages]
    names = [f"{number:02}-{name}.mlir" for number, (name, _) in enumerate(texts)]
    for name, (_, text) in zip(names, texts, strict=True):
        (folder / name).write_text(text + "\n")
    stages: dict[str, str] = {}
    for stage in _STAGES:
        if stage not in program.stages:
            continue
        file = f"{stage}.mlir"
        if not program.passes:
            file = names[[name for name, _ in texts].index(stage)]
        else:
            # The last pass left the isa stage, which is the longest text.
            text = texts[-1][1] if stage == "isa" else located_text(program.stages[stage])
            (folder / file).write_text(text + "\n")
        stages[stage] = f"ir/{file}"
    return stages


def load_bundle(folder: str | Path) -> CompiledProgram:
    """Read a bundle back, ready to run.

    Comparisons with the tensor level and with Hugging Face import the model again, if the bundle names one that can be.

    Raises:
        BundleError: a file is missing, or does not belong to the others.
    """
    from plena_mlir.program import CompiledProgram

    folder = Path(folder)
    manifest = read_manifest(folder)
    target = read_settings(folder / "plena_settings.toml")
    if target.hash != manifest.get("target_hash"):
        raise BundleError(
            "plena_settings.toml describes another machine than the one the program was compiled for",
            where=str(folder),
            hint="restore the file, or compile again",
        )
    try:
        stages = {stage: _parse(folder / path) for stage, path in manifest["ir"].items()}
        interface = ProgramInterface.from_json(manifest["interface"]) if "interface" in manifest else None
        summary = ModelSummary(**manifest["summary"]) if manifest["summary"] is not None else None
        name, source = manifest["target"], manifest["source"]
    except (LookupError, TypeError, AttributeError) as error:
        raise BundleError(f"{MANIFEST} is incomplete or malformed: {error}", where=str(folder)) from error
    image = None
    if interface is not None and "hbm_bytes" in manifest:
        image = _weights(folder / "hbm.bin", manifest["hbm_bytes"], interface)
    program = CompiledProgram(
        target=replace(target, name=name),
        stages=stages,
        interface=interface,
        model=None,
        report=Report(
            target=name,
            model=summary,
            vram_rows_peak=None if interface is None else interface.vram_rows_peak,
            mram_tiles_peak=None if interface is None else interface.mram_tiles_peak,
        ),
        source=source,
        image=image,
    )
    if "isa" in stages:
        _check_code(program, folder)
        program.report = replace(program.report, static_instructions=len(program.machine_code))
    if "hbm_bytes" in manifest:
        program.inputs = _load_inputs(folder / "inputs.npz")
        _check_file(folder / "intsram.bin", _intsram_bytes(program))
    return program


def _check_code(program: CompiledProgram, folder: Path) -> None:
    """The IR is what runs; a file beside it that says something else would be trusted by mistake."""
    _check_file(folder / "program.mem", print_mem(program.machine_code).encode())
    _check_file(folder / "program.asm", program.isa.encode())
    _check_file(folder / "fpsram.bin", _fpsram_bytes(program))


def _check_file(path: Path, expected: bytes) -> None:
    try:
        found = path.read_bytes()
    except OSError as error:
        raise BundleError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    if found != expected:
        raise BundleError(
            f"the file is not what the IR and the inputs beside it give{_first_other_line(path, found, expected)}",
            where=str(path),
            hint="compile the model again",
        )


def _first_other_line(path: Path, found: bytes, expected: bytes) -> str:
    """Of a text, where it differs: an instruction a line."""
    if path.suffix not in (".asm", ".mem"):
        return ""
    lines = enumerate(zip_longest(found.splitlines(), expected.splitlines(), fillvalue=b""), 1)
    number, (one, other) = next(((number, pair) for number, pair in lines if pair[0] != pair[1]), (1, (b"", b"")))
    return f": line {number} is `{one.decode(errors='replace')}`, and `{other.decode()}` would be right"


def _fpsram_bytes(program: CompiledProgram) -> bytes:
    return np.asarray(program.fpsram, np.float16).tobytes()


def _intsram_bytes(program: CompiledProgram) -> bytes:
    return program.intsram_for(program.inputs).astype("<u4").tobytes()


def _load_inputs(path: Path) -> Inputs:
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = tuple(stored[name] for name in stored.files)
        return arrays[0] if len(arrays) == 1 else arrays
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise BundleError(f"the file cannot be read: {error}", where=str(path)) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a bundle.

    Raises:
        BundleError: it is missing, malformed or of another schema.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except OSError as error:
        raise BundleError(f"there is no readable {MANIFEST}: {error.strerror}", where=str(folder)) from error
    except ValueError as error:
        raise BundleError(f"{MANIFEST} is not JSON: {error}", where=str(folder)) from error
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise BundleError(f"{MANIFEST} is not of schema {SCHEMA}", where=str(folder), hint="compile the model again")
    return manifest


def parse_module(text: str, name: str) -> ModuleOp:
    """Parse IR of any level of the compiler.

    Raises:
        BundleError: it is malformed.
    """
    context = Context()
    for dialects in (get_all_dialects(), get_xdsl_dialects()):
        for dialect, factory in dialects.items():
            if dialect not in context.registered_dialect_names:
                context.register_dialect(dialect, factory)
    try:
        module = Parser(context, text, name).parse_module()
        module.verify()
    except (ParseError, VerifyException) as error:
        lines = str(error).splitlines()
        place = lines[0] if lines[0].startswith(f"{name}:") else name
        raise BundleError(f"the IR is malformed: {lines[-1].strip()}", where=place) from error
    return module


def _parse(path: Path) -> ModuleOp:
    try:
        text = path.read_text()
    except OSError as error:
        raise BundleError(f"the file cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise BundleError(f"the IR is malformed: byte {error.start} is not UTF-8 text", where=str(path)) from error
    return parse_module(text, str(path))


def _weights(path: Path, size: int, interface: ProgramInterface) -> Mapping[str, GlobalData]:
    """The bytes of each tensor that the image fills, cut out of it."""
    image = load_image(path)
    if path.stat().st_size != size:
        raise BundleError(f"the file has {path.stat().st_size:,} bytes, not {size:,}", where=str(path))
    found: dict[str, GlobalData] = {}
    for tensor in interface.tensors:
        count = int(np.prod(tensor.shape))
        data = image.read(tensor.address, count + count // MX_BLOCK)
        if tensor.role != INPUT:
            found[tensor.name] = GlobalData(data[:count], data[count:])
    return found
