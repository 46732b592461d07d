"""Which cut a user means, told by a network that has shapes and, where it can be helped, no values."""

from __future__ import annotations

import keras

from extractor.applications import build_without_values
from extractor.backbone_table import BACKBONES
from extractor.backbones import whole_network
from extractor.batch_size import at_fixed_size
from extractor.cuts import Cut, cut_for_last, valid_cuts
from extractor.keras_session import fresh_session
from extractor.recipe import Recipe


def cuts_of(recipe: Recipe) -> list[Cut]:
    """All cuts of a recipe's network, without a classification top, at its input size."""
    return valid_cuts(_network(recipe))


def cut_for(recipe: Recipe, last: int) -> Cut:
    """Where to keep features so that the last so many layers can be trained. Raises UsageError."""
    return cut_for_last(_network(recipe), last, recipe.dtype, recipe.name)


def _network(recipe: Recipe) -> keras.Model:
    fresh_session()
    if recipe.name in BACKBONES:
        return build_without_values(recipe)
    network, settled = whole_network(recipe)
    return at_fixed_size(network, settled.input_size) if None in network.inputs[0].shape[1:] else network
