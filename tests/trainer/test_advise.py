from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import storage
from storage.errors import UsageError
from tests.trainer.conftest import Row
from trainer.advice_evidence import near_inside, wrong_where_sure
from trainer.advice_pool import MOST_WIDTH, features_of, pool_of
from trainer.advise import advise
from trainer.evaluate import evaluate
from trainer.options import FitOptions

WriteSet = Callable[..., str]


@pytest.fixture
def rows(separable_rows: Callable[..., list[Row]]) -> list[Row]:
    return separable_rows(24)


def test_what_is_tested_is_left_alone_and_large_sets_are_sampled_by_class(write_set: WriteSet, rows: list[Row]) -> None:
    given = [replace(row, split="test" if i % 4 == 0 else "val" if i % 4 == 1 else "train") for i, row in enumerate(rows)]
    uri = write_set(given)
    pool = pool_of(uri, None, FitOptions())
    splits = np.array(storage.open(uri).items["split"].to_pylist())
    assert set(splits[pool.positions]) == {"train", "val"}
    assert set(splits[pool.tested]) == {"test"}
    small = pool_of(uri, None, FitOptions(), most=30)
    assert np.bincount(small.y).tolist() == [10, 10, 10]
    assert set(small.positions) < set(pool.positions)
    assert "a sample of 30 of 54" in small.notes[0]


def test_classes_of_one_image_are_left_out_and_two_must_be_left(write_set: WriteSet, rows: list[Row]) -> None:
    lonely = Row("rare/1.jpg", np.ones(8, np.float32), "rare", "train")
    pool = pool_of(write_set([*(replace(row, split="train") for row in rows), lonely]), None, FitOptions())
    assert pool.classes == ("coat", "hat", "shoe")
    assert "classes of one image are left out: rare" in pool.notes[0]
    assert pool.labelled == len(rows)  # what the rule goes by: nothing is learned from the others
    tested = Row("rare/1.jpg", np.ones(8, np.float32), "rare", "test")
    unseen = pool_of(write_set([*(replace(row, split="train") for row in rows), tested], "team/unseen"), None, FitOptions())
    assert "classes without an item to learn from are left out, and `train` refuses them: rare" in unseen.notes[0]
    with pytest.raises(UsageError, match="at least two classes with two images each to learn from, got 1"):
        pool_of(write_set([replace(row, split="train") for row in (*rows[:5], lonely)], "team/few"), None, FitOptions())


@pytest.mark.slow
def test_maps_are_averaged_and_wide_features_projected_with_their_distances(write_set: WriteSet) -> None:
    random = np.random.default_rng(0)
    maps = random.normal(size=(6, 2, 2, 5)).astype(np.float32)
    uri = write_set([Row(f"{i}.jpg", each, "ab"[i % 2]) for i, each in enumerate(maps)], dtype="float32")
    order = np.array([4, 0, 3])
    assert features_of(storage.open(uri), order) == pytest.approx(maps.mean(axis=(1, 2))[order], abs=1e-6)
    wide = random.normal(size=(6, 3 * MOST_WIDTH)).astype(np.float32)
    uri = write_set([Row(f"{i}.jpg", each, "ab"[i % 2]) for i, each in enumerate(wide)], "team/wide", "float32")
    found = features_of(storage.open(uri), np.arange(6))
    assert found.shape == (6, MOST_WIDTH)
    assert np.linalg.norm(found[0] - found[1]) == pytest.approx(np.linalg.norm(wide[0] - wide[1]), rel=0.1)


def test_sets_without_a_common_image_are_refused(write_set: WriteSet, rows: list[Row]) -> None:
    other = [replace(row, key=f"other/{row.key}") for row in rows]
    with pytest.raises(UsageError, match="share no image of equal key and content"):
        advise([write_set(rows), write_set(other, "team/other")])


def test_errors_of_a_head_that_is_sure_are_counted_and_copies_beside_another_label() -> None:
    sure, unsure = [0.95, 0.05], [0.55, 0.45]
    probabilities = np.array([sure] * 4 + [unsure] * 12, np.float32)
    truth: Any = np.array([0, 0, 0, 1] + [1] * 12)
    assert wrong_where_sure(evaluate([(truth, probabilities)], ("a", "b"))) == 0.25
    features = np.array([[1, 0], [2, 0.01], [0, 1], [0, 3], [1, 1]], np.float32)
    inside = near_inside(features, np.array([0, 1, 1, 1, 0]))
    assert (inside.near, inside.other_label) == (4, 2)
