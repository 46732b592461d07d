"""Mistakes in a program's call are told in words, before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from extractor import Also, ExtractOptions, Recipe, extract
from extractor.limits import Limits
from storage.errors import UsageError

RECIPE = Recipe("mobilenet_v2", "random:1")
WRONG: dict[str, tuple[Callable[[Any], object], list[Any]]] = {  # what is made or called, and values that nobody can mean
    "name": (Recipe, [None, 5, ["resnet50"]]),
    "weights": (lambda wrong: Recipe("resnet50", wrong), [None, 5, True]),
    "pooling": (lambda wrong: Recipe("resnet50", pooling=wrong), [None, ["avg"], 5]),
    "input_size": (lambda wrong: Recipe("resnet50", input_size=wrong), [None, "224", 224.5, True]),
    "args": (lambda wrong: Recipe("mobilenet_v2", args=wrong), [None, 5, "alpha=0.35", ["alpha"], {1: 0.35}]),
    "views": (lambda wrong: Recipe("resnet50", views=wrong), [None, 5, [5], {"flip"}]),
    "view_seed": (lambda wrong: Recipe("resnet50", views=("crop",), view_seed=wrong), [None, "1", 1.5]),
    "also": (lambda wrong: Also(wrong, RECIPE), [None, 5]),
    "also recipe": (lambda wrong: Also("a/b/c", wrong), [None, "resnet50"]),
    "recipe": (ExtractOptions, [None, "resnet50", {"name": "resnet50"}]),
    "format": (lambda wrong: ExtractOptions(RECIPE, format=wrong), [5, ["parquet"], "csv"]),
    "further": (lambda wrong: ExtractOptions(RECIPE, also=wrong), [None, "a/b/c", ("a/b/c",), Also("a/b/c", RECIPE)]),
    "workers": (lambda wrong: ExtractOptions(RECIPE, workers=wrong), ["2", 1.5, True, 0]),
    "local": (lambda wrong: ExtractOptions(RECIPE, local=wrong), [None, 1, "no"]),
    "engine": (lambda wrong: ExtractOptions(RECIPE, engine=wrong), [None, 5, ["jax"]]),
    "ray_address": (lambda wrong: ExtractOptions(RECIPE, ray_address=wrong), [5, ""]),
    "reuse_from": (lambda wrong: ExtractOptions(RECIPE, reuse_from=wrong), [None, "features", 5]),
    "retry_rejects": (lambda wrong: ExtractOptions(RECIPE, retry_rejects=wrong), [None, "empty", (5,)]),
    "price": (lambda wrong: ExtractOptions(RECIPE, price=wrong), ["3", True, -1]),
    "grace": (lambda wrong: ExtractOptions(RECIPE, grace=wrong), [None, "20"]),
    "max_rejects": (lambda wrong: ExtractOptions(RECIPE, max_rejects=wrong), [None, "1%"]),
    "limits": (lambda wrong: ExtractOptions(RECIPE, limits=wrong), [None, 5, (1, 1)]),
    "bytes": (lambda wrong: Limits(bytes=wrong), [None, 1.5, "1"]),
    "corpus": (lambda wrong: extract(wrong, "a/b/c", ExtractOptions(RECIPE)), [None, 5, ["photos"]]),
    "uri": (lambda wrong: extract("photos", wrong, ExtractOptions(RECIPE)), [None, 5]),
    "options": (lambda wrong: extract("photos", "a/b/c", wrong), [None, RECIPE]),
    "on_progress": (lambda wrong: extract("photos", "a/b/c", ExtractOptions(RECIPE), wrong), [None, 5]),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_nobody_can_mean_is_told(name: str) -> None:
    act, values = WRONG[name]
    for wrong in values:
        try:
            act(wrong)
        except UsageError:
            continue
        pytest.fail(f"{wrong!r} was taken")


def test_lists_and_numbers_of_numpy_are_taken() -> None:
    recipe = Recipe("mobilenet_v2", "random:1", input_size=np.int64(96), views=["flip"], args={"alpha": np.float64(0.5)})  # type: ignore[arg-type]
    assert recipe == Recipe("mobilenet_v2", "random:1", input_size=96, views=("flip",), args=(("alpha", 0.5),))
    assert (type(recipe.input_size), type(dict(recipe.args)["alpha"])) == (int, float)
    assert ExtractOptions(recipe, also=[Also("a/b/c", recipe)], workers=np.int32(2)).also[0].recipe == recipe  # type: ignore[arg-type]
