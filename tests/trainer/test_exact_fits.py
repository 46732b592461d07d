"""The exact heads as fits: what validation chooses, and models that say what scikit-learn says."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from storage.errors import UsageError
from tests.trainer.test_logistic import Array, made, standardised
from trainer import exact_fits
from trainer.design import Design
from trainer.exact_fits import ClassMeanFit, FitData, LogisticFit, RidgeFit, strengths
from trainer.measured import measure, measured_by
from trainer.options import FitOptions
from trainer.rows import MemoryRows
from trainer.task import task_of

pytest.importorskip("sklearn")
from sklearn.neighbors import NearestCentroid

pytestmark = pytest.mark.slow

CLASSES = ("a", "b", "c", "d", "e")


def fit_data(x: Array, y: Array, views: int = 1, **options: Any) -> FitData:
    chosen = FitOptions(**options).for_features(x.shape[1:])
    classes = y.shape[1] if y.ndim == 2 else int(y.max()) + 1
    return FitData(MemoryRows(x, views), y, CLASSES[:classes], task_of(chosen.multi_label), chosen)


def parts(n: int) -> tuple[Array, Array]:
    return np.arange(0, n * 3 // 4), np.arange(n * 3 // 4, n)


def test_strengths_are_round() -> None:
    assert strengths(0.01, 2.0) == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0]
    assert strengths(3e-4, 1e-3) == [5e-4, 1e-3]


@pytest.mark.parametrize(("kind", "head", "chosen"), [(LogisticFit, "logistic", "c"), (RidgeFit, "ridge", "alpha")])
def test_validation_chooses_the_strength(kind: Any, head: str, chosen: str) -> None:
    x, y = made(80, 3)
    train, validation = parts(80)
    first = kind(fit_data(x, y, head=head)).with_validation(train, validation)
    tried, losses = first.path[chosen], first.path["val_loss"]
    assert first.chosen[chosen] == tried[int(np.argmin(losses))]
    assert len(tried) == len(losses) > 5
    p = np.asarray(first.model.predict_on_batch(x[validation]), np.float64)
    assert -np.log(p[np.arange(len(validation)), y[validation]]).mean() == pytest.approx(min(losses), rel=1e-4)


@pytest.mark.parametrize(
    ("head", "classes", "multi_label"),
    [(head, classes, False) for head in ("logistic", "ridge", "class-mean") for classes in (4, 2)]
    + [("logistic", 3, True), ("ridge", 3, True)],
)
def test_what_a_fit_says_of_validation_is_what_its_head_says(head: str, classes: int, multi_label: bool) -> None:
    """So that nobody asks the head again."""
    x, y = made(80, max(classes, 3))
    y = np.stack([y > 0, y > 1, y == 1], 1).astype(np.uint8) if multi_label else y % classes
    data, (train, validation) = fit_data(x, y, head=head, multi_label=multi_label), parts(80)
    kind: Any = {"logistic": LogisticFit, "ridge": RidgeFit, "class-mean": ClassMeanFit}[head]
    first = kind(data).with_validation(train, validation[::-1].copy())
    told, asked = measured_by(first.validated, data), measure(first.model, data, validation)
    assert sorted(told.numbers.tolist()) == validation.tolist()
    order = np.argsort(told.numbers)
    np.testing.assert_allclose(told.evaluation.losses[order], asked.evaluation.losses, rtol=1e-3, atol=1e-6)
    assert told.evaluation.log_loss == pytest.approx(asked.evaluation.log_loss, rel=1e-4)
    assert kind(data).with_validation(train, np.arange(0)).validated is None


@pytest.mark.parametrize("head", ["logistic", "ridge", "class-mean"])
def test_far_off_zero_the_head_itself_is_asked(head: str) -> None:
    """Its layer rounds otherwise than the fit: at a million spreads from zero probabilities were told with an error of 0.03."""
    x, y = made(80, 3)
    kind: Any = {"logistic": LogisticFit, "ridge": RidgeFit, "class-mean": ClassMeanFit}[head]
    assert kind(fit_data(x + 1e5, y, head=head)).with_validation(*parts(80)).validated is None
    assert kind(fit_data(x + 10, y, head=head)).with_validation(*parts(80)).validated


@pytest.mark.parametrize("head", ["logistic", "ridge", "class-mean"])
def test_validation_items_that_are_no_numbers_are_named(head: str) -> None:
    x, y = made(80, 3)
    x[70, 2] = np.nan
    kind: Any = {"logistic": LogisticFit, "ridge": RidgeFit, "class-mean": ClassMeanFit}[head]
    options = {} if head == "class-mean" else {"class_weights": "balanced"}  # of ridge: then validation is in no sum
    with pytest.raises(UsageError, match="1 items have features that are NaN or infinite: item 70"):
        kind(fit_data(x, y, head=head, **options)).with_validation(*parts(80))


def test_a_refit_of_many_more_rows_than_were_trained_on_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the spectrum of the few it took 965 steps for 70, and with less to hold it more than there may be."""
    random = np.random.default_rng(0)
    y = random.integers(0, 5, 1200)
    x = (random.normal(0, 1, (5, 40))[y] + random.normal(0, 3, (1200, 40))).astype(np.float32)
    monkeypatch.setattr("trainer.logistic.MAX_ITERATIONS", 300)
    fitting = LogisticFit(fit_data(x, y, head="logistic", c=100.0))
    first = fitting.with_validation(np.arange(10), np.arange(10, 1200))
    assert fitting.refit(np.arange(1200), first)


