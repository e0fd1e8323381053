"""The parameter store: shapes at once, values on demand, constants by content."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.errors import ModelImportError
from plena_mlir.frontend.store import Float32Array, ParameterStore


class CountingSource:
    """Gives every tensor as zeros of one shape and counts how often it is asked."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.reads: list[str] = []

    def read(self, name: str) -> Float32Array:
        self.reads.append(name)
        return np.zeros(self.shape, dtype=np.float32)


def test_shapes_are_known_without_reading() -> None:
    source = CountingSource((2, 3))
    store = ParameterStore({"w": (2, 3)}, source)
    assert store.shape("w") == (2, 3)
    assert source.reads == []


def test_values_are_read_once_and_cannot_be_written() -> None:
    source = CountingSource((2, 3))
    store = ParameterStore({"w": (2, 3)}, source)
    assert store.get("w") is store.get("w")
    assert source.reads == ["w"]
    with pytest.raises(ValueError, match="read-only"):
        store.get("w")[0, 0] = 1


def test_tensors_beyond_the_cache_are_read_again() -> None:
    source = CountingSource((2, 3))
    store = ParameterStore({"v": (2, 3), "w": (2, 3)}, source, cache_bytes=24)
    for name in ("v", "w", "v", "w"):
        store.get(name)
    assert source.reads == ["v", "w", "w"]


def test_shared_names_read_one_tensor() -> None:
    source = CountingSource((4,))
    store = ParameterStore({"embed": (4,)}, source, aliases={"head": "embed"})
    assert store.get("head") is store.get("embed")
    assert store.shape("head") == (4,)
    assert store.names() == ["embed"]


def test_without_weights_a_value_is_refused_by_name() -> None:
    store = ParameterStore({"w": (2, 3)}, None)
    assert not store.has_data
    with pytest.raises(ModelImportError, match=r"w: this parameter has no values.*--random-weights"):
        store.get("w")


def test_unknown_name_is_refused() -> None:
    store = ParameterStore({}, CountingSource(()))
    with pytest.raises(ModelImportError, match="nope: no such parameter"):
        store.get("nope")


def test_wrong_shape_from_the_source_is_refused() -> None:
    with pytest.raises(ModelImportError, match=r"w: expected shape \(3, 2\), found \(2, 3\)"):
        ParameterStore({"w": (3, 2)}, CountingSource((2, 3))).get("w")


def test_equal_constants_share_a_name() -> None:
    store = ParameterStore({}, None)
    table = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert store.add_constant(table) == "const.0"
    assert store.add_constant(table.copy()) == "const.0"
    assert store.add_constant(table.reshape(3, 2)) == "const.1"
    assert store.add_constant(table.astype(np.int64)) == "const.2"
    assert store.shape("const.1") == (3, 2)
    assert np.array_equal(store.get("const.0"), table)
    assert store.constant("const.2").dtype == np.int64


def test_transposed_constant_keeps_its_values() -> None:
    store = ParameterStore({}, None)
    table = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(store.get(store.add_constant(table)), table)
