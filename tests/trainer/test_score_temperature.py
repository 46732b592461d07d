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
    t, loss, _ = temperatures(softmax(y), [scores] if before is None else [scores * np.float32(before), scores])[-1]
    assert loss / len(y) == pytest.approx(loss_at(t, y, scores), rel=1e-5)
    assert loss_at(t, y, scores) < min(loss_at(t * 1.01, y, scores), loss_at(t / 1.01, y, scores))


@pytest.mark.parametrize("items", [2, 50, 3000])
def test_items_that_are_all_right_are_believed_as_far_as_so_many_can_tell(items: int) -> None:
    y, scores = drawn(items, 0.9)
    for t, loss, _ in temperatures(softmax(y), [scores, scores]):
        assert loss_at(t, y, scores) == pytest.approx(loss / items, rel=1e-4)
        assert loss / items == pytest.approx(least_loss(items), rel=0.01)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("classes", [2, CLASSES])
def test_scores_that_point_the_wrong_way_leave_nothing_certain_and_their_order(scale: float, classes: int) -> None:
    """Whatever their scale, and what they have in common: of 1,280 features they are so large that 0.001 of them is certain, and wrong."""
    y, scores = drawn(30, -0.5)
    y, scores = y % classes, (scores[:, :classes] + 3) * np.float32(scale)
    scores[np.arange(30), y] -= np.float32(0.5 * scale)
    first, (wrong, loss, _), last = temperatures(softmax(y, classes), [-scores, scores, -scores])
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
    ((factor, loss, _),) = temperatures(Sigmoids(tf.constant(y), tf.ones(y.shape)), [scores])
    assert loss / 30 == pytest.approx(np.log(2), rel=1e-3)
    assert np.ptp(tf.sigmoid(scores * np.float32(factor))) > 1e-4


def told_loss(items: int) -> float:
    """Summed, of items that scores tell apart."""
    return items * least_loss(items)


@pytest.mark.parametrize("scale", [1e-5, 1.0, 1e5])
@pytest.mark.parametrize("classes", [2, 3, CLASSES])
@pytest.mark.parametrize("tied", [1, 15, 29])
def test_of_items_whose_scores_are_all_equal_nothing_is_claimed(tied: int, classes: int, scale: float) -> None:
    """The others are right: they are believed as far as so many can tell, and no further because there are more items."""
    y = np.arange(30) % classes
    scores = (np.eye(classes, dtype=np.float32)[y] + np.float32(0.1)) * np.float32(scale)
    scores[:tied] = 3 * scale
    ((factor, loss, *_),) = temperatures(softmax(y, classes), [scores])
    assert loss == pytest.approx(30 * loss_at(factor, y, scores), rel=1e-5)
    assert loss - tied * np.log(classes) == pytest.approx(told_loss(30 - tied), rel=0.01)


@pytest.mark.parametrize("apart", [0.0, 1e-7])
def test_classes_that_have_one_score_share_what_is_theirs(apart: float) -> None:
    """It may differ by what rounding leaves: the means of two classes of one vector do."""
    y = np.arange(300) % 3
    scores = np.eye(3, dtype=np.float32)[y]
    scores[:, :2] = scores[:, :2].sum(axis=1, keepdims=True)
    scores[:, 1] *= np.float32(1 + apart)
    if apart:  # terms that cancel leave the rounding of what they were
        scores[:6] *= np.float32(0.01)
        scores[:6, 1] += np.float32(apart)
    ((factor, loss, *_),) = temperatures(softmax(y, 3), [scores])
    assert loss == pytest.approx(300 * loss_at(factor, y, scores), rel=1e-5)
    assert loss - 200 * np.log(2) == pytest.approx(told_loss(300), rel=0.01)
    assert np.exp(factor) == pytest.approx(300, rel=0.02) or apart, "of 200 items one class is behind, of 100 two are"


def test_where_little_can_be_told_apart_less_is_claimed() -> None:
    """Of one item, that it is of nine classes in ten: half of all, as of one item of two classes, would be more than it had before."""
    scores = np.append(np.ones(9), 0).astype(np.float32)[None]
    y = np.zeros(1, np.int64)
    ((factor, loss, *_),) = temperatures(softmax(y), [scores])
    assert np.log(9) < loss < np.log(10)
    assert loss == pytest.approx(loss_at(factor, y, scores), rel=1e-5)


def test_a_column_of_zeros_keeps_its_loss() -> None:
    targets = (np.arange(90).reshape(30, 3) % 2).astype(np.float32)
    scores = 2 * targets - 1
    scores[:, 1] = 0
    ((factor, loss, *_),) = temperatures(Sigmoids(tf.constant(targets), tf.ones(targets.shape)), [scores])
    assert loss == pytest.approx(30 * np.log(2) + 60 * np.log1p(np.exp(-factor)), rel=1e-5)
    assert loss - 30 * np.log(2) == pytest.approx(2 * told_loss(30), rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [1e-4, 1e-2, 1.0])
def test_one_item_that_is_wrong_by_little_is_no_reason_to_be_surer_than_so_many_can_tell(ahead: float) -> None:
    y, scores = drawn(3000, 2)
    scores[0, y[0] - 1] = scores[0, y[0]] + np.float32(ahead)
    ((factor, loss, *_),) = temperatures(softmax(y), [scores])
    assert loss == pytest.approx(3000 * loss_at(factor, y, scores), rel=1e-4)
    best = min(loss_at(t, y, scores) for t in np.geomspace(0.1, 100, 1000))
    assert loss == pytest.approx(max(3000 * best, told_loss(3000)), rel=0.01)


@pytest.mark.parametrize("score", [0.0, 7.0])
def test_scores_that_are_all_equal_have_the_loss_of_chance(score: float) -> None:
    ((factor, loss, *_),) = temperatures(softmax(np.arange(5)), [np.full((5, CLASSES), score, np.float32)])
    assert factor > 0
    assert loss == pytest.approx(5 * np.log(CLASSES))
