"""A case: one model with random weights on one machine, in one JSON file that `plena run` repeats.

    schema        plena.case/1
    model         the fields of a config.json
    seq_len, num_layers, scope, random_weights, output, attention, batch, lengths, padding_side, logits, strategy
                  as for `compile_hf_model`
    target        every parameter of the machine, as `Target.to_dict` gives them
    input_ids     the token ids, or null for those that the model draws by itself
    compare       the levels to compare the run with
    golden        what the golden among them imitates, as `parse_golden_precision` reads it
    observed      what came of it when the file was written: status (passed, refused or failed), kind and message
    versions      of the compiler and the libraries under it at that time

Weights are drawn from the seed, so that the file holds all there is to the case. Repeating it means to compile and to run
again: what was expected is that every comparison keeps its bound, whenever and wherever that is.
"""

from __future__ import annotations

import json
import platform
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from plena_mlir import __version__
from plena_mlir.errors import BundleError, MemoryTooSmallError, PlenaError
from plena_mlir.files import write_file
from plena_mlir.golden_precision import HARDWARE
from plena_mlir.target import Target

if TYPE_CHECKING:
    from plena_mlir.compiler import CompiledProgram, Level
    from plena_mlir.frontend.importer import ImportedModel, ImportedModule

SCHEMA = "plena.case/1"
LEVELS = ("hf", "golden", "tile", "isa")
"""What a case is compared with unless it says otherwise: everything there is."""

Status = Literal["passed", "refused", "failed"]


@dataclass(frozen=True)
class Observation:
    """What came of a case.

    Attributes:
        kind: what failed, or why the compiler refused, without the numbers of the case: equal kinds are one finding.
        message: the whole message.
    """

    status: Status
    kind: str = ""
    message: str = ""

    @property
    def summary(self) -> str:
        return self.status if not self.message else f"{self.status} ({' '.join(self.message.split())})"


@dataclass(frozen=True)
class Case:
    """One model on one machine; see the module for the fields.

    Attributes:
        model: the fields of a config.json, `model_type` among them.
        random_weights: seed of the weights.
    """

    model: Mapping[str, Any]
    target: Target
    seq_len: int
    random_weights: int
    num_layers: int | None = None
    scope: Literal["model", "decoder"] = "model"
    output: str | None = None
    attention: Literal["bidirectional"] | None = None
    batch: int | None = None
    lengths: tuple[int, ...] | None = None
    padding_side: Literal["left", "right"] = "right"
    logits: Literal["all", "last"] = "all"
    strategy: Literal["auto", "micro", "broadcast"] = "auto"
    input_ids: tuple[int, ...] | None = None
    compare: tuple[str, ...] = LEVELS
    golden: str = HARDWARE.name
    observed: Observation | None = None

    def import_model(self) -> ImportedModel | ImportedModule:
        """The model with its weights."""
        from plena_mlir.frontend.configurations import config_from_fields
        from plena_mlir.frontend.importer import import_model

        return import_model(
            config_from_fields(self.model, where="case"),
            seq_len=self.seq_len,
            num_layers=self.num_layers,
            scope=self.scope,
            random_weights=self.random_weights,
            output=self.output,
            attention=self.attention,
            batch=self.batch,
            lengths=self.lengths,
            padding_side=self.padding_side,
        )

    def compile(self, imported: ImportedModel | ImportedModule | None = None, *, compile_to: Level = "asm") -> CompiledProgram:
        """Compile the case, with the validators.

        Args:
            imported: the model of `import_model`, if it is at hand.
            compile_to: the last level to reach.
        """
        from plena_mlir.compiler import compile_hf_model

        return compile_hf_model(
            self.import_model() if imported is None else imported,
            target=self.target,
            logits=self.logits,
            strategy=self.strategy,
            verify=True,
            compile_to=compile_to,
        )


def observation_of(error: Exception) -> Observation:
    """An error as an observation: a machine too small for the program is a refusal, anything else a failure."""
    text = error.what if isinstance(error, PlenaError) else str(error)
    words = " ".join("#" if any(char.isdigit() for char in word) else word for word in text.split()[:12])
    place = ""
    if not isinstance(error, PlenaError) and error.__traceback__ is not None:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f" in {Path(frame.filename).name}:{frame.name}"
    status: Status = "refused" if isinstance(error, MemoryTooSmallError) else "failed"
    return Observation(status, f"{type(error).__name__}{place}: {words}", str(error))


def observation_of_bounds(broken: Sequence[str]) -> Observation:
    """What the sentences of `broken_bounds` say, as an observation."""
    names = sorted({sentence.partition(":")[0] for sentence in broken})
    return Observation("failed", f"bounds: {', '.join(names)}", "; ".join(broken)) if broken else Observation("passed")


def save_case(path: str | Path, case: Case, observed: Observation | None = None) -> None:
    """Write a case file, with what came of it."""
    sections = {
        "schema": SCHEMA,
        **asdict(case),
        "target": case.target.to_dict(),
        "observed": None if observed is None else asdict(observed),
        "versions": {
            "plena-mlir": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "transformers", "xdsl")},
        },
    }
    write_file(Path(path), json.dumps(sections, indent=1) + "\n")


def is_case(sections: object) -> bool:
    """Whether what a JSON file holds says that it is a case, of whatever version."""
    return isinstance(sections, dict) and str(cast("dict[str, Any]", sections).get("schema")).startswith("plena.case/")


def is_case_file(path: str | Path) -> bool:
    """Whether a path is a JSON file that says it is a case."""
    path = Path(path)
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        return is_case(json.loads(path.read_text()))
    except (OSError, ValueError):
        return False


def load_case(path: str | Path) -> Case:
    """Read a case file.

    Raises:
        BundleError: no case file, one of another schema, or one with a field that is unknown, or missing and without a default.
        TargetError: the machine in it is illegal.
    """
    try:
        sections: dict[str, Any] = json.loads(Path(path).read_text())
        if sections["schema"] != SCHEMA:
            raise BundleError(f"a case of schema {sections['schema']}", where=str(path), hint=f"this version reads {SCHEMA}")
        given = {entry.name: sections[entry.name] for entry in fields(Case) if entry.name in sections}
        unknown = sections.keys() - given.keys() - {"schema", "versions"}
        if unknown:
            raise BundleError(f"unknown field {', '.join(sorted(unknown))}", where=str(path))
        given["target"] = Target.from_dict(given["target"])
        given["compare"] = tuple(given.get("compare", LEVELS))
        given["seq_len"], given["random_weights"] = int(given["seq_len"]), int(given["random_weights"])
        for name, construct in (("input_ids", tuple), ("lengths", tuple), ("observed", lambda values: Observation(**values))):
            given[name] = None if given.get(name) is None else construct(given[name])
        return Case(**given)
    except OSError as error:
        raise BundleError(f"this case file cannot be read: {error.strerror}", where=str(path)) from error
    except (ValueError, KeyError, TypeError) as error:
        reason = f"the field {error} is missing" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"this case file cannot be read: {reason}", where=str(path)) from error
