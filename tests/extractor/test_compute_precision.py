"""Networks in fewer bits: which layers keep theirs."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from extractor.applications import build_network
from extractor.compute_precision import in_precision
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe


def test_preprocessing_inside_a_network_is_exact() -> None:
    fresh_session()
    inputs = keras.Input((16, 16, 1))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    model = keras.Model(inputs, keras.layers.Normalization(mean=[0.1], variance=[0.3])(x))
    shades = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    for precision in ("bfloat16", "float16"):
        assert np.array_equal(in_precision(model, precision)(shades), model(shades))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v3_small", "convnext_tiny"])
def test_networks_of_the_table_preprocess_in_float32(name: str) -> None:
    fresh_session()
    model = in_precision(build_network(Recipe(name, weights="random:0", input_size=32)), "bfloat16")
    kinds = (keras.layers.Rescaling, keras.layers.Normalization)
    inside = {layer.name: layer.compute_dtype for layer in model.layers if isinstance(layer, kinds)}
    assert inside
    assert set(inside.values()) == {"float32"}
    assert sum(layer.compute_dtype == "bfloat16" for layer in model.layers) > len(model.layers) / 2
