"""The network behind a cut, with the weights that it came with: what a hybrid head trains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from extractor.backbone_table import BACKBONES
from extractor.backbones import cut_out, has_top, whole_network
from extractor.cut import outputs_of
from extractor.cuts import Cut, most_trained, require_cut, valid_cuts
from extractor.fingerprint import graph_digest, weights_digest
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe
from storage.errors import UsageError
from storage.space import Space, require_same_space


@dataclass(frozen=True)
class NetworkTail:
    """model: features at the cut [N, *shape] float32 to the network's end, before a classification top. layers: names of the network's last
    layers (`model.layers` of Keras), as many as can be trained (`cuts.most_trained`)."""

    model: keras.Model
    cut: Cut
    about: Mapping[str, Any]  # for head.json
    layers: tuple[str, ...]


def build_tail(recipe: Recipe, expected: Space, owner: str) -> NetworkTail:
    """The tail of the network that the features of `owner` were made with, which are in the space `expected` (of view 0).

    Raises UsageError where nothing can be trained behind that cut, or features are pooled, and SpaceMismatchError where the part before
    the cut is not the one that made the features: then the part behind it is not trusted either.
    """
    _require_maps(recipe, expected, owner)
    fresh_session()
    network, settled = whole_network(recipe)
    cut = require_cut(network, recipe.layer or network.layers[-1].name, recipe.name)
    settled = replace(recipe, input_size=settled.input_size, preprocessing=settled.preprocessing)
    frozen = cut_out(network, settled)
    way_out = "Pass --weights FILE (or --backbone FILE for a model file) with what the features were made with"
    require_same_space(expected, frozen.space.plain, owner, f"{recipe.name} with weights {recipe.weights}", way_out)
    model = keras.Model(outputs_of(network)[cut.layer][0], network.outputs[0], name="tail")
    last = network.layers[-most_trained(valid_cuts(network), cut, recipe.dtype) :]
    return NetworkTail(model, cut, _about(model, cut), tuple(layer.name for layer in last))


def _require_maps(recipe: Recipe, expected: Space, owner: str) -> None:
    again = f"extract a set with --backbone {recipe.name} --train-last N (see `permafrost cuts {recipe.name}`)"
    if recipe.name in BACKBONES and recipe.layer and has_top(recipe):
        raise UsageError(f"{owner} was cut in the classification top of {recipe.name}, and nothing is to be trained there: {again}")
    if expected.pooling != "none":
        raise UsageError(f"{owner} holds features that are pooled ({expected.pooling}), and no layer can go on from these: {again}")


def _about(model: keras.Model, cut: Cut) -> dict[str, Any]:
    return {
        "cut": cut.layer,
        "canonical": cut.canonical,
        "parameters": cut.parameters,
        "parameters_behind": cut.parameters_behind,
        "layers_behind": cut.layers_behind,
        "tail_graph": graph_digest(model),
        "tail_weights": weights_digest(model),
    }
