from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from extractor.backbones import Backbone, build
from extractor.image_model import image_model, resizing
from extractor.image_policy_table import IMAGE_POLICIES
from extractor.jpeg_in_graph import resize
from extractor.recipe import PREPROCESSINGS, Recipe
from extractor.tensorflow_engine import TensorFlowEngine

SIZE = 32


def write_network(path: Path) -> None:
    """Seconds faster to build than the smallest of keras.applications."""
    keras.utils.set_random_seed(1)
    inputs = keras.Input((SIZE, SIZE, 3))
    keras.Model(inputs, keras.layers.Conv2D(6, 5, strides=3, activation="relu")(inputs)).save(path)


def backbone(folder: Path, **options: str) -> Backbone:
    write_network(folder / "net.keras")
    return build(Recipe(str(folder / "net.keras"), input_size=SIZE, **{"preprocessing": "tf", **options}))


@pytest.mark.slow
@pytest.mark.parametrize("options", [*({"preprocessing": name} for name in PREPROCESSINGS), {"pooling": "max"}, {"pooling": "none"}])
def test_a_saved_model_gives_the_features_of_the_engine(options: dict[str, str], tmp_path: Path) -> None:
    made = backbone(tmp_path, **options)
    image_model(made).save(tmp_path / "images.keras")
    model = keras.saving.load_model(tmp_path / "images.keras", compile=False, safe_mode=True)
    images = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3)).astype(np.uint8)
    expected = TensorFlowEngine(made)(tf.constant(images))
    np.testing.assert_allclose(np.asarray(model(images)), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("policy", IMAGE_POLICIES)
def test_images_of_any_size_are_resized_as_the_policy_does(policy: str) -> None:
    pixels = keras.Input((SIZE, SIZE, 3), dtype="uint8")
    model = resizing(keras.Model(pixels, keras.ops.cast(pixels, "float32")), policy)
    for height, width in ((48, 64), (61, 97), (20, 33), (SIZE, SIZE)):  # of the first, without antialiasing, every second value is a half
        images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3)).astype(np.uint8)
        expected = [resize(image, SIZE, IMAGE_POLICIES[policy].antialias).numpy() for image in images]
        np.testing.assert_array_equal(np.asarray(model(images)), expected)
    np.testing.assert_array_equal(np.asarray(model(images)), images)
