"""Weight decay, label smoothing and mixup: each by what it does to a step or a batch."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from storage.errors import UsageError
from trainer.adam_by_part import adam
from trainer.fit import fit
from trainer.options import FitOptions
from trainer.softening import Softening
from trainer.sweep_options import SweepOptions


def _stepped(decay: float, slow_rate: float = 0.0) -> tuple[list[np.ndarray], list[np.ndarray]]:  # type: ignore[type-arg]
    """Weights before and after a step with gradients of one."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, bias_initializer="ones"), keras.layers.Dense(1)])
    before = [np.asarray(weight) for weight in model.trainable_variables]
    slow = model.layers[0].trainable_variables if slow_rate else ()
    adam(model, 0.1, decay, slow, slow_rate).apply([tf.ones(weight.shape) for weight in before], model.trainable_variables)
    return before, [np.asarray(weight) for weight in model.trainable_variables]


def test_parts_have_rates_of_their_own() -> None:
    before, after = _stepped(0.0, slow_rate=0.01)
    moved = [float((a - b).mean()) for a, b in zip(before, after, strict=True)]
    assert moved == pytest.approx([0.01, 0.01, 0.1, 0.1], rel=1e-4)  # Adam's first step is its rate


def test_weight_decay_is_of_kernels_alone_and_by_their_rate() -> None:
    plain, decayed = _stepped(0.0, slow_rate=0.01), _stepped(0.5, slow_rate=0.01)
    lost = [a - b for a, b in zip(plain[1], decayed[1], strict=True)]
    np.testing.assert_allclose(lost[0], 0.5 * 0.01 * plain[0][0], atol=1e-6)
    np.testing.assert_allclose(lost[2], 0.5 * 0.1 * plain[0][2], atol=1e-6)
    assert not lost[1].any()
    assert not lost[3].any()


def _batches(y: list[int] | list[list[int]]) -> tf.data.Dataset:
    x = np.arange(len(y), dtype=np.float32)[:, None]
    return tf.data.Dataset.from_tensor_slices((x, np.array(y))).batch(len(y)).repeat(3)


def test_smoothing_spreads_a_share_over_the_classes() -> None:
    for _, y in Softening(3, smoothing=0.3).of_training(_batches([0, 2])).take(1):
        np.testing.assert_allclose(y, [[0.8, 0.1, 0.1], [0.1, 0.1, 0.8]], rtol=1e-6)
    for _, y in Softening(2, smoothing=0.2).of_training(_batches([[1, 0], [1, 1]])).take(1):
        np.testing.assert_allclose(y, [[0.9, 0.1], [0.9, 0.9]], rtol=1e-6)


def test_mixup_mixes_features_and_targets_alike_and_by_the_seed() -> None:
    soft = Softening(3, mixup=0.4, seed=7)
    first, again = (list(soft.of_training(_batches([0, 1, 2]))) for _ in range(2))
    shares = []
    for (x, y), (x2, y2) in zip(first, again, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
        np.testing.assert_allclose(y @ np.array([[0.0], [1.0], [2.0]], np.float32), x, atol=1e-6)
        np.testing.assert_allclose(np.sum(y, axis=1), 1, atol=1e-6)
        shares.append(float(y[0, 0]))
    assert len(set(shares)) == 3


def test_validation_is_never_softened() -> None:
    [(x, y)] = list(Softening(3, smoothing=0.3, mixup=0.4).of_validation(_batches([0, 2]).take(1)))
    np.testing.assert_array_equal(x, [[0], [1]])
    np.testing.assert_array_equal(y, [[1, 0, 0], [0, 0, 1]])


@pytest.mark.slow
def test_a_head_learns_with_all_of_them(separable_set: str) -> None:
    options = FitOptions("mlp", learning_rate=0.03, max_epochs=12, batch_size=64, weight_decay=0.01, label_smoothing=0.1, mixup=0.2)
    fitted = fit(separable_set, options=options)
    assert fitted.metrics["test"].accuracy > 0.95  # type: ignore[union-attr]
    assert {"accuracy", "val_accuracy"} <= set(fitted.history)


@pytest.mark.parametrize("name", ["weight_decay", "label_smoothing", "mixup"])
def test_heads_that_take_no_steps_have_none_of_them(name: str) -> None:
    with pytest.raises(UsageError, match=f"the ridge head is found exactly: it has no {name}"):
        FitOptions("ridge", **{name: 0.1})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"heads that train together have no {name}"):
        SweepOptions(FitOptions(**{name: 0.1}))  # type: ignore[arg-type]
