"""The temperature that scores become probabilities by, against the least loss in float64."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf

from trainer.calibration import least_loss
from trainer.linear_losses import Sigmoids, Softmax
from trainer.score_temperature import temperatures

CLASSES = 10


def drawn(items: int, ahead: float, seed: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, items)
    scores = random.standard_normal((items, CLASSES)).astype(np.float32) / 10
    scores[np.arange(items), y] += ahead
    return y, scores


def softmax(y: npt.NDArray[np.int64], classes: int = CLASSES) -> Softmax:
    return Softmax(tf.constant(y), tf.ones(len(y)), classes)


def loss_at(t: float, y: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> float:
    z = scores.astype(np.float64) * t
    top = z.max(axis=1, keepdims=True)
    return float((np.log(np.exp(z - top).sum(axis=1)) + top[:, 0] - z[np.arange(len(y)), y]).mean())


# From 19% right to 99.8%: of the last nearly all of the slope at 0 is gone long before the least loss is reached.
@pytest.mark.parametrize("ahead", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("before", [None, 0.01, 1000.0])
def test_no_other_temperature_has_a_lower_loss(ahead: float, before: float | None) -> None:
    """Whatever that of the head before was."""
    y, scores = drawn(3000, ahead)
    t, loss = temperatures(softmax(y), [scores] if before is None else [scores * np.float32(before), scores])[-1]
    assert loss / len(y) == pytest.approx(loss_at(t, y, scores), rel=1e-5)
    assert loss_at(t, y, scores) < min(loss_at(t * 1.01, y, scores), loss_at(t / 1.01, y, scores))


@pytest.mark.parametrize("items", [2, 50, 3000])
def test_items_that_are_all_right_are_believed_as_far_as_so_many_can_tell(items: int) -> None:
    y, scores = drawn(items, 0.9)
    for t, loss in temperatures(softmax(y), [scores, scores]):
        assert loss_at(t, y, scores) == pytest.approx(loss / items, rel=1e-4)
        assert loss / items == pytest.approx(least_loss(items), rel=0.01)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("classes", [2, CLASSES])
def test_scores_that_point_the_wrong_way_leave_nothing_certain_and_their_order(scale: float, classes: int) -> None:
    """Whatever their scale, and what they have in common: of 1,280 features they are so large that 0.001 of them is certain, and wrong."""
    y, scores = drawn(30, -0.5)
    y, scores = y % classes, (scores[:, :classes] + 3) * np.float32(scale)
    scores[np.arange(30), y] -= np.float32(0.5 * scale)
    first, (wrong, loss), last = temperatures(softmax(y, classes), [-scores, scores, -scores])
    assert first[0] * scale > 1 < last[0] * scale
    assert loss / 30 == pytest.approx(np.log(classes), rel=1e-3)
    assert loss / 30 == pytest.approx(loss_at(wrong, y, scores), rel=1e-6)
    logits = tf.constant(scores * np.float32(wrong))
    assert (tf.argsort(tf.nn.softmax(logits), 1).numpy() == np.argsort(scores, 1)).all()


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_outputs_that_point_the_wrong_way_leave_nothing_certain(scale: float) -> None:
    random = np.random.default_rng(0)
    y = (random.random((30, 1)) < 0.5).astype(np.float32)
    scores = ((0.5 - y) * scale).astype(np.float32)
    ((factor, loss),) = temperatures(Sigmoids(tf.constant(y), tf.ones(y.shape)), [scores])
    assert loss / 30 == pytest.approx(np.log(2), rel=1e-3)
    assert np.ptp(tf.sigmoid(scores * np.float32(factor))) > 1e-4
