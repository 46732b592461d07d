"""From a recipe to the frozen Keras model and its feature space."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from functools import cache

import keras
import numpy as np

from extractor.applications import IMAGENET_CLASSES, build_network, build_without_values
from extractor.backbone_source import IMAGENET, OWN, RANDOM, is_file
from extractor.backbone_table import BACKBONES
from extractor.cut import LayerInfo, cut, has_layer, layers_of, unknown_layer
from extractor.fingerprint import graph_and_end, weights_digest
from extractor.hub import load_preset
from extractor.keras_session import fresh_session
from extractor.model_file import load_model_file
from extractor.recipe import Recipe
from extractor.weights_file import WeightsFile, open_weights
from storage.errors import PermafrostError, UsageError
from storage.space import PLAIN_VIEWS, Space

BACKENDS = ("tensorflow", "jax")  # of Keras, that an engine is for


@dataclass(frozen=True)
class Backbone:
    """The frozen network up to the cut. `model` maps [N, H, W, 3] float32, already preprocessed, to a map, a sequence or a vector.

    `recipe` has no open ends any more: input size and preprocessing are the network's own where the user named none, and the pooling
    of a network that ends in a vector is "none".
    """

    model: keras.Model
    recipe: Recipe
    space: Space


def build(recipe: Recipe) -> Backbone:
    """Build the network, load its weights and cut it. Raises UsageError for weights, files and layers that do not fit it."""
    [[(_, backbone)]] = build_together([recipe])
    return backbone


def build_together(recipes: Sequence[Recipe]) -> list[list[tuple[int, Backbone]]]:
    """Build several backbones; those that are cuts of one network share its layers and stand in one list.

    Each comes with its position in `recipes`. Raises as `build` does.
    """
    if keras.backend.backend() not in BACKENDS:
        raise UsageError(f"KERAS_BACKEND is {keras.backend.backend()!r}: set it to 'tensorflow' or 'jax' for extraction")
    groups: dict[tuple[Recipe, bool], list[int]] = {}
    for i, recipe in enumerate(recipes):
        of_top = recipe.name in BACKBONES and has_top(recipe)
        groups.setdefault((replace(recipe, layer="", pooling="avg", dtype="float16"), of_top), []).append(i)
    return [_cuts_of_one([(i, recipes[i]) for i in numbers]) for numbers in groups.values()]


def _cuts_of_one(recipes: list[tuple[int, Recipe]]) -> list[tuple[int, Backbone]]:
    fresh_session()
    network, settled = whole_network(recipes[0][1])
    size, preprocessing = settled.input_size, settled.preprocessing
    return [(i, cut_out(network, replace(recipe, input_size=size, preprocessing=preprocessing))) for i, recipe in recipes]


def cut_out(network: keras.Model, recipe: Recipe) -> Backbone:
    """The part of a network that a recipe wants, whose layers can then not be trained any more."""
    model = cut(network, recipe.layer, recipe.name) if recipe.layer else network
    recipe = replace(recipe, pooling=_pooling_of(model, recipe))
    _require_finite(model, recipe)
    model.trainable = False
    graph, end = graph_and_end(model)
    space = Space(
        graph=graph,
        weights=weights_digest(model),
        layer=end,
        pooling=recipe.pooling,
        input_size=recipe.input_size,
        image_policy=recipe.image_policy,
        preprocessing=recipe.preprocessing,
        precision=recipe.precision,
        dtype=recipe.dtype,
        views=(*PLAIN_VIEWS, *recipe.views),
        view_seed=recipe.view_seed if recipe.view_policy.is_random else None,
    )
    return Backbone(model, recipe, space)


def _require_finite(model: keras.Model, recipe: Recipe) -> None:
    """Activations can hide a NaN (ReLU6 gives 0 or 6), and then each image has the same features."""
    for weight in model.weights:
        values = np.asarray(weight)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            place = recipe.name if recipe.weights == OWN else recipe.weights
            raise UsageError(
                f"the weights in {place} are no numbers (NaN or infinite) in {weight.path}: they are those of no trained network"
            )


def whole_network(recipe: Recipe) -> tuple[keras.Model, Recipe]:
    """The network before the cut, and the recipe with the input size and preprocessing that it settles."""
    if recipe.name in BACKBONES:
        return _application(recipe, has_top(recipe)), recipe
    return load_model_file(recipe) if is_file(recipe.name) else load_preset(recipe)


def list_layers(recipe: Recipe) -> list[tuple[LayerInfo, str]]:
    """Where the network of a recipe can be cut, in order, each with a note: the default, or that it belongs to the classification top."""
    fresh_session()
    if recipe.name not in BACKBONES:
        layers = layers_of(whole_network(recipe)[0])
        return [(layer, "default" if layer is layers[-1] else "") for layer in layers]
    bare = layers_of(build_without_values(recipe))
    names = {layer.name for layer in bare}
    top = [layer for layer in layers_of(build_without_values(recipe, IMAGENET_CLASSES)) if layer.name not in names]
    return [(layer, "default" if layer is bare[-1] else "") for layer in bare] + [(layer, "top") for layer in top]


def _pooling_of(model: keras.Model, recipe: Recipe) -> str:
    rank = len(model.outputs[0].shape)
    if rank not in (2, 3, 4):
        raise UsageError(
            f"{recipe.name} ends in {model.outputs[0].shape}: expected a map [N, H, W, C], a sequence [N, T, C] or a vector [N, C]"
        )
    if rank == 2 and recipe.pooling == "max":
        raise UsageError(f"--pooling max: {recipe.name} ends in a vector here, and there is nothing to pool")
    return "none" if rank == 2 else recipe.pooling


@cache
def has_top(recipe: Recipe) -> bool:
    """Whether the cut lies in the classification top, so that it has to be built. A network without values tells it, once for a recipe."""
    if not recipe.layer or has_layer(build_without_values(recipe), recipe.layer):
        return False
    whole = build_without_values(recipe, IMAGENET_CLASSES)
    if not has_layer(whole, recipe.layer):
        raise unknown_layer(whole, recipe.layer, recipe.name)
    return True


def _application(recipe: Recipe, top: bool) -> keras.Model:
    if recipe.weights == IMAGENET:
        return _downloaded(recipe, top)
    if recipe.weights.startswith(RANDOM):
        # On the CPU, because initialisers are only reproducible on one kind of device.
        with keras.device("cpu"):
            keras.utils.set_random_seed(int(recipe.weights.removeprefix(RANDOM)))
            return build_network(recipe, top * IMAGENET_CLASSES)
    with open_weights(recipe.weights) as file:
        model = build_network(recipe, _stored_classes(file, recipe) if top else 0)
        called = f"{recipe.name} {'with' if top else 'without'} top"
        file.load_into(model, 0 if top else BACKBONES[recipe.name].top, called)
        return model


def _downloaded(recipe: Recipe, top: bool) -> keras.Model:
    try:
        with redirect_stdout(sys.stderr):  # Keras shows its download on stdout, which belongs to --json
            return build_network(recipe, top * IMAGENET_CLASSES, IMAGENET)
    except UsageError:
        raise
    except Exception as error:  # noqa: BLE001 - keras.utils.get_file raises bare Exception when the download fails
        raise PermafrostError(
            f"the ImageNet weights of {recipe.name} could not be downloaded ({_first_line(error)}). "
            "Without a network, pass --weights FILE (an .h5 weights file) or --weights random:SEED"
        ) from None


def _stored_classes(file: WeightsFile, recipe: Recipe) -> int:
    """How many classes the classification top in a weights file has."""
    last = file.match(build_without_values(recipe, IMAGENET_CLASSES))[0][-1].stored
    if last is None or not last.shapes[-1]:
        raise UsageError(f"--layer {recipe.layer} lies in the classification top of {recipe.name}, and {recipe.weights} has none")
    return last.shapes[-1][-1]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
