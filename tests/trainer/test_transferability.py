"""The two scores of features against labels: LogME and the H-score with shrinkage."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.h_score import h_score
from trainer.logme import logme

Array = npt.NDArray[np.float64]


def greatest_evidence(features: Array, target: Array) -> float:
    """Slow and direct: y is normal with covariance (I + F F' / ratio) / beta, whose density at the best beta is looked for on a grid of
    ratios that is made finer."""
    rows, gram = len(target), features @ features.T

    def log_density(log_ratio: float) -> float:
        shape = np.eye(rows) + gram * np.exp(-log_ratio)
        beta = rows / (target @ np.linalg.solve(shape, target))
        return float(-0.5 * (rows * np.log(2 * np.pi / beta) + np.linalg.slogdet(shape)[1] + rows))

    low, high = -12.0, 20.0
    for _ in range(3):
        tried = np.linspace(low, high, 129)
        best = int(np.argmax([log_density(each) for each in tried]))
        low, high = tried[max(0, best - 1)], tried[min(128, best + 1)]
    return log_density(tried[best])


@pytest.mark.slow
@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([(30, 5), (24, 24), (16, 40)]), st.integers(2, 4))
def test_logme_is_the_greatest_evidence_whichever_side_is_longer(seed: int, shape: tuple[int, int], classes: int) -> None:
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(shape[0]) % classes)
    features = random.normal(size=(classes, shape[1]))[y] + 2 * random.normal(size=shape)
    found = np.mean([greatest_evidence(features, (y == c).astype(float)) for c in range(classes)]) / shape[0]
    assert logme(features, y, classes) == pytest.approx(found, abs=2e-4)


def test_logme_has_the_papers_fixed_point() -> None:
    """With D x D matrices, as the paper writes it."""
    from trainer.logme import maximum_evidence

    random = np.random.default_rng(1)
    features, target = random.normal(size=(50, 6)), (random.random(50) < 0.5).astype(float)
    alpha = beta = 1.0
    for _ in range(2000):
        inverse = np.linalg.inv(alpha * np.eye(6) + beta * features.T @ features)
        mean = beta * inverse @ features.T @ target
        gamma = 6 - alpha * np.trace(inverse)
        alpha, beta = gamma / (mean @ mean), (50 - gamma) / np.sum((features @ mean - target) ** 2)
    axes, lengths, _ = np.linalg.svd(features, full_matrices=False)
    found = maximum_evidence(lengths**2, axes.T @ target, float(target @ target), 50)
    assert (found.alpha, found.beta) == pytest.approx((alpha, beta), rel=1e-4)


def test_labels_that_are_fitted_exactly_and_features_of_zero_have_a_score() -> None:
    y = np.arange(12) % 3
    assert np.isfinite(logme(np.eye(3)[y] * 1e3, y, 3))
    assert np.isfinite(logme(np.random.default_rng(0).normal(size=(12, 40)), y, 3))
    assert np.isfinite(logme(np.zeros((12, 4)), y, 3))
    assert h_score(np.zeros((12, 4)), y, 3) == 0


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([(40, 5), (20, 20), (15, 60)]), st.floats(0, 3))
def test_the_h_score_is_that_of_the_shrunk_covariance(seed: int, shape: tuple[int, int], apart: float) -> None:
    covariance = pytest.importorskip("sklearn.covariance", reason="scikit-learn is not installed")
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(shape[0]) % 3)
    features = apart * random.normal(size=(3, shape[1]))[y] + random.normal(size=shape)
    fitted = covariance.LedoitWolf().fit(features)
    centred = features - features.mean(axis=0)
    means = np.stack([centred[y == c].mean(axis=0) for c in range(3)])[y]
    wanted = np.trace(np.linalg.pinv(fitted.covariance_) @ ((1 - fitted.shrinkage_) * means.T @ means / shape[0]))
    assert h_score(features, y, 3) == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def test_both_scores_prefer_the_features_that_tell_the_classes_apart() -> None:
    random = np.random.default_rng(0)
    y = np.arange(120) % 4
    noise, centres = random.normal(size=(120, 30)), random.normal(size=(4, 30))
    for score in (logme, h_score):
        values = [score(noise + apart * centres[y], y, 4) for apart in (0.0, 0.3, 1.0, 3.0)]
        assert values == sorted(values)
