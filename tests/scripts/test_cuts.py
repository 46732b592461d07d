"""The cut planner counts what `train --strategy hybrid` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from extractor.cut_plan import HybridWork
from tests.trainer.conftest import Row, write_set_to
from trainer.fit import fit
from trainer.options import FitOptions
from trainer.tails import Tail

SHAPE, IMAGES, EPOCHS = (2, 2, 3), 100, 3
SEEN = {True: 0, False: 0}  # rows, by whether they were trained on


@keras.saving.register_keras_serializable("tests")
class Counting(keras.layers.Layer):  # type: ignore[misc]
    """Counts the rows that pass."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.supports_jit = False

    def call(self, x: Any, training: bool | None = None) -> Any:
        def count(rows: Any) -> Any:
            SEEN[bool(training)] += int(rows)
            return rows

        with tf.control_dependencies([tf.numpy_function(count, [tf.shape(x)[0]], tf.int32)]):
            return tf.identity(x)


@pytest.mark.slow
def test_a_plan_counts_the_images_that_train_puts_through_the_tail(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [Row(f"{i:03d}.png", random.normal(i % 2, 0.3, SHAPE).astype(np.float32), "ab"[i % 2]) for i in range(IMAGES)]
    uri = write_set_to(f"{tmp_path}/team/set", rows, "float32")
    keras.utils.set_random_seed(0)
    inputs = keras.Input(SHAPE)
    tail = Tail(keras.Model(inputs, keras.layers.Conv2D(4, 1)(Counting()(inputs))), {"cut": "here"})
    SEEN.update({True: 0, False: 0})
    fitted = fit(uri, options=FitOptions(learning_rate=1e-4, max_epochs=EPOCHS, patience=EPOCHS), tail=tail)
    assert (fitted.epochs, fitted.chosen["head_epochs"]) == (EPOCHS, EPOCHS), "each epoch was better, so all are done again"
    work = HybridWork.of(IMAGES, fitted.options.test, fitted.options.validation, EPOCHS)
    assert fitted.rows == {"train": work.train, "validation": work.validation, "test": IMAGES - work.train - work.validation}
    assert {True: work.trained, False: work.forward} == SEEN
