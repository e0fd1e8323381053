"""`Target`: every parameter of one PLENA machine, frozen.

The compiler reads its geometry, the emulator its memories, the cycle models its latencies from the same object; its hash goes into
every artefact, so that none of them can disagree with another (machine specification, section 1.4).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Literal, TypeAlias, TypeVar, cast, get_args

from plena_mlir.errors import TargetError
from plena_mlir.target.hardware import HBM_BLOCK, SCALAR_SRAM_WORDS

Numerics: TypeAlias = Literal["plena", "ocp"]
"""The rules of the MX formats: those of the public simulator, or those of the OCP Microscaling specification 1.0."""

FieldsT = TypeVar("FieldsT", bound="Target | Latencies | Precisions")

JsonValue: TypeAlias = "str | int | bool | dict[str, str] | dict[str, int]"

PRECISIONS: Mapping[str, tuple[str, ...]] = {
    "matrix_sram": ("bf16",),
    "vector_sram": ("bf16",),
    "m_weight": ("mxfp8_e4m3", "mxfp8_e5m2"),
    "m_kv": ("mxfp8_e4m3", "mxfp8_e5m2"),
    "v_act": ("mxfp8_e4m3", "mxfp8_e5m2"),
    "v_kv": ("mxfp8_e4m3", "mxfp8_e5m2"),
    "v_int": ("int32",),
    "scalar": ("bf16",),
}
"""What the machine can honour, per memory or HBM stream (machine specification, section 4.6)."""


@dataclass(frozen=True)
class Latencies:
    """Cycles of the functional units; the defaults are the DesignWare column (machine specification, section 1.4)."""

    systolic_overhead: int = 0
    vector_longest: int = 10
    vector_basic: int = 1
    vector_add: int = 1
    vector_mul: int = 1
    vector_exp: int = 1
    vector_prefix_scan: int = 9
    vector_shift: int = 1
    vector_reci: int = 2
    vector_max: int = 4
    vector_sum: int = 8
    scalar_fp_longest: int = 4
    scalar_fp_basic: int = 1
    scalar_fp_exp: int = 1
    scalar_fp_sqrt: int = 1
    scalar_fp_reci: int = 1
    scalar_int_basic: int = 1


LATENCIES_WITHOUT_DESIGNWARE = Latencies(
    vector_longest=20,
    vector_basic=2,
    vector_add=2,
    vector_mul=5,
    vector_exp=6,
    vector_reci=7,
    vector_sum=20,
    scalar_fp_exp=2,
    scalar_fp_sqrt=2,
    scalar_fp_reci=2,
)
"""The published column of a machine without the DesignWare library."""


@dataclass(frozen=True)
class Precisions:
    """Number format of each memory and HBM stream, by name; `PRECISIONS` lists the legal ones."""

    matrix_sram: str = "bf16"
    vector_sram: str = "bf16"
    m_weight: str = "mxfp8_e4m3"
    m_kv: str = "mxfp8_e4m3"
    v_act: str = "mxfp8_e4m3"
    v_kv: str = "mxfp8_e4m3"
    v_int: str = "int32"
    scalar: str = "bf16"


@dataclass(frozen=True)
class Target:
    """One machine: geometry, memories, limits, latencies, precisions.

    Construction checks the geometry and raises `TargetError` with the rule it breaks.

    Attributes:
        name: how messages call this machine; not part of its identity.
        mlen: edge of a matrix tile, in elements; also the width of a VRAM row (`vlen`).
        vlen: lanes of a VRAM row, equal to `mlen`.
        blen: edge of a systolic micro-tile.
        hlen: lanes of one head slice, the granularity of the vector mask.
        broadcast: head slices in a row, mlen / hlen.
        hbm_size: bytes.
        matrix_sram_rows: rows of `mlen` elements.
        vector_sram_rows: rows of `vlen` elements.
        prefetch_m_rows: HBM rows one H_PREFETCH_M moves (the machine rounds up to whole tiles).
        prefetch_v_rows: VRAM rows one H_PREFETCH_V moves.
        writeback_v_rows: VRAM rows one H_STORE_V moves.
        max_loop_instructions: dynamic instructions one iteration of any loop may execute.
        dc_enabled: whether the machine is built with the DesignWare library, which selects one of the two latency columns.
        numerics: by which rules MX elements and scales are encoded and decoded, wherever that happens.
    """

    name: str
    mlen: int
    vlen: int
    blen: int
    hlen: int
    broadcast: int
    hbm_size: int
    matrix_sram_rows: int
    vector_sram_rows: int
    prefetch_m_rows: int
    prefetch_v_rows: int
    writeback_v_rows: int
    max_loop_instructions: int
    dc_enabled: bool = True
    latencies_dc: Latencies = field(default_factory=Latencies)
    latencies_no_dc: Latencies = LATENCIES_WITHOUT_DESIGNWARE
    precisions: Precisions = field(default_factory=Precisions)
    numerics: Numerics = "plena"

    def __post_init__(self) -> None:
        for rule, holds in self._rules():
            if not holds:
                raise TargetError(f"illegal machine: {rule}", where=f"target {self.name}")
        for stream, legal in PRECISIONS.items():
            chosen = getattr(self.precisions, stream)
            if chosen not in legal:
                raise TargetError(
                    f"the machine cannot honour {stream} = {chosen}",
                    where=f"target {self.name}",
                    hint=f"use {' or '.join(legal)}",
                )
        if self.numerics not in get_args(Numerics):
            raise TargetError(
                f"unknown numerics {self.numerics!r}",
                where=f"target {self.name}",
                hint=f"use {' or '.join(get_args(Numerics))}",
            )

    def _rules(self) -> list[tuple[str, bool]]:
        """The legality rules, each as the sentence an error quotes; later rules may rely on earlier ones."""
        positive = {
            "MLEN": self.mlen,
            "VLEN": self.vlen,
            "BLEN": self.blen,
            "HLEN": self.hlen,
            "BROADCAST_AMOUNT": self.broadcast,
            "HBM_SIZE": self.hbm_size,
            "MATRIX_SRAM_SIZE": self.matrix_sram_rows,
            "VECTOR_SRAM_SIZE": self.vector_sram_rows,
            "HBM_M_Prefetch_Amount": self.prefetch_m_rows,
            "HBM_V_Prefetch_Amount": self.prefetch_v_rows,
            "HBM_V_Writeback_Amount": self.writeback_v_rows,
            "MAX_LOOP_INSTRUCTIONS": self.max_loop_instructions,
        }
        least = min(positive, key=positive.__getitem__)
        if positive[least] <= 0:
            return [(f"{least} must be positive, not {positive[least]}", False)]
        return [
            (f"MLEN must be a multiple of 8 from 8 to 512, not {self.mlen}", self.mlen % 8 == 0 and 8 <= self.mlen <= 512),
            (f"VLEN must equal MLEN, but VLEN = {self.vlen} and MLEN = {self.mlen}", self.vlen == self.mlen),
            (f"MLEN % BLEN must be 0, but {self.mlen} % {self.blen} = {self.mlen % self.blen}", self.mlen % self.blen == 0),
            (f"MLEN % HLEN must be 0, but {self.mlen} % {self.hlen} = {self.mlen % self.hlen}", self.mlen % self.hlen == 0),
            (f"MLEN >= HLEN >= BLEN must hold, but HLEN = {self.hlen} and BLEN = {self.blen}", self.hlen >= self.blen),
            (
                f"BROADCAST_AMOUNT must be MLEN / HLEN = {self.mlen // self.hlen}, not {self.broadcast}",
                self.broadcast == self.mlen // self.hlen,
            ),
            (f"HBM_SIZE must be a multiple of {HBM_BLOCK} bytes, not {self.hbm_size}", self.hbm_size % HBM_BLOCK == 0),
            (
                f"MATRIX_SRAM_SIZE must hold one tile of {self.mlen} rows, not {self.matrix_sram_rows} rows",
                self.matrix_sram_rows >= self.mlen,
            ),
            *(
                (
                    f"{memory} must be at most 2**32 elements, which 32-bit addresses reach, not {rows} rows of {self.mlen}",
                    rows * self.mlen <= 1 << 32,
                )
                for memory, rows in (("MATRIX_SRAM_SIZE", self.matrix_sram_rows), ("VECTOR_SRAM_SIZE", self.vector_sram_rows))
            ),
        ]

    @property
    def latencies(self) -> Latencies:
        """The latency column that `dc_enabled` selects."""
        return self.latencies_dc if self.dc_enabled else self.latencies_no_dc

    @property
    def hbm_row_pitch(self) -> int:
        """Elements from one stored row of VLEN to the next: a power of two, so that the scale bytes of a row never straddle two
        64-byte blocks, of which a prefetch reads one (machine specification, section 4.6).
        """
        return 1 << (self.vlen - 1).bit_length()

    @property
    def matrix_sram_tiles(self) -> int:
        """Whole mlen x mlen tiles that fit in the Matrix SRAM."""
        return self.matrix_sram_rows // self.mlen

    @property
    def tile_elements(self) -> int:
        """Elements of one Matrix SRAM tile, which is also the distance between tile addresses."""
        return self.mlen * self.mlen

    @property
    def prefetch_m_tiles(self) -> int:
        """Tiles that one H_PREFETCH_M fills."""
        return -(-self.prefetch_m_rows // self.mlen)

    @property
    def fp_sram_words(self) -> int:
        """bf16 entries of the FP SRAM."""
        return SCALAR_SRAM_WORDS

    @property
    def int_sram_words(self) -> int:
        """u32 entries of the INT SRAM."""
        return SCALAR_SRAM_WORDS

    @property
    def hash(self) -> str:
        """SHA-256 in hexadecimal of the canonical JSON of everything but the name."""
        identity = {key: value for key, value in self.to_dict().items() if key != "name"}
        return hashlib.sha256(json.dumps(identity, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def to_dict(self) -> dict[str, JsonValue]:
        """All fields as plain JSON values; `from_dict` is the inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Target:
        """The target with these fields.

        Raises:
            TargetError: a field is missing, unknown or of another type, or the machine is illegal.
        """
        nested = {"latencies_dc": Latencies, "latencies_no_dc": Latencies, "precisions": Precisions}
        whole = {name: _construct(nested[name], value) if name in nested else value for name, value in values.items()}
        return _construct(cls, whole)


def _construct(cls: type[FieldsT], values: object) -> FieldsT:
    """A dataclass of integers, booleans and strings from the values of all its fields.

    Raises:
        TargetError: a field is missing, unknown or of another type.
    """
    types = {entry.name: str(entry.type) for entry in fields(cls)}
    hint = f"fields are {', '.join(types)}"
    if not isinstance(values, Mapping):
        raise TargetError(f"malformed target description: {values!r} is no table", hint=hint)
    given = cast("Mapping[str, object]", values)
    for what, names in (("lacks", types.keys() - given.keys()), ("does not know", given.keys() - types.keys())):
        if names:
            raise TargetError(f"malformed target description: it {what} {', '.join(sorted(names))}", hint=hint)
    for name, type_ in types.items():
        # A float may equal an integer, and an integer a boolean, but their text, and with it the hash, differs.
        if type_ in ("int", "bool", "str") and type(given[name]).__name__ != type_:
            raise TargetError(f"malformed target description: {name} must be of type {type_}, not {given[name]!r}")
    return cls(**given)  # pyright: ignore[reportArgumentType]
