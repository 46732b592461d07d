"""Hybrid heads in a sweep: each is the head of `train`, whatever the rungs, and fewer layers are a cut nearer to the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from storage.errors import UsageError
from tests.trainer.conftest import Row, write_set_to
from trainer.fit import fit
from trainer.options import FitOptions
from trainer.prepared import prepare
from trainer.sweep import sweep
from trainer.sweep_options import Range, SweepOptions
from trainer.sweep_plan import Trial
from trainer.sweep_split import split_for_sweep
from trainer.sweep_tails import TailWork, hybrid_axes
from trainer.tail_fit import TailFit
from trainer.tails import HYBRID, Tail

SHAPE = (3, 3, 4)
BASE = FitOptions(learning_rate=0.01, tail_learning_rate=0.003, max_epochs=3, patience=2, batch_size=32)
RANDOM = FitOptions("mlp", hidden=(4,), dropout=0.3, mixup=0.3, label_smoothing=0.1, weight_decay=0.01, train_batch_norm=True)
WITH_ALL = replace(RANDOM, learning_rate=0.01, tail_learning_rate=0.003, max_epochs=3, batch_size=32)


def make_tail() -> Tail:
    """Two convolutions, each with dropout behind it; BatchNorm and ReLU at the end."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(SHAPE)
    for name in ("first", "second"):
        x = keras.layers.Dropout(0.4, name=f"{name}_dropout")(keras.layers.Conv2D(5, 2, padding="same", name=name)(x))
    x = keras.layers.ReLU(name="end")(keras.layers.BatchNormalization(name="norm")(x))
    return Tail(keras.Model(inputs, x), {"cut": "somewhere", "parameters": 10})


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory, separable_rows: Callable[..., list[Row]]) -> str:
    random = np.random.default_rng(0)
    rows = [replace(row, embedding=row.embedding + random.normal(0, 2, SHAPE)) for row in separable_rows(24, SHAPE)]
    return write_set_to(f"{tmp_path_factory.mktemp('store')}/team/maps", rows, "float32")


def work_of(uri: str, options: FitOptions) -> TailWork:
    tail = make_tail()
    prepared = prepare(uri, None, options, tail)
    split = split_for_sweep(prepared.feature_set.items, prepared.labelled.joined, options.split, [0])
    return TailWork(TailFit(prepared.labelled, prepared.data, tail), split, [prepared.options], [0])


