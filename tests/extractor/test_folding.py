"""BatchNormalization folded away: the same features, in the networks of the table and where it must stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

from extractor.applications import build_network
from extractor.backbone_table import BACKBONES
from extractor.folding import folded
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe
from storage.golden import cosines

SIZES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71, "NASNetMobile": 32, "NASNetLarge": 32}
# One of each family, small; the whole table with `--full`.
QUICK = {"mobilenet", "resnet50_v2"}
# The rest of these, with statistics that were not learned, is chaos: pixels that differ by a ten-millionth give cosines down to 0.52.
LAST = {f"efficientnet_v2_{size}": "block4b_add" for size in ("b3", "s", "m", "l")}
LEFT = {"resnet50_v2": 17, "mobilenet": 0}  # BatchNormalizations that stand before a convolution, as in all networks with preactivation


def norms(model: keras.Model) -> int:
    return sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)


def with_statistics(model: keras.Model) -> keras.Model:
    """As after training: a network just built has means of 0 and variances of 1."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for weight in layer.weights:
                centred = weight.name in ("moving_mean", "beta")
                weight.assign(random.normal(0, 0.2, weight.shape) if centred else random.uniform(0.5, 1.5, weight.shape))
    return model


def difference(model: keras.Model, other: keras.Model, size: int) -> float:
    pixels = np.random.default_rng(1).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)
    return float(cosines(np.asarray(model(pixels, training=False)), np.asarray(other(pixels, training=False))).min())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in BACKBONES])
def test_a_folded_network_gives_the_same_features(name: str) -> None:
    fresh_session()
    size = SIZES.get(BACKBONES[name].builder, 32)
    network = build_network(Recipe(name, weights="random:0", input_size=size))
    model = with_statistics(keras.Model(network.input, network.get_layer(LAST[name]).output) if name in LAST else network)
    before, after = norms(model), folded(model)
    assert difference(model, after, size) >= 0.99999
    assert norms(model) == before
    assert norms(after) == LEFT.get(name, norms(after)) <= before


def conv(**options: Any) -> keras.Layer:
    return keras.layers.Conv2D(4, 3, **options)


def shared(x: Any) -> Any:
    layer = conv()
    return keras.layers.Add()([keras.layers.BatchNormalization()(layer(x)), layer(x)])


def used_twice(x: Any) -> Any:
    y = conv()(x)
    return keras.layers.Add()([keras.layers.BatchNormalization()(y), y])


FOLDED: dict[str, Callable[[Any], Any]] = {
    "bias": lambda x: keras.layers.BatchNormalization()(conv(bias_initializer="ones")(x)),
    "neither scale nor shift": lambda x: keras.layers.BatchNormalization(scale=False, center=False)(conv()(x)),
    "depthwise of two": lambda x: keras.layers.BatchNormalization()(keras.layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
    "separable": lambda x: keras.layers.BatchNormalization()(keras.layers.SeparableConv2D(4, 3)(x)),
    "groups": lambda x: keras.layers.BatchNormalization()(keras.layers.Conv2D(6, 3, groups=3)(x)),
    "dense": lambda x: keras.layers.BatchNormalization()(keras.layers.Dense(4)(x)),
}
KEPT: dict[str, Callable[[Any], Any]] = {
    "activation between": lambda x: keras.layers.BatchNormalization()(conv(activation="relu")(x)),
    "first of all": lambda x: keras.layers.BatchNormalization()(x),
    "other axis": lambda x: keras.layers.BatchNormalization(axis=1)(conv()(x)),
    "used twice": used_twice,
    "shared": shared,
}


@pytest.mark.parametrize("case", [*FOLDED, *KEPT])
def test_what_can_be_folded_and_what_stays(case: str) -> None:
    fresh_session()
    inputs = keras.Input((8, 8, 3))
    model = with_statistics(keras.Model(inputs, {**FOLDED, **KEPT}[case](inputs)))
    after = folded(model)
    assert norms(after) == (case in KEPT)
    assert difference(model, after, 8) >= 0.99999
