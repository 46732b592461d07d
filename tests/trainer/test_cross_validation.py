from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import storage
from storage.digests import from_words
from storage.errors import UsageError
from tests.trainer.conftest import Row
from trainer.cross_validation import splits_of
from trainer.fit import fit
from trainer.options import FitOptions
from trainer.prepared import prepare
from trainer.splits import TEST, TRAIN, VALIDATION

WriteSet = Callable[..., str]
OPTIONS = FitOptions("class-mean")


@pytest.fixture
def rows(separable_rows: Callable[..., list[Row]]) -> list[Row]:
    """Every third row is a copy of the image before it."""
    made = separable_rows(30)
    return [replace(row, image=made[i - 1].key if i % 3 == 2 else row.key) for i, row in enumerate(made)]


def test_each_item_but_those_of_the_test_is_held_out_once(write_set: WriteSet, rows: list[Row]) -> None:
    prepared = prepare(write_set(rows), None, OPTIONS)
    splits = list(splits_of(prepared, 4))
    held = np.concatenate([split.positions(TEST) for split in splits])
    assert sorted(held.tolist()) == prepared.split.positions(TRAIN, VALIDATION).tolist()
    digests = np.array(from_words(prepared.labelled.digests).to_pylist())
    for split in splits:
        assert not set(split.positions(TRAIN, VALIDATION, TEST)) & set(prepared.split.positions(TEST))
        assert len(split.positions(VALIDATION)), "of which each head learns when to stop"
        sides = [set(digests[split.positions(name)]) for name in (TRAIN, VALIDATION, TEST)]
        assert not sides[0] & sides[1]
        assert not sides[2] & (sides[0] | sides[1])


@pytest.mark.slow
def test_predictions_are_of_heads_that_have_not_seen_the_item(write_set: WriteSet, rows: list[Row]) -> None:
    """A neighbour at distance zero would give each item its own label back, also a wrong one."""
    labels = np.random.default_rng(0).permutation([row.label for row in rows]).tolist()
    shuffled = [replace(row, image="", label=label) for row, label in zip(rows, labels, strict=True)]
    told = list[tuple[int, int]]()
    fitted = fit(write_set(shuffled), options=FitOptions("knn", k=1), folds=5, on_fold=lambda *done: told.append(done))
    assert told == [(done, 5) for done in range(6)]
    assert fitted.metrics[TRAIN].accuracy == 1.0
    crossed = fitted.cross_validation
    assert crossed is not None
    assert crossed.evaluation.accuracy < 0.7
    assert len(crossed.by_fold) == 5
    keys = storage.open(str(fitted.feature_set.name)).items["key"].to_pylist()
    truth = [fitted.classes[number] for number in crossed.evaluation.outcomes.truth]
    by_key = {row.key: row.label for row in shuffled}
    assert truth == [by_key[keys[position]] for position in crossed.positions]
    said = fitted.cross_validation.to_dict()
    assert (said["folds"], said["metrics"]["rows"]) == (5, len(crossed.positions))
    assert said["mean"] == pytest.approx(np.mean(said["by_fold"]))


def test_groups_stay_together(write_set: WriteSet, rows: list[Row]) -> None:
    grouped = [replace(row, image="", split=f"group {i % 12}") for i, row in enumerate(rows)]
    prepared = prepare(write_set(grouped), None, replace(OPTIONS, split_by="grouped", group_by="split"))
    groups = np.array(prepared.feature_set.items["split"].to_pylist())
    for split in splits_of(prepared, 3):
        held = set(groups[split.positions(TEST)])
        assert held
        assert not held & set(groups[split.positions(TRAIN, VALIDATION)])


def test_what_makes_no_sense_is_told(write_set: WriteSet, rows: list[Row]) -> None:
    uri = write_set(rows)
    with pytest.raises(UsageError, match="folds must be a whole number from 2, got 1"):
        fit(uri, options=OPTIONS, folds=1)
    with pytest.raises(UsageError, match="few shots and folds do not go together"):
        fit(uri, options=replace(OPTIONS, shots=3), folds=3)
