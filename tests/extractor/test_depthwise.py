"""Grouped convolutions as depthwise ones: the same features, and only where they are the same."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from extractor.depthwise import with_depthwise

pytestmark = pytest.mark.slow


def network(**options: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    pixels = keras.Input((9, 9, 3))
    x = keras.layers.Conv2D(4, 3, name="stem")(pixels)
    x = keras.layers.Conv2D(kernel_size=3, name="grouped", bias_initializer="normal", **options)(x)
    return keras.Model(pixels, keras.layers.Dense(2)(x))


def kinds(model: keras.Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers if layer.weights]


@pytest.mark.parametrize(
    "options",
    [
        {"filters": 4, "groups": 4},
        {"filters": 12, "groups": 4, "strides": 2, "padding": "same"},
        {"filters": 4, "groups": 4, "dilation_rate": 2, "activation": "relu"},
        {"filters": 8, "groups": 4, "use_bias": False},
    ],
)
def test_the_twin_gives_the_same_features(options: dict[str, Any]) -> None:
    model = network(**options)
    twin = with_depthwise(model)
    assert kinds(twin) == ["Conv2D", "DepthwiseConv2D", "Dense"]
    assert kinds(model) == ["Conv2D", "Conv2D", "Dense"]
    pixels = np.random.default_rng(0).uniform(size=(2, 9, 9, 3)).astype(np.float32)
    np.testing.assert_allclose(twin(pixels), model(pixels), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"filters": 4}, {"filters": 4, "groups": 2}, {"filters": 4, "groups": 4, "strides": (1, 2)}], ids=["one", "two", "strides"]
)
def test_other_networks_stay_what_they_are(options: dict[str, Any]) -> None:
    model = network(**options)
    assert with_depthwise(model) is model