def test_no_more_scores_are_held_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = made(80, 3)
    at_once = RidgeFit(fit_data(x, y, head="ridge")).with_validation(*parts(80))
    monkeypatch.setattr(exact_fits, "SCORES_BYTES", 4 * 20 * 3 * 4)
    in_fours = RidgeFit(fit_data(x, y, head="ridge")).with_validation(*parts(80))
    assert in_fours.chosen == pytest.approx(at_once.chosen, rel=2e-3)
    np.testing.assert_allclose(in_fours.path["val_loss"], at_once.path["val_loss"], rtol=1e-4)


@pytest.mark.parametrize(("classes", "options"), [(4, {}), (4, {"class_weights": "balanced"}), (2, {}), (3, {"multi_label": True})])
def test_training_goes_on_where_logistic_ended(classes: int, options: dict[str, Any]) -> None:
    """The penalty is a part of the model. Without it fine-tuning would let the weights of a warm head grow, and overfit."""
    x, y = made(80, max(classes, 3))
    y = np.stack([y > 0, y > 1, y == 1], 1).astype(np.uint8) if options.get("multi_label") else y % classes
    data = fit_data(x, y, head="logistic", c=0.1, **options)
    model = LogisticFit(data).with_validation(np.arange(80), np.arange(0)).model
    assert model is not None
    logits = keras.Model(model.input, model.layers[-1].input)
    items = data.task.loss(data.class_weights(np.arange(80)))
    with tf.GradientTape() as tape:
        plain = keras.ops.mean(items(y, logits(x)))
        loss = plain + sum(logits.losses)
    gradients = tape.gradient(loss, logits.trainable_weights)
    assert max(float(np.abs(gradient).max()) for gradient in gradients) < 1e-3
    assert float(loss) > 1.05 * float(plain)


@pytest.mark.parametrize("head", ["logistic", "ridge"])
def test_a_refit_is_a_fit_of_both(head: str) -> None:
    x, y = made(80, 3)
    train, validation = parts(80)
    kind: Any = {"logistic": LogisticFit, "ridge": RidgeFit}[head]
    fitting = kind(fit_data(x, y, head=head))
    first = fitting.with_validation(train, validation)
    again = kind(fit_data(x, y, head=head)).refit if head == "logistic" else None
    refitted = np.asarray(fitting.refit(np.arange(80), first).predict_on_batch(x))
    if again:
        np.testing.assert_allclose(refitted, np.asarray(again(np.arange(80), first).predict_on_batch(x)), atol=1e-3)
    else:
        alone = fitting._sums(np.arange(80))
        from trainer.ridge import Ridge

        ridge = Ridge(*alone)
        expected = fitting.data.model(ridge.moments, ridge.one(first.chosen["alpha"]).times(first.chosen["temperature"]))
        np.testing.assert_allclose(refitted, np.asarray(expected.predict_on_batch(x)), atol=1e-4)


