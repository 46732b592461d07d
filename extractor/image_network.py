"""The network of a recipe as one Keras model from pixels to features: what the engine computes, in layers that can be trained and saved."""

from __future__ import annotations

import keras

from extractor.backbones import Backbone

# What keras.applications.imagenet_utils.preprocess_input does: scale and offset by channel; caffe has the channels the other way round.
_STDDEV, _MEAN = (0.229, 0.224, 0.225), (0.485, 0.456, 0.406)
_CAFFE_MEAN = (103.939, 116.779, 123.68)
_RESCALINGS = {
    "tf": (1 / 127.5, -1.0),
    "torch": ([1 / (255 * s) for s in _STDDEV], [-m / s for m, s in zip(_MEAN, _STDDEV, strict=True)]),
    "caffe": (1.0, [-mean for mean in _CAFFE_MEAN]),
    "none": (1.0, 0.0),
}


def image_network(backbone: Backbone) -> keras.Model:
    """From uint8 [N, S, S, 3] to the features [N, *shape], pooled as the recipe says, in float32."""
    recipe = backbone.recipe
    images = keras.Input((recipe.input_size, recipe.input_size, 3), dtype="uint8", name="images")
    scale, offset = _RESCALINGS[recipe.preprocessing]
    x = keras.ops.flip(images, axis=-1) if recipe.preprocessing == "caffe" else images
    x = keras.layers.Rescaling(scale, offset, name="preprocessing")(x)
    inner = backbone.model
    network = keras.Model(inner.inputs, inner.outputs, name="network")
    return keras.Model(images, _pooled(network(x), recipe.pooling), name="image_network")


def _pooled(features: keras.KerasTensor, pooling: str) -> keras.KerasTensor:
    if pooling == "none":
        return features
    rank = len(features.shape) - 2
    kinds = {"avg": (keras.layers.GlobalAveragePooling1D, keras.layers.GlobalAveragePooling2D)}
    kinds["max"] = (keras.layers.GlobalMaxPooling1D, keras.layers.GlobalMaxPooling2D)
    return kinds[pooling][rank - 1](name="pooling")(features)
