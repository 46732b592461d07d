from __future__ import annotations

import tracemalloc

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer import standardise
from trainer.standardise import moments


def flat(chunk: np.ndarray) -> np.ndarray:
    return chunk.reshape(len(chunk), -1)


@given(st.integers(0, 1000), st.integers(1, 60), st.integers(1, 70))
def test_chunks_make_no_difference(seed: int, n: int, rows: int) -> None:
    features = np.random.default_rng(seed).normal(100, 3, (n, 2, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standardise, "CHUNK_BYTES", rows * 8 * 6)
        found = moments(features, range(n), flat)
    np.testing.assert_allclose(found.mean, flat(features).mean(axis=0))
    np.testing.assert_allclose(found.variance, flat(features).var(axis=0), atol=1e-9)


def test_a_large_mean_costs_no_digits() -> None:
    features = 1e6 + np.random.default_rng(0).normal(0, 1e-3, (500, 2))
    np.testing.assert_allclose(moments(features, range(500), flat).variance, features.var(axis=0), rtol=1e-6)


@pytest.mark.parametrize("size", [1e-19, 1e-3, 1e18])
def test_features_of_any_size_are_standardised(size: float) -> None:
    features = (np.random.default_rng(0).normal(3, 1, (200, 4)) * size).astype(np.float32)
    features[:, 3] = 3 * size  # constant
    inputs = keras.Input((4,))
    model = keras.Model(inputs, standardise.standardised(inputs, moments(features, range(200), flat)))
    out = np.asarray(model.predict_on_batch(features))
    np.testing.assert_allclose(out[:, :3].mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(out[:, :3].std(axis=0), 1, atol=1e-4)
    assert np.isfinite(out).all()


def test_memory_is_that_of_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standardise, "CHUNK_BYTES", 1 << 20)
    features = np.ones((4000, 1000), np.float16)  # 32 MB in float64
    tracemalloc.start()
    moments(features, range(len(features)), flat)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
