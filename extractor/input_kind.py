"""What a network takes in: images of one size, made by one policy, in the same views. Networks of one kind share decoded images."""

from __future__ import annotations

from dataclasses import dataclass

from extractor.recipe import Recipe
from extractor.views import PLAIN, ViewPolicy


@dataclass(frozen=True)
class InputKind:
    size: int  # pixels, height = width
    policy: str = "image-v1"
    views: ViewPolicy = PLAIN


def input_kind(recipe: Recipe) -> InputKind:
    """recipe: without open ends, as that of a built backbone."""
    return InputKind(recipe.input_size, recipe.image_policy, recipe.view_policy)
