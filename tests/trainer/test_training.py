"""Steps over batches: those of Keras' own loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from trainer.features import LabelledFeatures
from trainer.options import FitOptions
from trainer.room import aligned
from trainer.solver import Solver, softening_of
from trainer.task import task_of
from trainer.training import values

pytestmark = pytest.mark.slow

ITEMS, CLASSES, EPOCHS = 150, 3, 4


def solver(multi_label: bool, **options: Any) -> Solver:
    random = np.random.default_rng(0)
    y = random.integers(0, 2, (ITEMS, CLASSES)).astype(np.uint8) if multi_label else random.integers(0, CLASSES, ITEMS)
    x = random.normal(size=(ITEMS, 6)) + (y if multi_label else np.eye(CLASSES)[y]) @ random.normal(size=(CLASSES, 6))
    unknown: Any = None
    data = LabelledFeatures(y, tuple("abc"), unknown, unknown, aligned(x.astype(np.float16)), 1)
    chosen = FitOptions(**{"batch_size": 32, "max_epochs": EPOCHS, "patience": EPOCHS, "learning_rate": 0.01, **options})
    return Solver(data, task_of(multi_label), chosen.for_features((6,)))


@pytest.mark.parametrize(
    ("multi_label", "options"),
    [
        (False, {}),
        (False, {"class_weights": "balanced", "head": "mlp", "hidden": (8,), "dropout": 0.5}),
        (False, {"label_smoothing": 0.1, "mixup": 0.3, "weight_decay": 0.01}),
        (True, {}),
        (True, {"class_weights": "balanced", "label_smoothing": 0.1}),
    ],
    ids=["plain", "weights and dropout", "softened", "multi-label", "multi-label, softened"],
)
def test_weights_and_curves_are_those_of_fit(multi_label: bool, options: dict[str, Any]) -> None:
    ours = solver(multi_label, **options)
    train, validation = np.arange(100), np.arange(100, ITEMS)
    model = ours.compiled(train)
    progress, curves = ours._training.validated(model, train, validation)
    assert progress.epoch == EPOCHS

    theirs = ours.compiled(train)
    theirs.compile(theirs.optimizer, theirs.loss, metrics=ours.task.metrics, jit_compile=False)
    softening = softening_of(ours.options, CLASSES)
    shuffled = softening.of_training(ours._shuffled(train, 0))
    judged = softening.of_validation(ours.stream(validation))
    best, history = values(theirs), dict[str, list[float]]()
    for epoch in range(EPOCHS):
        batches = shuffled.skip(4 * epoch).take(4).apply(tf.data.experimental.assert_cardinality(4))
        for name, found in theirs.fit(batches, validation_data=judged, verbose=0, shuffle=False).history.items():
            history.setdefault(name, []).extend(found)
        if history["val_loss"][-1] == min(history["val_loss"]):
            best = values(theirs)

    for mine, other in zip(values(model), best, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert sorted(curves) == sorted(history)
    for name, found in history.items():
        np.testing.assert_allclose(curves[name], found, rtol=1e-6)
