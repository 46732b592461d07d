"""Grouped convolutions of one channel a group written as what they are, depthwise ones: TensorFlow's CPU code knows only these."""

from __future__ import annotations

from typing import Any

import keras


def with_depthwise(model: keras.Model) -> keras.Model:
    """A twin that gives the same features; where there are no such convolutions (ConvNeXt has them) it is the network itself.

    Keras compiles grouped convolutions with XLA on CPUs, one by one: the engine embeds 1.4 images a CPU second with ConvNeXt-Tiny so, and
    7.2 with its twin (224 pixels, float32, medians of three, in turn). tf2onnx does not know such calls.
    """
    if not any(_is_depthwise(layer) for layer in model.layers):
        return model
    twin = keras.models.clone_model(model, clone_function=_clone)
    for layer in twin.layers:
        if layer.weights:
            weights = (layer_before := model.get_layer(layer.name)).get_weights()
            if _is_depthwise(layer_before):  # [height, width, 1, channels * multiplier], of each channel in turn
                weights[0] = weights[0].reshape(*weights[0].shape[:2], layer_before.groups, -1)
            layer.set_weights(weights)
    twin.trainable = False
    return twin


def _is_depthwise(layer: Any) -> bool:
    return (
        type(layer) is keras.layers.Conv2D
        and layer.groups > 1
        and layer.kernel.shape[-2] == 1
        and layer.data_format == "channels_last"
        and layer.strides[0] == layer.strides[1]  # TensorFlow's depthwise convolutions know no others
    )


def _clone(layer: keras.Layer) -> keras.Layer:
    config = layer.get_config()
    if not _is_depthwise(layer):
        return type(layer).from_config(config)
    taken = ("name", "trainable", "dtype", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias")
    multiplier = layer.filters // layer.groups
    return keras.layers.DepthwiseConv2D(depth_multiplier=multiplier, **{name: config[name] for name in taken})
