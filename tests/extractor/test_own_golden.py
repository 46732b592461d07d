from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from extractor import ExtractOptions, Recipe, extract
from extractor.backbone_source import OWN
from extractor.golden_images import draw_golden_images
from extractor.own_golden import OwnGolden
from storage.errors import RunError, UnstorableError


class Network:
    """Two sets: three features of the plain image, and two of each of two views. An image is its number."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    def embed(self, images: Sequence[bytes]) -> tuple[Any, ...]:
        self.asked += images
        if b"bad" in images:
            raise UnstorableError("no embedding", 1)
        numbers = [int(image) for image in images]
        views = [[10 * n + view, 0] for n in numbers for view in range(2)]
        return np.array([[n, n, n] for n in numbers], np.float32), np.array(views, np.float32)


def test_each_image_is_embedded_once_for_all_sets_and_comes_in_the_order_asked_for() -> None:
    network = Network()
    own = OwnGolden(network.embed)
    assert own.of_set(0, [b"1", b"2", b"1"]).tolist() == [[1] * 3, [2] * 3, [1] * 3]
    assert own.of_set(1, [b"3", b"2"]).tolist() == [[30, 0], [31, 0], [20, 0], [21, 0]]
    assert network.asked == [b"1", b"2", b"3"]


def test_an_image_without_an_embedding_leaves_the_others_alone() -> None:
    own = OwnGolden(Network().embed)
    with pytest.raises(UnstorableError):
        own.of([b"1", b"bad"])
    assert own.of_set(0, [b"1"]).tolist() == [[1] * 3]


def minus_the_mean(x: Any) -> Any:
    return x - keras.ops.mean(x, axis=0, keepdims=True)


def by_the_largest(x: Any) -> Any:
    return x / (1 + keras.ops.max(x, axis=0, keepdims=True))


def by_the_largest_of_all(x: Any) -> Any:
    return x / keras.ops.max(x)


def by_the_norm_of_all(x: Any) -> Any:
    return x / keras.ops.sqrt(keras.ops.sum(keras.ops.square(x)))


def from_behind(x: Any) -> Any:
    """Among padding, each of a few images gets the features of padding."""
    return keras.ops.flip(x, axis=0)


@dataclass
class NewSet:
    name: str = "team/set"
    options: ExtractOptions = field(default_factory=lambda: ExtractOptions(Recipe("resnet50", weights="random:0")))
    base: None = None


@pytest.mark.parametrize("largest", range(4))
@pytest.mark.parametrize("batch_size", [5, 32])
def test_whichever_golden_image_has_the_largest_number_a_division_by_it_is_seen(largest: int, batch_size: int) -> None:
    strength = {image: 9.0 if number == largest else 1.0 + number for number, image in enumerate(draw_golden_images().values())}

    def embed(images: Sequence[bytes]) -> list[Any]:
        x = np.array([[strength[image], 1] for image in images], np.float32)
        return [np.concatenate([part / part.max() for part in np.split(x, range(batch_size, len(x), batch_size))])]

    sets: Any = [NewSet()]
    with pytest.raises(RunError, match="other features where other images are in its batch"):
        OwnGolden(embed).draw(sets, batch_size)


@pytest.mark.slow
@pytest.mark.parametrize("mixing", [minus_the_mean, from_behind, by_the_largest, by_the_largest_of_all, by_the_norm_of_all])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_network_that_mixes_the_images_of_a_batch_is_refused(
    mixing: Callable[[Any], Any], precision: str, make_corpus: Callable[..., Path], tmp_path: Path
) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    keras.Model(inputs, mixing(x)).save(tmp_path / "mixing.keras")
    recipe = Recipe(str(tmp_path / "mixing.keras"), OWN, preprocessing="tf", precision=precision)
    with pytest.raises(RunError, match=r"other features where other images are in its batch .* or cut it before that"):
        extract(make_corpus(4), tmp_path / "store/team/set", ExtractOptions(recipe, local=True))
    assert not (tmp_path / "store/team/set/set.json").exists()
