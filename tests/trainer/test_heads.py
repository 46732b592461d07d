from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from storage.errors import UsageError
from trainer.heads import HEADS, HeadInput, HeadOptions, build_head, with_activation
from trainer.map_pooling import MAP_POOLINGS
from trainer.options import FitOptions
from trainer.solvers import SOLVERS


def head(features: np.ndarray, classes: int = 3, **options: Any) -> keras.Model:
    chosen = HeadOptions(**{"c": 1e9, **options}).for_features(features.shape[1:])
    return build_head(chosen, HeadInput(features, range(len(features)), len(features), classes))


def standardised(model: keras.Model, features: np.ndarray) -> np.ndarray:
    """What the fixed first layer makes of features."""
    cut = keras.Model(model.input, model.get_layer("standardise").output)
    return np.asarray(keras.ops.convert_to_numpy(cut(features.astype(np.float32), training=False)))


def run(model: keras.Model, features: np.ndarray, training: bool = False) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(model(features.astype(np.float32), training=training)))


TRAINED = [name for name, kind in HEADS.items() if kind.build]  # by Keras


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("shape", [(5,), (2, 2, 3), (4, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_head_maps_features_to_logits(name: str, shape: tuple[int, ...], dtype: str) -> None:
    features = np.random.default_rng(0).normal(size=(10, *shape)).astype(dtype)
    for pooling in [""] if len(shape) == 1 else MAP_POOLINGS:
        model = head(features, 4, head=name, map=pooling)
        assert model.input_shape == (None, *shape)
        assert model.output_shape == (None, 4)
        assert run(model, features[:1]).shape == (1, 4)


def test_features_are_standardised_by_the_training_rows() -> None:
    features = np.random.default_rng(0).normal(5, 3, (200, 4))
    values = standardised(head(features), features)
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, 1e4, -3.7])
def test_a_constant_feature_is_only_centred(value: float) -> None:
    features = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float16)
    features[:, 1] = value
    model = head(features)
    assert (standardised(model, features)[:, 1] == 0).all()
    moved = features.astype(np.float32)  # float16 has no room for 10001
    moved[:, 1] += 1
    assert np.abs(standardised(model, moved)[:, 1] - 1).max() < 0.01


def test_float16_features_do_not_overflow_the_mean() -> None:
    features = np.full((5000, 2), 60_000, np.float16)
    features[::2] = 0
    values = standardised(head(features), features)
    np.testing.assert_allclose(np.abs(values), 1, atol=1e-3)


def test_small_features_are_standardised_and_not_taken_for_constant() -> None:
    features = np.random.default_rng(0).normal(1e-3, 1e-4, (100, 2)).astype(np.float32)
    np.testing.assert_allclose(standardised(head(features), features).std(axis=0), 1, atol=1e-2)


@pytest.mark.parametrize("scale", [1e-6, 1e-9, 1e-12])
def test_features_of_random_networks_are_standardised_however_small(scale: float) -> None:
    features = (scale * np.random.default_rng(0).normal(1, 1, (100, 2))).astype(np.float32)
    np.testing.assert_allclose(standardised(head(features), features).std(axis=0), 1, atol=1e-2)


