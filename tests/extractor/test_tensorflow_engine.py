from __future__ import annotations

import csv
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image

from extractor import backbones
from extractor.backbones import Backbone
from extractor.network import Network
from extractor.recipe import Recipe
from extractor.tensorflow_engine import TensorFlowEngine
from extractor.worker import Worker
from storage.errors import UsageError
from storage.golden import cosines
from tests.extractor.plain import decode

pytestmark = pytest.mark.slow

BATCH = 4
Images = npt.NDArray[np.uint8]


def images(n: int, size: int = 32, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, (n, size, size, 3), np.uint8)


def with_options(backbone: Backbone, **options: str) -> Backbone:
    """The same network under other options; only what the engine reads is changed."""
    return replace(backbone, recipe=replace(backbone.recipe, **options))


def plain_keras(backbone: Backbone, batch: Images) -> npt.NDArray[np.float32]:
    """What anyone would write: preprocess, call, pool, image by image."""
    rows = []
    for image in batch:
        x = image[None].astype(np.float32)
        if backbone.recipe.preprocessing != "none":
            x = keras.applications.imagenet_utils.preprocess_input(x, mode=backbone.recipe.preprocessing)
        features = keras.ops.convert_to_numpy(backbone.model(x, training=False))[0]
        pool = {"avg": lambda f: f.mean(axis=(0, 1)), "max": lambda f: f.max(axis=(0, 1)), "none": lambda f: f}
        rows.append(pool[backbone.recipe.pooling](features))
    return np.stack(rows)


@pytest.fixture(scope="module")
def engine(small_backbone: Backbone) -> TensorFlowEngine:
    return TensorFlowEngine(small_backbone, BATCH)


def test_it_is_traced_once(engine: TensorFlowEngine) -> None:
    function = engine._function
    for n in (1, BATCH, 2):
        engine(tf.constant(images(n)))
    assert engine._function is function
    assert function.inputs[0].shape == (BATCH, 32, 32, 3)


def test_products_are_rounded_to_tf32_only_by_an_engine_that_was_asked_to(engine: TensorFlowEngine, small_backbone: Backbone) -> None:
    asked = replace(small_backbone, recipe=replace(small_backbone.recipe, precision="tf32"))
    for each, rounds in ((engine, False), (TensorFlowEngine(asked, BATCH), True), (engine, False)):
        each(tf.constant(images(2)))
        assert tf.config.experimental.tensor_float_32_execution_enabled() is rounds


class Hungry(keras.layers.Layer):
    """Passes images on, but runs out of memory at batches of more than two, and at a white image. TensorFlow makes its own error of it."""

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.ensure_shape(tf.numpy_function(self._allocate, [x], tf.float32), x.shape)

    @staticmethod
    def _allocate(x: Images) -> Images:
        if len(x) > 2 or (x.min(axis=(1, 2, 3)) > 250).any():
            raise MemoryError
        return x


@pytest.fixture(scope="module")
def hungry_backbone(small_backbone: Backbone) -> Backbone:
    inputs = keras.Input((32, 32, 3))
    return with_options(replace(small_backbone, model=keras.Model(inputs, Hungry()(inputs))), preprocessing="none")


