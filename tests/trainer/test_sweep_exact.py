"""Exact heads in a sweep are the heads that `train` finds with the same strength."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import storage
from tests.trainer.conftest import Row
from trainer.exact_fits import FitData
from trainer.features import read_labelled
from trainer.fit import fit
from trainer.labels import labels_of_items
from trainer.options import FitOptions
from trainer.rows import MemoryRows
from trainer.solvers import SOLVERS
from trainer.splits import TRAIN, VALIDATION
from trainer.sweep import sweep
from trainer.sweep_options import SweepOptions
from trainer.sweep_plan import Trial
from trainer.sweep_split import split_for_sweep
from trainer.sweep_ways import WAYS
from trainer.sweep_work import Work, frontend_of
from trainer.task import task_of

pytestmark = pytest.mark.slow


@pytest.fixture
def noisy_set(write_set: Callable[..., str], separable_rows: Callable[..., list[Row]]) -> str:
    random = np.random.default_rng(5)
    return write_set([replace(row, embedding=row.embedding + random.normal(0, 3, 8)) for row in separable_rows()])


@pytest.mark.parametrize(
    ("head", "strengths", "weights"),
    [("logistic", [{"c": 0.01}, {"c": 1.0}], "balanced"), ("ridge", [{"alpha": 10.0}, {"alpha": 1000.0}], None)],
)
def test_a_candidate_is_the_head_of_train(noisy_set: str, head: str, strengths: list[dict[str, float]], weights: str | None) -> None:
    feature_set = storage.open(noisy_set)
    candidates = [FitOptions(head, class_weights=weights, **strength).for_features(feature_set.shape) for strength in strengths]
    task = task_of(False)
    data = read_labelled(feature_set, labels_of_items(feature_set.items, "set"), task)
    split = split_for_sweep(feature_set.items, data.joined, FitOptions().split, [0, 1])
    train, validation = (np.array(split.base.positions(name)) for name in (TRAIN, VALIDATION))
    frontend, moments = frontend_of(data, candidates[0], np.sort(np.concatenate([train, validation])))
    work = Work(data, task, split, frontend, moments, FitOptions(), candidates, [0, 1], WAYS)
    group = [Trial(0, 0), Trial(1, 0)]
    states = WAYS[head].fit(work, group, [None, None], 10, lambda epoch: None)
    x = data.features[:30].astype(np.float32)
    for trial, state in zip(group, states, strict=True):
        options = work.options(trial)
        first = SOLVERS[head](data, FitData(MemoryRows(data.features), data.y, data.classes, task, options)).with_validation(
            train, validation
        )
        assert first.model is not None
        expected = first.model.predict_on_batch(x)
        np.testing.assert_allclose(work.model(trial, state.best).predict_on_batch(x), expected, atol=2e-3)


def test_progress_is_told_in_heads_and_of_few_shots_no_refit(noisy_set: str) -> None:
    calls: list[tuple[int, int]] = []
    options = SweepOptions(FitOptions("ridge", shots=5), {"alpha": (1.0, 10.0, 100.0)}, seeds=2)
    found = sweep(noisy_set, options=options, on_progress=lambda *call: calls.append(call))
    assert calls == [(0, 6), (3, 6), (6, 6)]
    assert (options.exact, found.fitted.refitted) == (True, False)
    assert not SweepOptions(axes={"head": ("ridge", "linear")}).exact


def test_all_kinds_in_one_sweep(noisy_set: str) -> None:
    axes = {"head": ("linear", "logistic", "ridge"), "class_weights": (None, "balanced")}
    result = sweep(noisy_set, options=SweepOptions(FitOptions(max_epochs=12, batch_size=64), axes, seeds=2))
    assert {candidate.options.head for candidate in result.candidates} == {"linear", "logistic", "ridge"}
    assert len(result.candidates) == 2 + 2 * 5 + 2 * 5
    assert all(np.isfinite(candidate.metrics["log_loss"].mean) for candidate in result.candidates)
    assert result.winner.options.head in ("logistic", "ridge"), "a linear head has not come far after 12 epochs"
    assert result.fitted.metrics["test"].to_dict()["accuracy"] > 0.7


@pytest.mark.parametrize("metric", ["accuracy", "log_loss"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_of_strengths_that_separate_the_items_the_largest_is_taken(separable_set: str, metric: str, seeds: int) -> None:
    """As `train` does: their losses are what so many items can tell, and what the search for it left decides nothing."""
    strengths = (0.1, 200.0, 1.0, 0.5, 100.0, 10.0, 2.0, 50.0)
    result = sweep(separable_set, options=SweepOptions(FitOptions("ridge"), {"alpha": strengths}, seeds=seeds, metric=metric))
    assert [candidate.options.alpha for candidate in result.candidates] == sorted(strengths, reverse=True)
    losses = [candidate.metrics["log_loss"].mean for candidate in result.candidates]
    assert len(set(losses)) > 1, "they are told as they were measured"
    assert losses == pytest.approx([losses[0]] * len(losses), rel=0.02)


def test_a_sweep_takes_the_strength_that_train_takes(separable_set: str) -> None:
    taken = fit(separable_set, options=FitOptions("ridge"))
    axes = {"alpha": tuple(taken.path["alpha"])}
    for metric in ("accuracy", "log_loss"):
        found = sweep(separable_set, options=SweepOptions(FitOptions("ridge"), axes, seeds=1, metric=metric))
        assert found.winner.options.alpha == taken.chosen["alpha"]