def test_only_the_training_positions_count() -> None:
    features = np.random.default_rng(0).normal(5, 3, (50, 2))
    features[20:] = 1e6
    model = build_head(HeadOptions(c=1.0), HeadInput(features, range(20), 20, 2))
    np.testing.assert_allclose(standardised(model, features[:20]).mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_every_head_starts_at_equal_probabilities(name: str) -> None:
    features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    probabilities = run(with_activation(head(features, head=name), keras.layers.Softmax()), features)
    np.testing.assert_allclose(probabilities, 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(("name", "kernels"), [("linear", ["logits"]), ("mlp", ["dense", "dense_1", "logits"])])
def test_the_l2_strength_is_added_to_the_loss_for_every_kernel(name: str, kernels: list[str]) -> None:
    keras.utils.clear_session()  # layer names start anew
    model = head(np.eye(4), 2, head=name, hidden=(5, 3) if name == "mlp" else (), c=0.25)  # 1 / (2 * 0.25 * 4 rows) = 0.5
    squares = 0.0
    for layer in map(model.get_layer, kernels):
        layer.kernel.assign(np.full(layer.kernel.shape, 2.0))
        squares += 4.0 * np.prod(layer.kernel.shape)
    assert float(sum(model.losses)) == pytest.approx(0.5 * squares)


def test_the_mlp_has_the_layers_it_was_told() -> None:
    model = head(np.eye(4), 2, head="mlp", hidden=(7, 5), dropout=0.5)
    assert [type(layer).__name__ for layer in model.layers[-5:]] == ["Dense", "Dropout", "Dense", "Dropout", "Dense"]
    assert [layer.units for layer in model.layers if isinstance(layer, keras.layers.Dense)] == [7, 5, 2]
    assert model.layers[-5].activation is keras.activations.relu


def test_dropout_works_in_training_only() -> None:
    features = np.random.default_rng(0).normal(size=(6, 8)).astype(np.float32)
    model = head(features, head="mlp", dropout=0.9)
    model.get_layer("logits").kernel.assign(np.ones((128, 3)))
    np.testing.assert_array_equal(run(model, features), run(model, features))
    assert (run(model, features, training=True) != run(model, features)).any()


# The poolings of maps


def pooled(name: str, maps: np.ndarray) -> tuple[keras.Model, np.ndarray]:
    model = head(maps, map=name)
    cut = keras.Model(model.input, model.get_layer("logits").input)
    return model, np.asarray(keras.ops.convert_to_numpy(cut(maps.astype(np.float32), training=False)))


def expected_pooling(name: str, maps: np.ndarray) -> np.ndarray:
    sequence = maps.reshape(len(maps), -1, maps.shape[-1]).astype(np.float64)
    vectors = {"flatten": maps.reshape(len(maps), -1), "avg": sequence.mean(axis=1), "max": sequence.max(axis=1)}
    if name == "attention":  # an untrained query weighs all positions alike
        channels = sequence.reshape(-1, maps.shape[-1])
        return np.asarray(((sequence - channels.mean(axis=0)) / channels.std(axis=0)).mean(axis=1))
    return np.asarray((vectors[name] - vectors[name].mean(axis=0)) / vectors[name].std(axis=0))


@pytest.mark.parametrize("shape", [(2, 3, 4), (5, 4)])
@pytest.mark.parametrize("name", MAP_POOLINGS)
def test_every_pooling_gives_standardised_vectors(name: str, shape: tuple[int, ...]) -> None:
    maps = np.random.default_rng(0).normal(3, 2, (9, *shape)).astype(np.float16)
    _, vectors = pooled(name, maps)
    np.testing.assert_allclose(vectors, expected_pooling(name, maps.astype(np.float32)), atol=2e-4)


def test_attention_looks_where_the_query_points() -> None:
    random = np.random.default_rng(0)
    maps = random.normal(0, 1, (40, 2, 3, 4)).astype(np.float32)
    model, _ = pooled("attention", maps)
    query = random.normal(0, 3, 4)
    model.get_layer("query").kernel.assign(query[:, None])
    x = standardised(model, maps).astype(np.float64)
    scores = x @ query / np.sqrt(4)
    weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    cut = keras.Model(model.input, model.get_layer("logits").input)
    np.testing.assert_allclose(run(cut, maps), np.einsum("np,npc->nc", weights, x), atol=1e-5)


def test_a_pooling_of_vectors_is_told() -> None:
    with pytest.raises(UsageError, match="map pooling 'avg' needs maps, and these features are vectors of 5"):
        HeadOptions(map="avg").for_features((5,))


def test_maps_are_flattened_unless_told() -> None:
    assert HeadOptions().for_features((7, 7, 8)).map == "flatten"
    filled = FitOptions("mlp", map="max", hidden=(128,), c=0.1, seed=3, learning_rate=1e-3)
    assert FitOptions("mlp", map="max", seed=3).for_features((7, 8)) == filled


@pytest.mark.parametrize(
    ("shape", "pooling", "given", "rate"),
    [
        ((2048,), "", None, 1e-3),
        ((16384,), "", None, 5e-4),
        ((8, 8, 1024), "", None, 1.25e-4),
        ((8, 8, 1024), "avg", None, 1e-3),
        ((8, 8, 1024), "", 0.5, 0.5),
    ],
)
def test_the_learning_rate_is_less_for_many_inputs(shape: tuple[int, ...], pooling: str, given: float | None, rate: float) -> None:
    assert FitOptions(map=pooling, learning_rate=given).for_features(shape).learning_rate == rate


# Options


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "svm"}, "unknown head 'svm': expected one of linear, mlp, logistic, ridge, class-mean, knn"),
        ({"map": "median"}, "unknown map pooling 'median': expected one of flatten, avg, max, attention"),
        ({"hidden": (128,)}, "the linear head has no hidden layer"),
        ({"dropout": 0.5}, "the linear head has no hidden layer"),
        ({"head": "mlp", "hidden": (128, 0)}, r"hidden must be layers of 1 to 65536 units, such as \(128,\); got \(128, 0\)"),
        ({"head": "mlp", "dropout": 1.0}, "dropout must be from 0 to 0.95"),
        ({"c": 0}, "c must be from"),
        ({"c": float("nan")}, "c must be from"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        HeadOptions(**options)


@pytest.mark.parametrize("name", HEADS)
def test_every_head_has_its_own_defaults(name: str) -> None:
    options = HeadOptions(name).for_features((5,))
    assert (options.c, options.hidden) == (HEADS[name].c, HEADS[name].hidden)
    if "c" in HEADS[name].takes:
        assert HeadOptions(name, c=3.0).for_features((5,)).c == 3.0


def test_every_head_can_be_fitted() -> None:
    assert list(SOLVERS) == list(HEADS)


def test_a_head_describes_itself() -> None:
    assert HeadOptions("mlp", map="avg", hidden=(64, 32)).describe() == "mlp(64, 32), map avg"
    assert HeadOptions().describe() == "linear"
