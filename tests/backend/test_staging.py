"""Inputs as the machine reads them."""

from __future__ import annotations

import numpy as np
import pytest

from plena_mlir.backend import staging
from plena_mlir.compiler import compile_hf_model
from tests.families.families import FAMILIES


@pytest.fixture(scope="module")
def image_program():
    """Patches of an image are staged as rows: an arrangement that is no plain copy."""
    (family,) = (family for family in FAMILIES if family.name == "SigLIP")
    return compile_hf_model(family.config(), target="8x4x8", random_weights=0, compile_to="tile", **family.options)


def test_an_image_is_quantized_in_the_blocks_of_its_patches(image_program) -> None:
    pixels = np.asarray(image_program.inputs)
    quantized = staging.quantized_inputs(image_program.stage("tile"), pixels)
    assert quantized.shape == pixels.shape
    assert not np.array_equal(quantized, pixels)
    np.testing.assert_allclose(quantized, pixels, atol=2.0**-4 * np.abs(pixels).max())
    # Twice is once: where elements of other blocks shared a scale, they would move again.
    np.testing.assert_array_equal(staging.quantized_inputs(image_program.stage("tile"), quantized), quantized)


def test_where_an_element_goes_does_not_depend_on_how_many_there_are(image_program, monkeypatch) -> None:
    expected = staging.quantized_inputs(image_program.stage("tile"), image_program.inputs)
    monkeypatch.setattr(staging, "_RADIX", 7)
    found = staging.quantized_inputs(image_program.stage("tile"), image_program.inputs)
    np.testing.assert_array_equal(found, expected)
