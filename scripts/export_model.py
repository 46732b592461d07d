"""One Keras model from images to probabilities: the network up to a head's space, joined with the head."""

from __future__ import annotations

from dataclasses import dataclass

import keras

from extractor.backbones import build
from extractor.image_model import PIXELS, image_model
from extractor.input_kind import InputKind
from extractor.recipe import Recipe
from storage.errors import UsageError
from storage.space import require_same_space
from trainer import Head

PROBABILITIES = "probabilities"


@dataclass(frozen=True)
class ExportedModel:
    """`model`: uint8 [N, size, size, 3], made by the image policy of `kind`, to probabilities [N, C] of the classes."""

    model: keras.Model
    kind: InputKind
    classes: tuple[str, ...]


def takes_pixels(head: Head) -> bool:
    """Whether its features are the pixels themselves: of a head that was fine-tuned with its network."""
    return head.description.get("strategy") == "fine-tuning"


def kind_of(head: Head) -> InputKind:
    return InputKind(head.space.input_size, head.space.image_policy)


def require_float32(head: Head) -> None:
    """Raise UsageError for a head on features of fewer bits: before a float32 network its probabilities differed by 0.08 (bfloat16)."""
    if head.space.precision != "float32":
        raise UsageError(
            f"the head {head.folder} reads features computed in {head.space.precision}, and exported models compute in float32: "
            "extract the features in float32 and train on those"
        )


def join(head: Head, recipe: Recipe | None) -> ExportedModel:
    """Build the network of the head's recipe and join both; None for a head that takes pixels.

    Raises SpaceMismatchError, naming the fields, and what `build` raises.
    """
    kind = kind_of(head)
    pixels = keras.Input((kind.size, kind.size, 3), dtype="uint8", name=PIXELS)
    features = pixels if recipe is None else _network(head, recipe)(pixels, training=False)
    named = keras.layers.Activation("linear", dtype="float32", name=PROBABILITIES)
    model = keras.Model(pixels, named(head.model(features, training=False)), name="classifier")
    return ExportedModel(model, kind, head.classes)


def _network(head: Head, recipe: Recipe) -> keras.Model:
    backbone = build(recipe)
    way_out = "Pass --weights FILE (or --backbone FILE for a model file) with what the features were made with"
    newcomer = f"{recipe.name} with weights {recipe.weights}"
    require_same_space(head.space, backbone.space, f"the head {head.folder}", newcomer, way_out)
    return image_model(backbone)