@pytest.mark.slow
def test_rung_by_rung_a_candidate_is_the_head_of_train(uri: str) -> None:
    """Of all layers by their number, beside those that `train` takes where none is said."""
    work, trial, told = work_of(uri, replace(WITH_ALL, train_last=6)), Trial(0, 0), []
    [state] = work.fit([trial], [None], 1, told.append)
    [state] = work.fit([trial], [state], 3, told.append)
    assert told == [1, 2, 3]
    prepared = prepare(uri, None, WITH_ALL, make_tail())
    parts = [prepared.split.positions(name) for name in ("train", "validation")]
    first = prepared.fitting().with_validation(*parts)
    assert first.model is not None
    assert state.progress.history["val_loss"] == first.curves["val_loss"]
    assert (state.progress.kept_epoch, state.progress.head_epochs) == tuple(first.chosen.values())
    for a, b in zip(work.model(trial, state.best).get_weights(), first.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_trains_is_told() -> None:
    tail = make_tail()
    assert tail.told(FitOptions()) == {**tail.about, "parameters_trained": 85 + 105}
    for last, parameters in ((0, 0), (4, 105), (6, 85 + 105)):
        assert tail.told(FitOptions(train_last=last)) == {**tail.about, "train_last": last, "parameters_trained": parameters}


@pytest.mark.slow
def test_no_layer_is_the_head_on_what_the_frozen_tail_gives(uri: str, tmp_path: Path) -> None:
    tail, options = make_tail(), replace(BASE, train_last=0, tail_learning_rate=None, batch_size=None, max_epochs=10)
    hybrid = fit(uri, options=options, tail=tail)
    ends, prepared = work_of(uri, options).base.ends, prepare(uri, None, options, tail)
    keys = prepared.feature_set.columns("key")["key"].to_pylist()
    labels = [prepared.labelled.classes[number] for number in prepared.labelled.y]
    pooled = write_set_to(
        f"{tmp_path}/team/ends", [Row(key, end, label) for key, end, label in zip(keys, ends, labels, strict=True)], "float32"
    )
    plain = fit(pooled, options=replace(options, train_last=None))
    assert (hybrid.epochs, hybrid.chosen["head_epochs"]) == (0, plain.epochs)
    x = prepared.labelled.features
    np.testing.assert_allclose(hybrid.model.predict_on_batch(x), plain.model.predict_on_batch(np.asarray(ends)), atol=1e-5)
    for a, b in zip(tail.model.get_weights(), hybrid.model.get_weights()[: len(tail.model.weights)], strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_layers_compute_as_before_a_cut() -> None:
    tail, x = make_tail(), np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)
    part = keras.Model(tail.model.input, tail.model.get_layer("first_dropout").output)
    fresh = tail.fresh(train_last=4)  # the second convolution and what is behind it
    frozen = keras.Model(fresh.input, fresh.get_layer("first_dropout").output)
    np.testing.assert_array_equal(frozen(x, training=True), part(x, training=False))
    assert [layer.name for layer in fresh.layers if layer.trainable_weights] == ["second"]
    assert np.abs(np.asarray(fresh(x, training=True)) - np.asarray(fresh(x, training=True))).max() > 0, "dropout of the trained part is on"


@pytest.mark.full
def test_a_sweep_over_layers_goes_on_where_it_was_stopped(uri: str, tmp_path: Path) -> None:
    axes = {"train_last": (0, 4, 5, 6), "learning_rate": Range(0.001, 0.02)}
    options = SweepOptions(replace(BASE, tail_learning_rate=0.01), axes, seeds=1, budget=4, eta=2, strategy=HYBRID)
    told: list[str] = []
    left = iter(range(3))

    def stop(done: int, total: int) -> None:
        if done and next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(uri, None, options, tmp_path / "state", stop, told.append, make_tail())
    resumed = sweep(uri, None, options, tmp_path / "state", tell=told.append, tail=make_tail())
    whole = sweep(uri, None, options, tail=make_tail())
    assert told[:2] == ["the last 5 layers have no more to train than the last 4: 5 is left out"] * 2
    assert told[2].startswith("a sweep that was stopped goes on")
    numbers = [{name: value for name, value in one.to_dict().items() if name != "seconds"} for one in (resumed, whole)]
    assert numbers[0] == numbers[1]
    best = whole.winner.options
    assert (whole.fitted.strategy, whole.fitted.frozen["train_last"]) == (HYBRID, best.train_last)
    assert {candidate.options.tail_learning_rate for candidate in whole.candidates if candidate.options.train_last == 0} <= {None}
    alone = fit(uri, options=best, tail=make_tail())
    if whole.winner.outcomes[0].progress.epoch == BASE.max_epochs or best.train_last == 0:
        for a, b in zip(whole.fitted.model.get_weights(), alone.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_where_nothing_is_said_layers_and_rates_are_tried() -> None:
    tail = make_tail()
    assert tail.spread() == (0, 4, 6)
    for budget, rate in ((None, (0.00003, 0.0001, 0.0003)), (9, Range(1e-5, 1e-3))):
        axes = hybrid_axes(SweepOptions(strategy=HYBRID, budget=budget), tail, pytest.fail).axes
        assert (axes["train_last"], axes["tail_learning_rate"]) == ((0, 4, 6), rate)


def test_a_tail_of_batch_norm_alone_has_nothing_to_train_unless_asked() -> None:
    inputs = keras.Input(SHAPE)
    tail = Tail(keras.Model(inputs, keras.layers.BatchNormalization(name="norm")(inputs)), {"cut": "end"})
    assert tail.spread(train_batch_norm=True) == (0, 1)
    for ask in (tail.spread, lambda: tail.options(FitOptions())):
        with pytest.raises(UsageError, match="the layers behind end have no weights, or only those of BatchNorm, which is frozen"):
            ask()
    with pytest.raises(UsageError, match="so nothing would be trained: take 0 for the head alone"):
        tail.options(FitOptions(train_last=1))
    assert tail.options(FitOptions(train_last=0)).train_last == 0
    assert tail.trained(tail.options(FitOptions(train_last=1, train_batch_norm=True))) == ("norm",)


def test_a_network_that_was_saved_as_frozen_is_trained() -> None:
    tail = make_tail()
    tail.model.trainable = False
    assert tail.trained(tail.options(FitOptions())) == ("first", "second")


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (7, "--train-last 7: from a set cut at somewhere at most the last 6 layers can be trained"),
        (
            1,
            r"--train-last 1: the last layer \(end\) has no weights, or only those of BatchNorm, which is frozen",
        ),
        (2, r"the last layers \(norm, end\) have no weights, .* so nothing would be trained: take 4 at least, or 0 for the head alone"),
        (-1, r"--train-last must be 0 \(the head alone\) or more, got -1"),
        (1.5, "train_last must be a whole number or None; got 1.5"),
    ],
)
def test_a_number_of_layers_that_cannot_be_trained_is_told(last: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_tail().options(FitOptions(train_last=last))


def test_options_that_do_not_go_together_are_told(uri: str) -> None:
    assert make_tail().options(FitOptions(train_last=2, train_batch_norm=True)).train_last == 2
    for options, tail in ((SweepOptions(strategy=HYBRID), None), (SweepOptions(), make_tail())):
        with pytest.raises(UsageError, match="a sweep of the strategy hybrid needs a tail, and others have none"):
            sweep(uri, options=options, tail=tail)
    with pytest.raises(UsageError, match="with train_last 0 the head alone is trained"):
        FitOptions(train_last=0, tail_learning_rate=0.1)
    with pytest.raises(UsageError, match="heads that train together have no train_last"):
        SweepOptions(axes={"train_last": (0, 1)})
    with pytest.raises(UsageError, match="the ridge head is found exactly"):
        sweep(uri, options=SweepOptions(axes={"head": ("ridge",)}, strategy=HYBRID), tail=make_tail())
