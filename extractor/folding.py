"""BatchNormalization folded into the layer before it: a frozen network needs it only as other weights of that layer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from extractor.cut import nodes_of

_LINEAR = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Dense)


def folded(model: keras.Model) -> keras.Model:
    """A twin that gives the same features without the BatchNormalizations that stand right behind a convolution or a dense layer.

    Where there are none it is the network itself.
    """
    before = _foldable(model)
    if not before:
        return model
    with_bias = {layer.name for layer in before.values()}

    def clone(layer: keras.Layer) -> keras.Layer:
        config = layer.get_config()
        return type(layer).from_config({**config, "use_bias": True} if layer.name in with_bias else config)

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer.name in before else layer(*args, **kwargs)

    twin = keras.models.clone_model(model, clone_function=clone, call_function=call)
    weights = {before[name].name: _folded_weights(before[name], model.get_layer(name)) for name in before}
    for layer in twin.layers:
        if layer.weights:
            layer.set_weights(weights.get(layer.name) or model.get_layer(layer.name).get_weights())
    twin.trainable = False
    return twin


def _foldable(model: keras.Model) -> dict[str, keras.Layer]:
    """The layer that each BatchNormalization can become a part of, by the BatchNormalization's name."""
    nodes = nodes_of(model)
    uses = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    uses.update(id(tensor) for tensor in model.outputs)
    calls = Counter(node.operation.name for node in nodes)
    found = {}
    for node in nodes:
        if not isinstance(node.operation, keras.layers.BatchNormalization) or calls[node.operation.name] > 1:
            continue
        [tensor] = node.input_tensors
        layer = tensor._keras_history.operation
        if _takes_a_factor(layer) and calls[layer.name] == 1 and uses[id(tensor)] == 1 and _of_channels(node.operation, tensor):
            found[node.operation.name] = layer
    return found


def _takes_a_factor(layer: Any) -> bool:
    return (
        type(layer) in _LINEAR
        and layer.activation is keras.activations.linear
        and getattr(layer, "data_format", "channels_last") == "channels_last"
    )


def _of_channels(norm: keras.layers.BatchNormalization, tensor: Any) -> bool:
    return norm.axis in (-1, len(tensor.shape) - 1)


def _folded_weights(layer: keras.Layer, norm: keras.layers.BatchNormalization) -> list[npt.NDArray[np.float32]]:
    mean, variance = _values(norm.moving_mean), _values(norm.moving_variance)
    factor = (_values(norm.gamma) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    shift = _values(norm.beta) if norm.center else 0.0
    bias = shift + ((_values(layer.bias) if layer.use_bias else 0.0) - mean) * factor
    *first, last = [_values(weight) for weight in layer.weights[: -1 if layer.use_bias else None]]
    # A depthwise kernel is [height, width, channels, multiplier], the other ones end in the output's channels.
    by_channel = factor.reshape(last.shape[-2:]) if isinstance(layer, keras.layers.DepthwiseConv2D) else factor
    return [each.astype(np.float32) for each in (*first, last * by_channel, bias)]


def _values(weight: Any) -> npt.NDArray[np.float64]:
    return np.asarray(keras.ops.convert_to_numpy(weight), np.float64)
