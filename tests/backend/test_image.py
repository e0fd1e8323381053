"""Globals evaluated and packed, and the HBM image they make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from xdsl.dialects import func
from xdsl.dialects.builtin import FunctionType, IndexType, ModuleOp
from xdsl.ir import Block, Region

from plena_mlir.backend.hbm_image import HbmImage, load_image
from plena_mlir.backend.image import encode_globals, write_image
from plena_mlir.dialects import plena_tensor as tensor
from plena_mlir.dialects import plena_tile as pt
from plena_mlir.dialects.plena import set_target
from plena_mlir.errors import ImageError
from plena_mlir.numerics import MXFP8_E4M3
from plena_mlir.target import load_target
from plena_mlir.target.layout import Layout, pack

F32 = NDArray[np.float32]


class Weights:
    """A store of a few arrays that remembers what was asked for."""

    def __init__(self, values: dict[str, F32]) -> None:
        self.values = values
        self.asked: list[str] = []

    def get(self, name: str) -> F32:
        self.asked.append(name)
        return self.values[name]


def weights() -> Weights:
    random = np.random.default_rng(0)
    names = ["embedding", "layers.0.w", "layers.1.w", "layers.2.w"]
    return Weights({name: random.standard_normal((8, 16)).astype(np.float32) for name in names})


def init(name: str, parameter: str, *, layered: bool, permuted: bool = False) -> func.FuncOp:
    block = Block(arg_types=[IndexType()] if layered else [])
    op = tensor.ParameterOp(parameter, tensor.tensor_type((8, 16)), block.args[0] if layered else None)
    block.add_op(op)
    result = op.result
    if permuted:
        permute = tensor.PermuteOp(result, [1, 0])
        block.add_op(permute)
        result = permute.result
    block.add_op(func.ReturnOp(result))
    return func.FuncOp(name, FunctionType.from_lists(block.arg_types, [result.type]), Region(block), visibility="private")


def weight_global(
    name: str, shape: tuple[int, ...], init: str | None, layout: pt.LayoutAttr | None, address: int | None
) -> pt.GlobalOp:
    type = pt.buffer_type(pt.Space.HBM, pt.MxType(pt.PrecisionAttr(pt.Precision.WEIGHT)), shape)
    return pt.GlobalOp(name, type, "weight" if init else "cache", init, layout, address)


def module(*ops: object) -> ModuleOp:
    result = ModuleOp(list(ops))
    set_target(result, load_target("8x4x4"))
    return result


ROWS = pt.LayoutAttr.of(pt.Packing.ROWS, rows=(1, 1), cols=(1, 1))
STACKED = pt.LayoutAttr.of(pt.Packing.TILES, rows=(1, 1), cols=(1, 1), scale_shift=2, stacked=True)


def two_globals(*, addresses: bool = True) -> ModuleOp:
    return module(
        init("init_embedding", "embedding", layered=False),
        init("init_w", "layers.{}.w", layered=True, permuted=True),
        weight_global("embedding", (8, 2, 8), "init_embedding", ROWS, 1024 if addresses else None),
        weight_global("w", (3, 2, 1, 8, 8), "init_w", STACKED, 64 if addresses else None),
        weight_global("cache", (8, 8), None, None, 4096),
    )


def test_globals_are_evaluated_layer_by_layer_and_packed() -> None:
    store = weights()
    data = encode_globals(two_globals(), store)
    assert store.asked == ["embedding", "layers.0.w", "layers.1.w", "layers.2.w"]
    assert set(data) == {"embedding", "w", "cache"}
    assert not data["cache"].elements.any(), "caches start as zeros"
    np.testing.assert_array_equal(
        data["embedding"].elements, pack(store.values["embedding"], Layout("rows"), (8, 2, 8), MXFP8_E4M3).elements
    )
    layers = [
        pack(store.values[f"layers.{layer}.w"].T, Layout("tiles", scale_shift=2), (2, 1, 8, 8), MXFP8_E4M3) for layer in range(3)
    ]
    np.testing.assert_array_equal(data["w"].elements, np.concatenate([layer.elements for layer in layers]))
    np.testing.assert_array_equal(data["w"].scales, np.concatenate([layer.scales for layer in layers]))


def test_the_image_holds_elements_then_scales_at_the_address_of_each_global() -> None:
    ir = two_globals()
    data = encode_globals(ir, weights())
    image = write_image(data, ir)
    places = [(address, data.size) for address, data in image.segments]
    assert places == [(64, 384), (448, 48), (1024, 128), (1152, 16), (4096, 64), (4160, 8)]
    np.testing.assert_array_equal(image.segments[1][1], data["w"].scales)
    assert image.end == 4168


def test_a_saved_image_loads_as_the_same_bytes_and_holes_take_no_space(tmp_path: Path) -> None:
    far = 1 << 24
    image = HbmImage(((64, np.arange(200, dtype=np.uint8)), (far, np.full(10, 7, np.uint8))))
    path = tmp_path / "hbm.bin"
    image.save(path)
    raw = np.fromfile(path, np.uint8)
    assert raw.size == image.end == far + 10
    assert raw[:64].sum() == 0
    assert raw[264:far].sum() == 0
    np.testing.assert_array_equal(raw[64:264], np.arange(200))
    loaded = np.zeros_like(raw)
    for address, data in load_image(path).segments:
        loaded[address : address + data.size] = data
    np.testing.assert_array_equal(loaded, raw)
    assert path.stat().st_blocks * 512 < far


def test_an_empty_image_is_an_empty_file(tmp_path: Path) -> None:
    HbmImage(()).save(tmp_path / "hbm.bin")
    assert load_image(tmp_path / "hbm.bin").segments == ()


def test_what_is_missing_is_named() -> None:
    ir = two_globals(addresses=False)
    with pytest.raises(ImageError, match=r"global embedding: it has no address \(run plan-memory first\)"):
        write_image(encode_globals(ir, weights()), ir)
    with pytest.raises(ImageError, match="global x: there is no function @nowhere"):
        encode_globals(module(weight_global("x", (8, 2, 8), "nowhere", ROWS, 0)), weights())
    with pytest.raises(ImageError, match="global x: a global with an init function needs a layout"):
        encode_globals(module(weight_global("x", (8, 2, 8), "nowhere", None, 0)), weights())
    with pytest.raises(ImageError, match="cannot read the HBM image: No such file"):
        load_image("nowhere.bin")


def test_a_tensor_that_does_not_fit_names_its_layer() -> None:
    ir = module(init("init_w", "layers.{}.w", layered=True), weight_global("w", (3, 1, 1, 8, 8), "init_w", STACKED, 0))
    with pytest.raises(ImageError, match=r"global w, layer 0: a tensor of shape .8, 16. takes"):
        encode_globals(ir, weights())
