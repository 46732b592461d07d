"""The whole line on real photographs and real weights: values and accounts that a user judges it by. Accuracy: test_accuracy."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import storage
from extractor import ExtractOptions, Recipe, extract
from extractor.image_policy import decode_in_graph, read_header
from storage.golden import cosines
from tests.extractor.conftest import SMALL_START

pytestmark = pytest.mark.slow
WEIGHTS = "mobilenet_v2_1.0_224_dequant_no_top.h5"
SAMPLE = 60  # images of the value comparisons


@pytest.fixture(scope="module")
def sample(clothing: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every fourteenth photograph, linked: enough for comparisons of values."""
    folder = tmp_path_factory.mktemp("sample")
    with open(shared_data / "clothing" / "split.csv", newline="") as f:
        paths = [row["path"] for row in csv.DictReader(f)]
    for path in paths[:: len(paths) // SAMPLE]:
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).hardlink_to(clothing / path)
    return folder


@pytest.fixture
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("extractor.plan.MIN_UNIT_ITEMS", 20)


def test_embeddings_equal_a_plain_keras_loop(sample: Path, shared_data: Path, tmp_path: Path) -> None:
    recipe = Recipe("mobilenet_v2", str(shared_data / "weights" / WEIGHTS), dtype="float32")
    result = extract(sample, f"{tmp_path}/features/team/real", ExtractOptions(recipe, local=True))
    keys, embeddings = storage.open(result.set).to_numpy()
    model = keras.applications.MobileNetV2(include_top=False, input_shape=(224, 224, 3), weights=recipe.weights, pooling="avg")
    expected = []
    for key in keys:
        encoded = (sample / key).read_bytes()
        [image] = decode_in_graph(tf.constant(encoded), [tf.constant(value) for value in read_header(encoded, 224).values()], 224)
        scaled = keras.applications.mobilenet_v2.preprocess_input(tf.cast(image, tf.float32))
        expected.append(model.predict_on_batch(scaled[None])[0])
    assert len(keys) >= SAMPLE
    assert cosines(embeddings, np.stack(expected)).min() >= 0.99999


@pytest.mark.full  # test_executors compares the executors by their contract
def test_one_worker_here_and_several_of_ray_give_the_same_version(
    sample: Path, shared_data: Path, tmp_path: Path, small_units: None, request: pytest.FixtureRequest
) -> None:
    several = 4 if request.config.getoption("--full") else 2  # each imports TensorFlow
    recipe = Recipe("mobilenet_v2", str(shared_data / "weights" / WEIGHTS), input_size=128)  # small is enough
    found = {}
    for name, options in {
        "local-1": ExtractOptions(recipe, local=True, workers=1),
        "ray": ExtractOptions(recipe, workers=several),
    }.items():
        result = extract(sample, f"{tmp_path}/{name}/team/clothing", options)
        feature_set = storage.open(result.set)
        found[name] = (*feature_set.to_numpy(), feature_set.items["digest"].to_pylist())
    keys, embeddings, digests = found["local-1"]
    assert len(storage.open(f"{tmp_path}/ray/team/clothing").manifest.shards) >= 4  # the work was shared out
    for other_keys, other_embeddings, other_digests in found.values():
        assert other_keys == keys
        assert other_digests == digests
        assert cosines(embeddings, other_embeddings).min() >= 0.99999


def test_hostile_pictures_never_vanish(shared_data: Path, tmp_path: Path) -> None:
    recipe = replace(SMALL_START, input_size=224, dtype="float16")  # what becomes of a picture is none of the network's business
    result = extract(shared_data / "hostile" / "files", f"{tmp_path}/features/team/hostile", ExtractOptions(recipe, local=True))
    assert result.listed == result.rows + result.rejected == 38
    assert result.pending == 0
    assert result.rows >= 25
