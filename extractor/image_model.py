"""The frozen network as one Keras model that takes images, of what Keras saves and loads in safe mode: for exported models."""

from __future__ import annotations

from typing import Any

import keras

from extractor.backbones import Backbone
from extractor.depthwise import with_depthwise
from extractor.image_policy_table import IMAGE_POLICIES

PIXELS = "pixels"  # the name of the input


def image_model(backbone: Backbone) -> keras.Model:
    """uint8 [N, size, size, 3], made by the image policy, to features float32 [N, *shape]: what an engine computes."""
    size, mode = backbone.recipe.input_size, backbone.recipe.preprocessing
    pixels = keras.Input((size, size, 3), dtype="uint8", name=PIXELS)
    x = keras.ops.cast(pixels, "float32")
    if mode != "none":
        x = keras.applications.imagenet_utils.preprocess_input(x, mode=mode)
    return keras.Model(pixels, _pooled(with_depthwise(backbone.model)(x, training=False), backbone.recipe.pooling), name="network")


def _pooled(features: Any, pooling: str) -> Any:
    positions = list(range(1, len(features.shape) - 1))
    if pooling == "avg":
        return keras.ops.mean(features, axis=positions)
    return keras.ops.max(features, axis=positions) if pooling == "max" else features


def resizing(model: keras.Model, policy: str) -> keras.Model:
    """The same for images of any size, uint8 [N, H, W, 3], which it resizes as the policy does; those of its own size stay as they are."""
    size = model.input_shape[1]
    pixels = keras.Input((None, None, 3), dtype="uint8", name=PIXELS)
    layer = keras.layers.Resizing(size, size, "bilinear", antialias=IMAGE_POLICIES[policy].antialias, dtype="float32", name="resize")
    resized = layer(keras.ops.cast(pixels, "float32"))  # given uint8 the layer rounds, halves to even
    rounded = keras.ops.clip(keras.ops.floor(resized + 0.5), 0.0, 255.0)
    return keras.Model(pixels, model(keras.ops.cast(rounded, "uint8"), training=False))
