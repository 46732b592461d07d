"""Networks of keras.applications, built from a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras

from extractor.backbone_table import BACKBONES
from extractor.keras_session import without_values
from extractor.recipe import Recipe
from storage.errors import UsageError

IMAGENET_CLASSES = 1000
_IMAGENET_STDDEV_RGB = (0.229, 0.224, 0.225)


def build_network(recipe: Recipe, classes: int = 0, weights: str | None = None) -> keras.Model:
    """The network with a classification top of so many classes, or without (0), with `weights` "imagenet" or random ones (None).

    Raises UsageError for arguments and sizes that its builder refuses.
    """
    entry = BACKBONES[recipe.name]
    options: dict[str, Any] = {"include_top": classes > 0, "input_shape": (recipe.input_size, recipe.input_size, 3), **dict(recipe.args)}
    if classes:
        options["classes"] = classes
    builder = getattr(keras.applications, entry.builder)
    try:
        if entry.builder.startswith("EfficientNetB") and weights is None:
            return _build_rescaled(builder, options)
        return builder(weights=weights, **options)
    except ValueError as error:
        raise UsageError(_in_words(recipe, error)) from None


def build_without_values(recipe: Recipe, classes: int = 0) -> keras.Model:
    """The same, for its layers and shapes only."""
    with without_values():
        return build_network(recipe, classes)


def _build_rescaled(builder: Callable[..., keras.Model], options: dict[str, Any]) -> keras.Model:
    """EfficientNet as weights="imagenet" makes it: with a second rescaling, which its builder leaves out for any other weights.

    Without it, the ImageNet weights from a file would give other values than the same weights by name
    (https://github.com/tensorflow/tensorflow/issues/49930).
    """
    with without_values():
        config = builder(weights=None, **options).get_config()
    layers = config["layers"]
    at = next(i for i, layer in enumerate(layers) if layer["name"] == "stem_conv_pad")
    rescaling = keras.layers.Rescaling([1 / math.sqrt(stddev) for stddev in _IMAGENET_STDDEV_RGB], name="rescaling_1")
    inserted = {**keras.saving.serialize_keras_object(rescaling), "name": rescaling.name, "inbound_nodes": layers[at]["inbound_nodes"]}
    pad = {**layers[at], "inbound_nodes": _reading_from(rescaling.name, layers[at]["inbound_nodes"])}
    return keras.Model.from_config({**config, "layers": [*layers[:at], inserted, pad, *layers[at + 1 :]]})


def _reading_from(name: str, value: Any) -> Any:
    """Inbound nodes of a layer with one input, with the layer `name` as that input."""
    if isinstance(value, dict):
        return {k: [name, 0, 0] if k == "keras_history" else _reading_from(name, v) for k, v in value.items()}
    return [_reading_from(name, item) for item in value] if isinstance(value, (list, tuple)) else value


def _in_words(recipe: Recipe, error: ValueError) -> str:
    message = str(error).strip().splitlines()[0]
    if "Input size must be at least" in message:
        return f"--input-size {recipe.input_size} is too small for {recipe.name}: {message}"
    args = "".join(f" --backbone-arg {name}={value}" for name, value in recipe.args)
    return f"{recipe.name} cannot be built with --input-size {recipe.input_size}{args} and weights {recipe.weights}: {message}"
