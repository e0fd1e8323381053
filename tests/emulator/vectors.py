"""The machine specification's test vectors, loaded and checked; shared by the tests of engine and interpreter."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from plena_mlir.emulator import Machine, RunResult, load_machine
from plena_mlir.target import Latencies, Target

_CONTENT = json.loads((Path(__file__).parent.parent / "data" / "machine_vectors.json").read_text())
VECTORS: list[dict[str, Any]] = _CONTENT["vectors"]
EXEC_VECTORS = [vector for vector in VECTORS if vector["kind"] == "exec"]


def vector_target(name: str) -> Target:
    """The machine of a vector's `config`."""
    config = _CONTENT["configs"][name]
    latency = config["LAT"]
    return Target(
        name=name,
        mlen=config["MLEN"],
        vlen=config["VLEN"],
        blen=config["BLEN"],
        hlen=config["HLEN"],
        broadcast=config["BROADCAST_AMOUNT"],
        hbm_size=config["HBM_SIZE"],
        matrix_sram_rows=config["MATRIX_SRAM_SIZE"],
        vector_sram_rows=config["VECTOR_SRAM_SIZE"],
        prefetch_m_rows=config["HBM_M_Prefetch_Amount"],
        prefetch_v_rows=config["HBM_V_Prefetch_Amount"],
        writeback_v_rows=config["HBM_V_Writeback_Amount"],
        max_loop_instructions=config["MAX_LOOP_INSTRUCTIONS"],
        latencies_dc=Latencies(
            systolic_overhead=latency["SYS"],
            vector_add=latency["ADD"],
            vector_mul=latency["MUL"],
            vector_exp=latency["EXP"],
            vector_reci=latency["RECI"],
            vector_max=latency["MAX"],
            vector_sum=latency["SUM"],
            scalar_fp_basic=latency["SFP"],
            scalar_fp_exp=latency["SEXP"],
            scalar_fp_sqrt=latency["SSQRT"],
            scalar_fp_reci=latency["SRECI"],
            scalar_int_basic=latency["INT"],
        ),
    )


def floats(values: list[float | str]) -> np.ndarray:
    return np.array([float(value) for value in values], np.float32)


def initial_memories(vector: dict[str, Any]) -> dict[str, Any]:
    """The initial state of a vector, as `run_program` takes it."""
    target, init = vector_target(vector["config"]), vector["init"]
    intsram = np.zeros(target.int_sram_words, np.uint32)
    for index, value in init["intsram"].items():
        intsram[int(index)] = value
    vram = np.zeros((target.vector_sram_rows, target.vlen), np.float32)
    for row, lanes in init["vram_rows"].items():
        vram[int(row)] = floats(lanes)
    with np.errstate(over="ignore"):
        fpsram = floats(init["fpsram_f16"]).astype(np.float16).astype(np.float32)
    return {
        "hbm": [(int(address), bytes.fromhex(data)) for address, data in init["hbm_hex"].items()],
        "fpsram": fpsram,
        "intsram": intsram,
        "vram": vram,
    }


def words_of(vector: dict[str, Any]) -> list[int]:
    return [int(word, 16) for word in vector["words"]]


def loaded(vector: dict[str, Any]) -> Machine:
    return load_machine(vector_target(vector["config"]), **initial_memories(vector))


def check(vector: dict[str, Any], result: RunResult) -> None:
    """Compare everything that the vector expects."""
    expected, machine = vector["expect"], result.machine
    assert set(expected) <= {"fpsram", "intsram", "vram_rows", "hbm_hex", "cycles"}
    for index, values in expected.get("fpsram", {}).items():
        found = machine.state.scalars.fp[int(index) : int(index) + len(values)]
        np.testing.assert_array_equal(found, floats(values))
    for index, values in expected.get("intsram", {}).items():
        assert machine.state.scalars.integer[int(index) : int(index) + len(values)].tolist() == values
    for row, lanes in expected.get("vram_rows", {}).items():
        np.testing.assert_array_equal(machine.vram_rows(int(row), 1)[0], floats(lanes))
    for address, data in expected.get("hbm_hex", {}).items():
        assert machine.read_hbm(int(address), len(data) // 2).hex() == data.lower()
    if "cycles" in expected:
        assert result.cycles == expected["cycles"]
