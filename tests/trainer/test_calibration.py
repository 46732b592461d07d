from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.calibration import BINS, calibration, fit_temperature, fit_temperature_of_sigmoids, scaled, scaled_sigmoids
from trainer.evaluate import evaluate
from trainer.evaluate_multi_label import evaluate_multi_label
from trainer.outcomes import outcomes_of


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def drawn(seed: int, n: int, temperature: float) -> tuple[np.ndarray, np.ndarray]:
    """Class numbers drawn from softmax(logits), and what a head says that makes its logits `temperature` times as large."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (n, 4))
    chances = softmax(logits).cumsum(axis=1)
    return (random.random((n, 1)) > chances).sum(axis=1).clip(0, 3), softmax(logits * temperature).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 200))
def test_ece_is_the_mean_gap_of_the_bins(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    stated, true = random.random(n), random.random(n) < 0.5
    gaps = 0.0
    for i in range(BINS):  # Guo's own definition: open below, closed above
        inside = (stated > i / BINS) & (stated <= (i + 1) / BINS)
        if inside.any():
            gaps += inside.mean() * abs(true[inside].mean() - stated[inside].mean())
    found = calibration(stated, true)
    assert found.ece == pytest.approx(gaps)
    assert found.counts.sum() == n == sum(part["rows"] for part in found.to_dict()["bins"])


def test_certainty_and_impossibility_have_bins() -> None:
    found = calibration(np.array([0.0, 1.0]), np.array([False, True]))
    assert (found.counts[0], found.counts[-1], found.ece) == (1, 1, 0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_a_head_is_off_by_is_found_and_mends_it(temperature: float) -> None:
    y, probabilities = drawn(0, 6000, temperature)
    assert fit_temperature(probabilities, y) == pytest.approx(temperature, rel=0.08)
    plain = evaluate([(y, probabilities)], "abcd")
    mended = plain.with_temperature(plain.fitted_temperature())
    assert mended.scaled is not None
    assert mended.scaled[0].ece < 0.03
    assert mended.scaled[1] <= plain.log_loss + 1e-6
    assert mended.to_dict()["temperature_scaled"]["temperature"] == pytest.approx(temperature, rel=0.08)
    assert (mended.accuracy, plain.scaled) == (plain.accuracy, None)


def test_no_other_temperature_has_a_lower_loss() -> None:
    y, probabilities = drawn(1, 500, 1.7)
    outcomes = outcomes_of([(y, probabilities)], 4)
    best = fit_temperature(probabilities, y)

    def loss(temperature: float) -> float:
        found = scaled(outcomes, temperature)
        assert found is not None
        return float(found.losses.mean())

    assert loss(best) <= min(loss(best * factor) for factor in (0.9, 0.99, 1.01, 1.1)) + 1e-7
    assert scaled(outcomes, 1.0).probabilities == pytest.approx(probabilities, abs=1e-6)  # type: ignore[union-attr]


def test_of_separated_items_no_more_is_claimed_than_they_can_tell() -> None:
    """The loss has no least value there: the sharper the better."""
    y = np.arange(40) % 4
    shy, sure = (softmax(np.eye(4)[y] * size).astype(np.float32) for size in (2.0, 30.0))
    outcomes = outcomes_of([(y, shy)], 4)
    mended = scaled(outcomes, fit_temperature(shy, y))
    assert mended is not None
    assert mended.losses.mean() == pytest.approx(np.log(42 / 41), rel=1e-4)
    assert fit_temperature(sure, y) == pytest.approx(1, rel=1e-3)
    said = np.where(np.eye(4)[y] > 0, 0.8, 0.2)
    temperature = fit_temperature_of_sigmoids(said, np.eye(4, dtype=bool)[y])
    assert -np.log(scaled_sigmoids(np.full((1, 1), 0.8), temperature)[0, 0]) == pytest.approx(np.log(42 / 41), rel=1e-4)


def test_sigmoids_have_a_temperature_too() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (5000, 3))
    y = random.random(logits.shape) < 1 / (1 + np.exp(-logits))
    said = (1 / (1 + np.exp(-2 * logits))).astype(np.float32)
    assert fit_temperature_of_sigmoids(said, y) == pytest.approx(2, rel=0.06)
    plain = evaluate_multi_label([(y, said)], "abc")
    mended = plain.with_temperature(plain.fitted_temperature())
    assert mended.scaled is not None
    assert mended.scaled[0].ece < 0.02 < plain.calibration.ece
    assert scaled_sigmoids(said, 1.0) == pytest.approx(said, abs=1e-6)


def test_probabilities_that_were_not_kept_are_not_scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    y, probabilities = drawn(0, 100, 1.0)
    monkeypatch.setattr("trainer.outcomes.KEPT_BYTES", 1000)
    evaluation = evaluate([(y[:50], probabilities[:50]), (y[50:], probabilities[50:])], "abcd", temperature=2.0)
    assert (evaluation.outcomes.probabilities, evaluation.scaled, evaluation.fitted_temperature()) == (None, None, None)
    assert evaluation.accuracy == evaluate([(y, probabilities)], "abcd").accuracy