def test_the_nearest_class_mean_is_that_of_scikit_learn() -> None:
    x, y = made(120, 4)
    train, validation = parts(120)
    first = ClassMeanFit(fit_data(x, y, head="class-mean")).with_validation(train, validation)
    z = standardised(x, Design(MemoryRows(x), train).moments)
    theirs = NearestCentroid().fit(z[train], y[train]).predict(z)
    np.testing.assert_array_equal(np.asarray(first.model.predict_on_batch(x)).argmax(axis=1), theirs)


@pytest.mark.parametrize(("head", "multi_label"), [("class-mean", False), ("ridge", False), ("ridge", True)])
def test_where_validation_is_separated_probabilities_are_not_certain(head: str, multi_label: bool) -> None:
    y = np.arange(80) % 2
    x = (np.random.default_rng(0).standard_normal((80, 400)) / 4 + 3 * y[:, None]).astype(np.float32)
    targets = np.eye(2, dtype=np.uint8)[y] if multi_label else y
    kind: Any = {"class-mean": ClassMeanFit, "ridge": RidgeFit}[head]
    train, validation = parts(80)
    first = kind(fit_data(x, targets, head=head, multi_label=multi_label)).with_validation(train, validation)
    p = np.asarray(first.model.predict_on_batch(x[validation]), np.float64)[np.arange(len(validation)), y[validation]]
    assert -np.log(p).mean() == pytest.approx(np.log((len(validation) + 2) / (len(validation) + 1)), rel=0.01)


@pytest.mark.parametrize("head", ["class-mean", "ridge"])
def test_classes_that_no_feature_tells_apart_share_their_probability(head: str) -> None:
    """Of strengths that tell apart all else, the largest is taken."""
    y = np.arange(303) % 3
    x = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)[(y == 2).astype(int)]
    kind: Any = {"class-mean": ClassMeanFit, "ridge": RidgeFit}[head]
    first = kind(fit_data(x, y, head=head)).with_validation(*parts(303))
    p = np.asarray(first.model.predict_on_batch(x[:3]), np.float64)
    np.testing.assert_allclose(p[0], p[1], rtol=1e-4)
    assert p[0, 0] == pytest.approx(0.5, abs=0.03)
    assert p[2, 2] > 0.97
    if head == "ridge":
        assert first.chosen["alpha"] == max(first.path["alpha"])
        assert np.ptp(first.path["val_loss"]) < 1e-6


@pytest.mark.parametrize(("kind", "head"), [(RidgeFit, "ridge"), (ClassMeanFit, "class-mean")])
def test_views_count_as_one_item_together(kind: Any, head: str) -> None:
    """Equal views change nothing."""
    x, y = made(60, 3)
    plain = kind(fit_data(x, y, head=head)).with_validation(*parts(60))
    views = kind(fit_data(np.repeat(x, 2, axis=0), y, 2, head=head)).with_validation(*parts(60))
    assert plain.chosen == pytest.approx(views.chosen, rel=1e-3)
    np.testing.assert_allclose(plain.model.predict_on_batch(x), views.model.predict_on_batch(x), atol=2e-3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"head": "ridge", "c": 1.0}, "the ridge head has no c: it takes alpha"),
        ({"head": "class-mean", "k": 1}, "the class-mean head has no k: there is nothing to set"),
        ({"head": "linear", "metric": "euclid"}, "the linear head has no metric: it takes c"),
        ({"head": "knn", "metric": "manhattan"}, "unknown metric 'manhattan': expected one of cosine, euclid"),
        ({"head": "logistic", "map": "attention"}, "the logistic head learns nothing within a map: --map must be one of flatten, avg, max"),
        ({"head": "logistic", "learning_rate": 0.1}, "the logistic head is found exactly: it has no learning_rate"),
        ({"head": "knn", "class_weights": "balanced"}, "the knn head has no loss that classes could weigh in"),
        ({"head": "class-mean", "multi_label": True}, "the class-mean head gives an item one class"),
        ({"head": "ridge", "multi_label": True, "class_weights": "balanced"}, "a Gram matrix of its own: use the head logistic"),
        ({"head": "knn", "k": 1.5}, "k must be a whole number"),
    ],
)
def test_what_a_head_has_not_is_told(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        FitOptions(**options)
