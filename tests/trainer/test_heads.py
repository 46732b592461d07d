from __future__ import annotations

import keras
import numpy as np
import pytest

from trainer.heads import HEADS, HeadInput, with_probabilities


def head(features: np.ndarray, classes: int = 3, l2: float = 0.0, name: str = "linear") -> keras.Model:
    return HEADS[name](HeadInput(features, classes, l2))


def standardised(model: keras.Model, features: np.ndarray) -> np.ndarray:
    """What reaches the dense layer."""
    cut = keras.Model(model.input, model.get_layer("logits").input)
    return np.asarray(keras.ops.convert_to_numpy(cut(features.astype(np.float32), training=False)))


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("shape", [(5,), (2, 2, 3)])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_every_head_maps_features_to_logits(name: str, shape: tuple[int, ...], dtype: str) -> None:
    features = np.random.default_rng(0).normal(size=(10, *shape)).astype(dtype)
    model = head(features, 4, name=name)
    assert model.input_shape == (None, *shape)
    assert model.output_shape == (None, 4)
    assert model.predict(features.astype(np.float32), verbose=0).shape == (10, 4)


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


def test_the_linear_head_starts_at_equal_probabilities() -> None:
    features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    probabilities = with_probabilities(head(features)).predict(features, verbose=0)
    np.testing.assert_allclose(probabilities, 1 / 3, rtol=1e-6)


def test_the_l2_strength_is_added_to_the_loss() -> None:
    model = head(np.eye(3), 2, l2=0.5)
    model.get_layer("logits").kernel.assign(np.full((3, 2), 2.0))
    assert float(model.losses[0]) == pytest.approx(0.5 * 6 * 4.0)


def test_probabilities_are_the_softmax_of_the_same_head() -> None:
    features = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    model = head(features)
    model.get_layer("logits").kernel.assign(np.random.default_rng(1).normal(size=(3, 3)))
    probabilities = with_probabilities(model).predict(features, verbose=0)
    logits = model.predict(features, verbose=0)
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(probabilities, expected / expected.sum(axis=1, keepdims=True), rtol=1e-5)
