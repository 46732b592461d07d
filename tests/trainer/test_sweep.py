from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainer
from storage.errors import UsageError
from tests.trainer.conftest import Row, write_set_to
from trainer.evaluate import Evaluation
from trainer.options import FitOptions
from trainer.sweep import sweep
from trainer.sweep_options import Range, SweepOptions
from trainer.sweep_result import SweepResult

pytestmark = pytest.mark.slow

WriteSet = Callable[..., str]
BASE = FitOptions(max_epochs=4, batch_size=64, learning_rate=0.02)
# Rungs of 1, 2 and 4 epochs: two candidates do what `train` does and stay, and of the two others one gets to the end.
HALVING = SweepOptions(BASE, {"head": ("linear", "mlp"), "hidden": ((4,),), "c": Range(0.01, 10)}, seeds=2, budget=4, eta=2)


@pytest.fixture(scope="module")
def noisy_set(tmp_path_factory: pytest.TempPathFactory, separable_rows: Callable[..., list[Row]]) -> str:
    random = np.random.default_rng(5)
    rows = [replace(row, embedding=row.embedding + random.normal(0, 2, 8)) for row in separable_rows()]
    return write_set_to(f"{tmp_path_factory.mktemp('noisy')}/team/set", rows)


@pytest.fixture(scope="module")
def swept(noisy_set: str) -> SweepResult:
    return sweep(noisy_set, options=HALVING)


def _numbers(result: SweepResult) -> dict[str, Any]:
    return {name: value for name, value in result.to_dict().items() if name != "seconds"}


def test_every_candidate_is_measured_and_the_best_go_on(swept: SweepResult) -> None:
    assert [(rung.epochs, rung.candidates) for rung in swept.rungs] == [(1, 4), (2, 4), (4, 3)]
    assert sorted(candidate.number for candidate in swept.candidates) == [0, 1, 2, 3]
    assert Counter(candidate.rung for candidate in swept.candidates) == {1: 1, 2: 3}
    for candidate in swept.candidates:
        assert [outcome.trial.seed for outcome in candidate.outcomes] == [0, 1]
        assert all(outcome.progress.epoch == swept.rungs[candidate.rung].epochs for outcome in candidate.outcomes)
    assert [candidate.rung for candidate in swept.candidates] == [2, 2, 2, 1]
    assert {0, 1} < {candidate.number for candidate in swept.candidates[:3]}
    scores = {candidate.number: candidate.metrics["accuracy"].mean for candidate in swept.candidates}
    assert scores[swept.winner.number] >= max(scores[0], scores[1]), "on validation a search is never worse than what train does"


def test_the_winner_is_fitted_and_tested_once(swept: SweepResult) -> None:
    fitted = swept.fitted
    assert fitted.options == swept.winner.options
    assert fitted.rows == {"train": 81, "validation": 15, "test": 24}
    assert list(fitted.metrics) == ["train", "validation", "test"]
    test = fitted.metrics["test"]
    assert isinstance(test, Evaluation)
    assert test.support.tolist() == [8, 8, 8]
    assert test.accuracy > 0.7
    # Each seed validates on items of its own, and the first one's are those of `train`.
    validation = fitted.metrics["validation"]
    assert validation.to_dict()["accuracy"] == swept.winner.outcomes[0].metrics["accuracy"]


def test_what_it_says_is_json_without_nan(swept: SweepResult) -> None:
    said = json.loads(json.dumps(swept.to_dict(), allow_nan=False))
    assert (said["winner"], said["metric"], said["seeds"]) == (swept.winner.number, "accuracy", [0, 1])
    assert said["interval"].startswith("95% t interval over 2 seeds, each with its own validation items")
    assert said["candidates"][0]["behind_winner"] == {"mean": 0.0, "half_width": 0.0}


def test_a_sweep_that_was_stopped_goes_on(noisy_set: str, swept: SweepResult, tmp_path: Path) -> None:
    told: list[str] = []
    left = iter(range(4))  # into the second rung

    def stop(done: int, total: int) -> None:
        if done and next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(noisy_set, options=HALVING, state=tmp_path / "state", on_progress=stop)
    calls: list[tuple[int, int]] = []
    resumed = sweep(noisy_set, options=HALVING, state=tmp_path / "state", tell=told.append, on_progress=lambda *call: calls.append(call))
    assert calls[0][0] > 0, "what was done is told at once, and is no part of the rate"
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] == calls[-1][1]
    assert _numbers(resumed) == _numbers(swept)
    assert told[0].startswith("a sweep that was stopped goes on: ")


@pytest.mark.full
def test_a_sweep_that_was_killed_goes_on(noisy_set: str, swept: SweepResult, tmp_path: Path) -> None:
    code = f"""
import trainer.sweep, trainer
from trainer.label_options import LabelOptions
from trainer.options import FitOptions
from trainer.sweep_options import Range, SweepOptions
trainer.sweep({noisy_set!r}, None, {HALVING!r}, {str(tmp_path / "state")!r})
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while process.poll() is None and not list((tmp_path / "state").glob("rung-00*.json")):
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert _numbers(sweep(noisy_set, options=HALVING, state=tmp_path / "state")) == _numbers(swept)


def test_another_sweep_in_the_same_folder_starts_anew(noisy_set: str, tmp_path: Path, separable_rows: Callable[..., list[Row]]) -> None:
    options = SweepOptions(replace(BASE, max_epochs=1), {"c": (0.1,)}, seeds=1)
    told: list[str] = []
    labels = tmp_path / "labels.csv"
    for name in ("coat", "hat"):
        with open(labels, "w", newline="") as file:
            csv.writer(file).writerows([("key", "label"), *((row.key, row.label) for row in separable_rows()[:80]), ("shoe/000.jpg", name)])
        first = sweep(noisy_set, labels, options, tmp_path / "state", tell=told.append)
    assert first.fitted.classes == ("coat", "hat")
    assert told == [f"the state in {tmp_path}/state is of another sweep (labels, splits differ): it was removed, and all starts anew"]


def test_given_validation_items_are_kept_for_all_seeds(write_set: WriteSet, separable_rows: Callable[..., list[Row]]) -> None:
    names = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    rows = [replace(row, split=names[i % 10]) for i, row in enumerate(separable_rows())]
    axes = {"head": ("linear", "mlp"), "hidden": ((4,),), "c": (0.1,)}
    result = sweep(write_set(rows), options=SweepOptions(replace(BASE, max_epochs=2), axes, seeds=2))
    assert {candidate.options.head: len(candidate.outcomes) for candidate in result.candidates} == {"linear": 1, "mlp": 2}
    assert result.fitted.rows == {"train": 72, "validation": 24, "test": 24}
    assert result.interval == "95% t interval over 2 seeds on the given validation items: starts of hidden layers differ, nothing else"


def test_no_validation_items_are_told(noisy_set: str) -> None:
    with pytest.raises(UsageError, match="no item is left to validate on, and a sweep chooses by validation"):
        sweep(noisy_set, options=SweepOptions(replace(BASE, validation=0)))


def test_attention_is_refused(write_set: WriteSet, separable_rows: Callable[..., list[Row]]) -> None:
    uri = write_set(separable_rows(shape=(2, 2, 3)))
    with pytest.raises(UsageError, match="attention pooling is learned with its head"):
        sweep(uri, options=SweepOptions(replace(BASE, map="attention")))


def test_sweep_is_in_the_package() -> None:
    assert trainer.sweep is sweep