def test_an_image_that_alone_is_too_much_is_a_reject_and_its_neighbours_are_not(
    hungry_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("extractor.worker.build_networks", lambda recipes, *_: [Network([(0, hungry_backbone)])])
    worker = Worker([hungry_backbone.recipe])
    batch = [*images(3), np.full((32, 32, 3), 255, np.uint8)]
    for i, pixels in enumerate(batch):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    rows, outcomes = worker.embed_located([str(tmp_path / f"{i}.png") for i in (0, 3, 1, 2)])
    assert {position: reason for position, (reason, _) in outcomes.rejects.items()} == {1: "out-of-memory"}
    assert np.allclose(rows[[0, 2, 3]], np.stack(batch[:3]).mean(axis=(1, 2)), atol=0.1)


def test_real_features_tell_classes_apart(shared_data: Path) -> None:
    """Nearest class mean on real photographs, with real weights: a wrong channel order or scaling shows at once."""
    weights = shared_data / "weights" / "mobilenet_v2_1.0_224_dequant_no_top.h5"
    backbone = backbones.build(Recipe("mobilenet_v2", weights=str(weights)))
    engine = TensorFlowEngine(backbone, 16)
    with open(shared_data / "clothing" / "split.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    chosen = [row for label in sorted({row["label"] for row in rows}) for row in [r for r in rows if r["label"] == label][:12]]
    with tarfile.open(shared_data / "clothing" / "images.tar") as tar:
        members = {member.name: member for member in tar.getmembers()}
        names = [next(name for name in members if name.endswith(row["path"])) for row in chosen]
        decoded = np.stack([decode(tar.extractfile(members[name]).read(), 224) for name in names])  # type: ignore[union-attr]
    embedded = np.concatenate([engine(tf.constant(decoded[i : i + 16])) for i in range(0, len(decoded), 16)])
    assert cosines(embedded[:4], plain_keras(backbone, decoded[:4])).min() >= 0.99999
    labels = np.array([row["label"] for row in chosen])
    train = np.arange(len(labels)) % 12 < 8
    unit = embedded / np.linalg.norm(embedded, axis=1, keepdims=True)
    classes = np.unique(labels)
    means = np.stack([unit[train & (labels == name)].mean(axis=0) for name in classes])
    accuracy = (classes[(unit[~train] @ means.T).argmax(axis=1)] == labels[~train]).mean()
    assert accuracy > 0.6


def test_whole_batches_are_for_convolutions_alone_in_half_of_the_bits(small_backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = keras.Input((32, 32, 3))
    plain = keras.Model(inputs, keras.layers.Conv2D(4, 3)(keras.layers.Conv2D(4, 3)(inputs)))
    normed = keras.Model(inputs, keras.layers.BatchNormalization()(keras.layers.ReLU()(keras.layers.Conv2D(4, 3)(inputs))))

    def batch_size(model: keras.Model, precision: str) -> int:
        return TensorFlowEngine(with_options(replace(small_backbone, model=model), precision=precision)).batch_size

    assert [batch_size(plain, precision) for precision in ("float32", "bfloat16")] == [16, 16]  # its variables are frozen
    monkeypatch.setattr("extractor.tensorflow_engine.MAX_FROZEN_BYTES", 0)
    assert [batch_size(plain, precision) for precision in ("float32", "bfloat16")] == [16, 32]
    assert [batch_size(normed, precision) for precision in ("float32", "bfloat16")] == [16, 16]


def spectrum(x: keras.KerasTensor) -> keras.KerasTensor:
    """Which TensorFlow has in float32 and in no lower precision: it says so when it is traced."""
    return keras.ops.abs(keras.ops.fft2((x, x))[0])


def singular_values(x: keras.KerasTensor) -> keras.KerasTensor:
    """Which it takes in float16 as well, but has no kernel for."""
    return keras.ops.svd(x, compute_uv=False)


@pytest.mark.parametrize(("operation", "precision"), [(spectrum, "bfloat16"), (spectrum, "float16"), (singular_values, "float16")])
def test_what_is_there_in_float32_alone_is_refused_in_words(
    operation: Callable[[keras.KerasTensor], keras.KerasTensor], precision: str, small_backbone: Backbone
) -> None:
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, operation(keras.layers.Conv2D(4, 8, strides=8)(inputs)))
    made = with_options(replace(small_backbone, model=model), pooling="none", preprocessing="none")
    assert len(TensorFlowEngine(made, 2)(images(2))) == 2
    with pytest.raises(UsageError, match=rf"^TensorFlow cannot compute .+ in {precision} \([^\n]+\): use --precision float32$"):
        TensorFlowEngine(with_options(made, precision=precision), 2)(images(2))
