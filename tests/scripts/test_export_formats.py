"""Each format answers as the model does, for operations that its converter once did not know."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

from extractor.depthwise import with_depthwise
from extractor.image_model import PIXELS
from extractor.input_kind import InputKind
from scripts.export_formats import FORMATS
from scripts.export_model import PROBABILITIES, ExportedModel
from trainer.neighbours import NearestNeighbours

pytestmark = pytest.mark.slow
SIZE, CLASSES = 8, ("ant", "bee", "cat")


@pytest.fixture(scope="module")
def exported() -> ExportedModel:
    """With what EfficientNet (swish, which has a gradient of its own) and ConvNeXt (exact GELU, grouped convolutions) are made of."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((SIZE, SIZE, 3), dtype="uint8", name=PIXELS)
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    x = keras.layers.Conv2D(4, 3, activation="swish")(x)
    x = keras.layers.Conv2D(8, 3, groups=4, padding="same")(x)
    x = keras.layers.Conv2D(6, 3, activation="gelu")(x)
    x = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    model = keras.Model(pixels, keras.layers.Activation("linear", dtype="float32", name=PROBABILITIES)(x))
    return ExportedModel(with_depthwise(model), InputKind(SIZE, "image-v1"), CLASSES)


@pytest.mark.parametrize("to", ["savedmodel", "onnx", "litert"])
def test_it_answers_as_the_model(exported: ExportedModel, to: str, tmp_path: Path) -> None:
    FORMATS[to].write(exported, tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3), np.uint8)
    found = FORMATS[to].load(tmp_path)[PIXELS](pixels)
    np.testing.assert_allclose(found, exported.model(pixels).numpy(), atol=1e-6)


@pytest.mark.parametrize("to", ["keras", "savedmodel", "onnx", "litert"])
@pytest.mark.parametrize("metric", ["cosine", "euclid"])
def test_neighbours_answer_as_the_model(metric: str, to: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    layer = NearestNeighbours(30, 3, 3, 4, metric, "float16", centred=True)
    centre = np.array([0.5, 0.5, 0.25], np.float32)
    layer.keep(random.random((30, 3)).astype(np.float16), np.eye(3, dtype=np.uint8)[np.arange(30) % 3], centre)
    inputs = keras.Input((SIZE, SIZE, 3), dtype="uint8", name=PIXELS)
    x = layer(keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs)))
    model = keras.Model(inputs, keras.layers.Activation("linear", dtype="float32", name=PROBABILITIES)(x))
    FORMATS[to].write(ExportedModel(model, InputKind(SIZE, "image-v1"), CLASSES), tmp_path)
    answer = FORMATS[to].load(tmp_path)[PIXELS]
    for _ in range(5):
        pixels = random.integers(0, 256, (1, 1, 1, 3), np.uint8) * np.ones((1, SIZE, SIZE, 1), np.uint8)
        np.testing.assert_allclose(answer(pixels), model(pixels).numpy(), atol=1e-6)
