"""Heads trained together are the heads that each would be alone, and those that Keras finds from the same batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import keras
import numpy as np
import pytest

import storage
from tests.trainer.conftest import Row
from trainer.features import read_labelled
from trainer.head_progress import HeadState
from trainer.head_stack import Arrays
from trainer.heads import HeadInput, build_head
from trainer.labels import labels_of_items
from trainer.options import FitOptions
from trainer.solver import Solver
from trainer.splits import TRAIN, VALIDATION
from trainer.sweep_plan import Trial
from trainer.sweep_split import split_for_sweep
from trainer.sweep_ways import WAYS
from trainer.sweep_work import Work, frontend_of
from trainer.task import task_of

pytestmark = pytest.mark.slow

WriteSet = Callable[..., str]
BASE = FitOptions(learning_rate=0.02, batch_size=32, max_epochs=8, patience=3, seed=1)


@pytest.fixture
def make_work(write_set: WriteSet, separable_rows: Callable[..., list[Row]]) -> Callable[..., Work]:
    """Work on a set of 120 noisy items; the frontend standardises by the training items of the first seed, as a head alone does."""

    def make(candidates: Sequence[FitOptions], seeds: Sequence[int] = (1,)) -> Work:
        random, rows = np.random.default_rng(5), separable_rows()
        rows = [replace(row, embedding=row.embedding + random.normal(0, 3, 8)) for row in rows]
        if candidates[0].multi_label:
            rows = [replace(row, label="" if i % 5 == 0 else f"{row.label}|big" if i % 3 == 0 else row.label) for i, row in enumerate(rows)]
        feature_set = storage.open(write_set(rows))
        filled = [one.for_features(feature_set.shape) for one in candidates]
        task = task_of(filled[0].multi_label)
        data = read_labelled(feature_set, labels_of_items(feature_set.items, "set", filled[0].multi_label), task)
        split = split_for_sweep(feature_set.items, data.joined, filled[0].split, seeds)
        frontend, moments = frontend_of(data, filled[0], np.array(split.base.positions(TRAIN)))
        return Work(data, task, split, frontend, moments, filled[0], filled, seeds, WAYS)

    return make


def _trained(work: Work, trials: Sequence[Trial], until: int = 8, states: Sequence[HeadState | None] | None = None) -> list[HeadState]:
    return WAYS["linear"].fit(work, trials, states or [None] * len(trials), until, lambda epoch: None)


def _assert_same(a: Arrays, b: Arrays) -> None:
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, atol=5e-4)  # Adam divides by what may be near zero: what rounding differs in grows


MANY = [
    replace(BASE, c=0.01),
    replace(BASE, c=1.0, learning_rate=0.2),
    replace(BASE, c=0.1, class_weights="balanced"),
    replace(BASE, head="mlp", hidden=(6, 5), c=1.0, dropout=0.4),
    replace(BASE, head="mlp", hidden=(6, 5), c=0.1, class_weights={"hat": 3.0}),
]


@pytest.mark.parametrize("multi_label", [False, True])
def test_together_as_alone(make_work: Callable[..., Work], multi_label: bool) -> None:
    work = make_work([replace(one, multi_label=multi_label) for one in MANY], seeds=(1, 2))
    trials = [Trial(i, i % 2) for i in range(len(MANY))]
    together = _trained(work, trials)
    assert len({state.progress.epoch for state in together}) > 1, "some are to leave early, so that leaving is tested"
    for trial, state in list(zip(trials, together, strict=True))[1:4:2]:  # a linear head and an MLP: each costs a fit
        [alone] = _trained(work, [trial])
        _assert_same(state.best, alone.best)
        assert (state.progress.epoch, state.progress.best_epoch) == (alone.progress.epoch, alone.progress.best_epoch)
        assert state.progress.history["val_loss"] == pytest.approx(alone.progress.history["val_loss"], abs=5e-4)


def test_going_on_is_as_never_having_stopped(make_work: Callable[..., Work]) -> None:
    work = make_work(MANY)
    trials = [Trial(i, 0) for i in range(len(MANY))]
    straight = _trained(work, trials)
    halfway = _trained(work, trials, until=3)
    still = [(trial, state) for trial, state in zip(trials, halfway, strict=True) if not state.progress.done]
    resumed = dict(zip(trials, halfway, strict=True)) | dict(
        zip([trial for trial, _ in still], _trained(work, [trial for trial, _ in still], 8, [state for _, state in still]), strict=True)
    )
    for trial, state in zip(trials, straight, strict=True):
        _assert_same(state.best, resumed[trial].best)
        assert state.progress.history["val_loss"] == pytest.approx(resumed[trial].progress.history["val_loss"], abs=1e-5)


def test_a_linear_head_is_that_of_train(make_work: Callable[..., Work]) -> None:
    options = replace(BASE, class_weights="balanced", learning_rate=0.1)
    work = make_work([options])
    [state] = _trained(work, [Trial(0, 0)])
    train, validation = (np.array(work.split.base.positions(name)) for name in (TRAIN, VALIDATION))
    first = Solver(work.data, work.task, work.candidates[0]).with_validation(train, validation)
    assert first.model is not None
    assert state.progress.best_epoch == first.chosen["epochs"]
    assert state.progress.history["val_loss"] == pytest.approx(first.curves["val_loss"], abs=1e-5)
    _assert_same(state.best, [keras.ops.convert_to_numpy(weights) for weights in first.model.trainable_variables])


def test_an_mlp_is_that_of_keras(make_work: Callable[..., Work]) -> None:
    options = replace(BASE, head="mlp", hidden=(6, 5), c=1.0, class_weights={"hat": 3.0})
    work = make_work([options])
    [state] = _trained(work, [Trial(0, 0)], until=3)
    train = np.flatnonzero(work.split.training[:, 0])
    logits = build_head(work.candidates[0], HeadInput(work.data.features, train, len(train), len(work.data.classes)))
    for variable, start in zip(logits.trainable_variables, work.architecture(Trial(0, 0)).start(1), strict=True):
        variable.assign(start)
    weights = work.task.weights(options.class_weights, work.data.y, work.data.classes)
    logits.compile(keras.optimizers.Adam(0.02), work.task.loss(weights))
    data = work.training_data
    for batch in data.stream(train, range(3)):
        x, positions = (part.numpy() for part in batch)
        logits.train_on_batch(x, work.data.y[positions])
    _assert_same(state.weights, [keras.ops.convert_to_numpy(weights) for weights in logits.trainable_variables])


def test_a_kept_model_says_what_the_stack_says(make_work: Callable[..., Work]) -> None:
    work = make_work(MANY)
    trial = Trial(3, 0)
    [state] = _trained(work, [trial], until=2)
    [found] = work.measure([trial], [state.best])
    assert found is not None
    held_out = np.flatnonzero(work.split.validation[:, 0])
    said = work.model(trial, state.best).predict_on_batch(work.data.features[held_out].astype(np.float32))
    expected = work.task.evaluate([(work.data.y[held_out], np.asarray(said))], work.data.classes)
    assert found.to_dict()["log_loss"] == pytest.approx(expected.to_dict()["log_loss"], abs=1e-6)


def test_the_validation_loss_is_that_of_the_items_without_the_l2(make_work: Callable[..., Work]) -> None:
    work = make_work([replace(BASE, c=1e-3), replace(BASE, head="mlp", hidden=(6, 5), c=1e-3)])
    trials = [Trial(0, 0), Trial(1, 0)]
    states = _trained(work, trials, until=3)
    for state, found in zip(states, work.measure(trials, [state.best for state in states]), strict=True):
        assert found is not None
        assert state.progress.best_loss == pytest.approx(found.to_dict()["log_loss"], rel=1e-4)


def test_a_head_that_diverges_harms_no_other(make_work: Callable[..., Work]) -> None:
    work = make_work([replace(BASE, learning_rate=10.0, c=1e-9), BASE])
    diverged, fine = _trained(work, [Trial(0, 0), Trial(1, 0)])
    [alone] = _trained(work, [Trial(1, 0)])
    assert diverged.progress.best_loss > fine.progress.best_loss
    _assert_same(fine.best, alone.best)
