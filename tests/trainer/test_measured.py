from __future__ import annotations

import hashlib

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.digests import Words, words_of
from tests.trainer.test_exact_fits import fit_data
from trainer.evaluate import evaluate
from trainer.measured import calibrated, digest_of_tested, measure

CLASSES = ["coat", "hat", "shoe"]


def digests(count: int) -> Words:
    return words_of([hashlib.sha256(bytes([i])).digest() for i in range(count)])


@given(st.permutations(range(6)))
def test_what_was_tested_has_one_digest_in_any_order(order: list[int]) -> None:
    images, y = digests(6), np.array([0, 1, 2, 0, 1, 2])
    assert digest_of_tested(images[order], y[order], CLASSES) == digest_of_tested(images, y, CLASSES)


def test_other_items_other_labels_and_other_classes_are_other_questions() -> None:
    images, y = digests(4), np.array([0, 1, 2, 0])
    told = {
        digest_of_tested(images, y, CLASSES),
        digest_of_tested(images[:3], y[:3], CLASSES),
        digest_of_tested(images, np.array([1, 1, 2, 0]), CLASSES),
        digest_of_tested(images, y, ["coat", "hat", "boot"]),
        digest_of_tested(images, np.eye(3, dtype=np.uint8)[y], CLASSES),
    }
    assert len(told) == 5


def test_the_digest_stays_what_it_was() -> None:
    """Heads in the store are told apart by it."""
    assert (
        digest_of_tested(digests(4), np.array([0, 1, 2, 0]), CLASSES) == "9ecb85b7e3d8dd168803e4cc39ee59c62030a913b00cf6867f1292a245de7e71"
    )


def test_the_temperature_of_validation_is_that_of_all() -> None:
    random = np.random.default_rng(0)
    y, probabilities = random.integers(0, 3, 50), random.dirichlet(np.ones(3), 50)
    metrics = {name: evaluate([(y, probabilities)], CLASSES) for name in ("train", "validation", "test")}
    found = calibrated(metrics)
    assert len({evaluation.temperature for evaluation in found.values()}) == 1
    assert found["test"].temperature == metrics["validation"].fitted_temperature()
    assert calibrated({"test": metrics["test"]})["test"].temperature is None


@pytest.mark.slow
def test_heads_measured_one_after_the_other_are_no_matter_to_warn_of(caplog: pytest.LogCaptureFixture) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(30, 4)).astype(np.float16), random.integers(0, 3, 30)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))
    expected = np.asarray(model.predict_on_batch(x.astype(np.float32)))
    for _ in range(8):
        found = measure(model, fit_data(x, y, head="ridge"), np.arange(30))
        np.testing.assert_allclose(found.evaluation.outcomes.probabilities, expected, rtol=1e-6)  # type: ignore[arg-type, union-attr]
    assert "retracing" not in caplog.text
